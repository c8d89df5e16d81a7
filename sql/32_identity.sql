-- The columns that track() adds, and the identity of the rows that are there already.

-- The table's own uuid key: its primary key, or else a not-null unique column; null: none.
create function syncjournal.own_uuid_key(relation regclass) returns name
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select a.attname
    from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = relation and i.indisunique and i.indisvalid and i.indimmediate
        and i.indnkeyatts = 1 and i.indpred is null and i.indexprs is null
        and a.atttypid = 'uuid'::regtype and a.attnotnull and a.attgenerated = ''
    order by i.indisprimary desc, i.indexrelid
    limit 1
$$;

create function syncjournal.primary_key(relation regclass) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select array_agg(a.attname order by k.position)
    from pg_index i
        cross join unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality k(attnum, position)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where i.indrelid = relation and i.indisprimary
$$;

-- The tables that have the relation's added columns: itself, and all that inherit from it.
create function syncjournal.family(relation regclass) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with recursive member(relid) as (
        select relation
        union
        select i.inhrelid::regclass from member join pg_inherits i on i.inhparent = member.relid)
    select relid from member
$$;

-- Whether a column is one that track() has added, now or earlier.
create function syncjournal.is_added_column(relation regclass, column_name name) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from pg_attribute a
            join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = a.attrelid
                and d.objsubid = a.attnum and d.refclassid = 'pg_extension'::regclass
            join pg_extension e on e.oid = d.refobjid and e.extname = 'syncjournal'
        where a.attrelid = relation and a.attname = column_name)
$$;

-- Makes the added columns depend on the extension, so that dropping it takes them along.
create function syncjournal.own_added_columns(relation regclass) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
    insert into pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
    select 'pg_class'::regclass, a.attrelid, a.attnum, 'pg_extension'::regclass, e.oid, 0, 'n'
    from syncjournal.family(relation) f
        join pg_attribute a on a.attrelid = f
        join syncjournal.tracked_relation t on t.relid = relation
        join pg_extension e on e.extname = 'syncjournal'
    where (a.attname = 'sync_version' or a.attname = 'sync_id' and t.identity_added)
        and not a.attisdropped and not syncjournal.is_added_column(a.attrelid, a.attname)
$$;

-- Adds a uuid column; one left by an earlier tracking, or inherited from a tracked parent, serves.
create function syncjournal.add_column(relation regclass, column_name name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if syncjournal.is_added_column(relation, column_name) then
        return;
    end if;
    if exists (
        select from pg_attribute where attrelid = relation and attname = column_name) then
        raise exception 'table "%" has a column "%" of its own', relation, column_name
            using errcode = 'duplicate_column',
                hint = 'syncjournal keeps its own data under this name: rename or drop the column.';
    end if;
    execute format('alter table %s add column %I uuid', relation, column_name);
end
$$;

create function syncjournal.has_rows(relation regclass) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    answer boolean;
begin
    execute format('select exists (select from %s)', relation) into answer;
    return answer;
end
$$;

-- Switches off what fires even for a replica, and says how to switch it on again.
create function syncjournal.mute_triggers(relation regclass) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    loud record;
    restore text[] := '{}';
begin
    for loud in
        select t.tgrelid::regclass as table_name, t.tgname,
            case t.tgenabled when 'A' then 'always' else 'replica' end as kind
        from syncjournal.family(relation) f join pg_trigger t on t.tgrelid = f
        where t.tgenabled in ('A', 'R') and not t.tgisinternal
    loop
        execute format('alter table only %s disable trigger %I', loud.table_name, loud.tgname);
        restore := restore || format('alter table only %s enable %s trigger %I',
            loud.table_name, loud.kind, loud.tgname);
    end loop;
    return restore;
end
$$;

create function syncjournal.execute_all(commands text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    command text;
begin
    foreach command in array commands loop
        execute command;
    end loop;
end
$$;

-- Lets a table's owner call row_id_v5() until the rows have their identity, and says how to take
-- it back; nothing where he may anyway. Nobody sees the grant: it does not outlive track().
create function syncjournal.lend_row_id(relation regclass) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    owner oid := (select relowner from pg_class where oid = relation);
    right_on text;
    restore text[] := '{}';
begin
    for right_on in
        select 'usage on schema syncjournal'
        where not has_schema_privilege(owner, 'syncjournal', 'usage')
        union all
        select 'execute on function syncjournal.row_id_v5(text, text[])'
        where not has_function_privilege(owner, 'syncjournal.row_id_v5(text, text[])', 'execute')
    loop
        -- Two that change the same rights would stumble over each other.
        perform pg_advisory_xact_lock('syncjournal'::regnamespace::int8);
        execute format('grant %s to %s', right_on, owner::regrole);
        restore := restore || format('revoke %s from %s', right_on, owner::regrole);
    end loop;
    return restore;
end
$$;

-- What gives a row of a table its identity: derived from the key, random without one.
create function syncjournal.row_id_expression(relation regclass, key_columns name[]) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select case when key_columns is null then 'gen_random_uuid()'
        else format('syncjournal.row_id_v5(%L, array[%s])', n.nspname || '.' || c.relname, (
            select string_agg(format('%I::text', k), ', ' order by position)
            from unnest(key_columns) with ordinality k(k, position))) end
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation
$$;

-- Gives the rows that are there their identity; with `versions`, takes away what an earlier tracking
-- left of theirs (where the column is a parent's).
-- It is no change that anyone made, so no trigger or rule of the table may take it for one, and
-- the key's text must not depend on the session.
create function syncjournal.fill_identity(
    relation regclass, key_columns name[], versions boolean default true)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set session_replication_role = replica
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC'
set extra_float_digits = 3 set bytea_output = 'hex'
as $$
declare
    restore text[] := syncjournal.mute_triggers(relation) || syncjournal.lend_row_id(relation);
    only_here text := (
        select case relkind when 'p' then '' else 'only' end from pg_class where oid = relation);
    filled bigint;
begin
    filled := syncjournal.update_as_owner(relation, format(
        'update %s %s set sync_id = coalesce(sync_id, %s) %s', only_here, relation,
        syncjournal.row_id_expression(relation, key_columns),
        case when versions then ', sync_version = null'
            ' where sync_id is null or sync_version is not null'
            else 'where sync_id is null' end));
    perform syncjournal.execute_all(restore);
    if filled > 0 and key_columns is null then
        raise notice 'the % rows of table "%" have random identities: it has no primary key',
            filled, relation
            using hint = 'A second database that holds the same rows would take them for others.'
                ' Empty it before its first sync, or name a natural_key.';
    end if;
end
$$;

-- Journals the rows that a new partition brings, as if they were inserted now: they are put in
-- again, while of all triggers only the journal's fire. `root` is the tracked table.
create function syncjournal.journal_rows(leaf regclass, root syncjournal.tracked_relation)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set session_replication_role = replica
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC'
set extra_float_digits = 3 set bytea_output = 'hex'
as $$
declare
    restore text[] := syncjournal.mute_triggers(leaf) || syncjournal.lend_row_id(leaf);
    owner regrole := (select relowner from pg_class where oid = leaf);
    targets text;
    sources text;
begin
    select string_agg(quote_ident(attname), ', '), string_agg(
        case when attname <> 'sync_id' or not root.identity_added then quote_ident(attname)
            else format('coalesce(sync_id, %s)', syncjournal.row_id_expression(
                root.relid, coalesce(root.natural_key, syncjournal.primary_key(root.relid)))) end,
        ', ')
    into targets, sources
    from pg_attribute
    where attrelid = leaf and attnum > 0 and not attisdropped and attgenerated = ''
        and attname <> 'sync_version';
    execute format('create temporary table syncjournal_rows as select * from %s', leaf);
    execute format('grant select on pg_temp.syncjournal_rows to %s', owner);
    perform syncjournal.update_as_owner(leaf, format('delete from %s', leaf));
    if syncjournal.has_rows(leaf) then
        raise exception 'row level security hides rows of "%" from its owner', leaf
            using errcode = 'object_not_in_prerequisite_state',
                hint = format('Lift it: alter table %s no force row level security.', leaf);
    end if;
    execute format('alter table %s enable always trigger "~syncjournal_version",'
        ' enable always trigger syncjournal_capture', leaf);
    perform syncjournal.update_as_owner(leaf, format(
        'insert into %s (%s) overriding system value select %s from pg_temp.syncjournal_rows',
        leaf, targets, sources));
    drop table pg_temp.syncjournal_rows;
    perform syncjournal.execute_all(restore);
end
$$;

create function syncjournal.refuse_shared_identity(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'the key does not tell the rows of table "%" apart', relation
        using errcode = 'unique_violation',
            hint = 'Name columns in natural_key that are unique together.';
end
$$;

-- A unique index on sync_id: what makes a row's identity one. A partitioned root can have none
-- without its partition key, so each leaf has its own.
create function syncjournal.index_identity(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    leaf regclass;
begin
    for leaf in
        select relid from pg_partition_tree(relation) where isleaf
        union select relation from pg_class where oid = relation and relkind = 'r'
    loop
        continue when exists (
            select from pg_index i join pg_attribute a on a.attrelid = leaf
                and a.attname = 'sync_id' and i.indkey[0] = a.attnum
            where i.indrelid = leaf and i.indisunique and i.indisvalid and i.indnatts = 1
                and i.indpred is null);
        execute format('create unique index on %s (sync_id)', leaf);
    end loop;
exception when unique_violation then
    perform syncjournal.refuse_shared_identity(relation);
end
$$;

-- A natural key of a partitioned table may repeat in two leaves, which no index would find.
create function syncjournal.check_identity_across(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    is_shared boolean;
begin
    if exists (select from pg_partitioned_table where partrelid = relation) then
        execute format('select exists (select from %s group by sync_id having count(*) > 1)',
            relation) into is_shared;
        if is_shared then
            perform syncjournal.refuse_shared_identity(relation);
        end if;
    end if;
end
$$;
