-- What track() and its kin refuse, each with a reason and a remedy.

create function syncjournal.require_node() returns uuid
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    here uuid := (select node_id from syncjournal.local_node);
begin
    if here is null then
        raise exception 'this database has no name among the nodes yet'
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Name it first: select syncjournal.create_node(''name'').';
    elsif syncjournal.is_copy() then
        raise exception 'this database is a copy of node "%"',
            (select node_name from syncjournal.known_node where node_id = here)
            using errcode = 'object_not_in_prerequisite_state',
                detail = 'Two databases with one identity lose changes.',
                hint = 'Give it a name of its own: select syncjournal.adopt_clone(''name''). If the'
                    ' original is no more: select syncjournal.keep_identity().';
    end if;
    return here;
end
$$;

-- What is known of a tracked table.
create function syncjournal.tracked(relation regclass) returns syncjournal.tracked_relation
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    found_relation syncjournal.tracked_relation;
begin
    select * into found_relation from syncjournal.tracked_relation t where t.relid = relation;
    if not found then
        raise exception 'table "%" is not tracked', relation
            using errcode = 'undefined_object',
                hint = format('Track it: select syncjournal.track(%L).', relation::text);
    end if;
    return found_relation;
end
$$;

-- Only ordinary and partitioned tables that stay: their rows can be identified and journaled.
create function syncjournal.check_trackable(relation regclass) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    c pg_class := (select c from pg_class c where c.oid = relation);
    reason text;
    remedy text := 'Track ordinary or partitioned tables.';
begin
    if exists (select from syncjournal.tracked_relation t where t.relid = relation) then
        raise exception 'table "%" is tracked already', relation
            using errcode = 'duplicate_object',
                hint = 'Change how it is tracked by syncjournal.alter_tracking().';
    end if;
    if c.oid < 16384 or c.relnamespace = 'pg_catalog'::regnamespace then
        reason := 'it is a system catalog';
    elsif c.relnamespace = 'syncjournal'::regnamespace then
        reason := 'it belongs to syncjournal itself';
    elsif c.relkind in ('v', 'm') then
        reason := 'it is a view';
        remedy := 'Track the tables that it reads.';
    elsif c.relkind = 'f' then
        reason := 'it is a foreign table';
        remedy := 'Track the table on the server that holds it.';
    elsif c.relkind not in ('r', 'p') then
        reason := 'it is not a table';
    elsif c.relrowsecurity and c.relforcerowsecurity and not exists (
        select from pg_roles r where r.oid = c.relowner and (r.rolsuper or r.rolbypassrls)) then
        reason := 'its row level security hides rows from its owner too';
        remedy := format('Lift it: alter table %s no force row level security.', relation);
    elsif c.reloftype <> 0 then
        reason := 'its columns are those of a type';
        remedy := format('Loosen it: alter table %s not of.', relation);
    elsif c.relispartition then
        reason := format('it is a partition of "%s"', pg_partition_root(relation));
        remedy := format('Track the root: select syncjournal.track(%L).',
            pg_partition_root(relation)::text);
    elsif c.relpersistence = 't' then
        reason := 'it is a temporary table';
        remedy := 'Track tables that outlive the session.';
    elsif c.relpersistence = 'u' then
        reason := 'it is unlogged, and a crash would empty it without an entry';
        remedy := format('Make it permanent: alter table %s set logged.', relation);
    elsif exists (
        select from pg_partition_tree(relation) p join pg_class f on f.oid = p.relid
        where f.relkind = 'f') then
        reason := 'it has foreign tables among its partitions';
        remedy := 'Detach them: what another server holds is not journaled here.';
    end if;
    if reason is not null then
        raise exception 'cannot track "%": %', relation, reason
            using errcode = 'wrong_object_type', hint = remedy;
    end if;
end
$$;

-- Each of `columns` must be a column of the table; `option` is the argument that named it.
create function syncjournal.check_columns(relation regclass, option text, columns text[])
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    missing text := (
        select wanted from unnest(columns) wanted
        where not exists (
            select from pg_attribute a
            where a.attrelid = relation and a.attname = wanted
                and a.attnum > 0 and not a.attisdropped)
        limit 1);
begin
    if missing is not null or array_position(columns, null) is not null then
        raise exception 'column "%" of table "%" does not exist', missing, relation
            using errcode = 'undefined_column',
                hint = format('Name existing columns in %s.', option);
    end if;
end
$$;

-- A row that arrives lacks the excluded columns: it must be possible to insert it nevertheless.
create function syncjournal.check_exclusion(relation regclass, columns text[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    bad name;
begin
    perform syncjournal.check_columns(relation, 'exclude_columns', columns);
    select key into bad
    from unnest(syncjournal.primary_key(relation) || syncjournal.own_uuid_key(relation)) key
    where key = any (columns);
    if found then
        raise exception 'cannot exclude column "%" of table "%": it belongs to the rows'' key',
            bad, relation using errcode = 'invalid_parameter_value',
            hint = 'Keys travel with the row.';
    end if;
    select a.attname into bad
    from pg_attribute a
    where a.attrelid = relation and a.attname = any (columns)
        and a.attnotnull and not a.atthasdef and a.attidentity = '';
    if found then
        raise exception 'cannot exclude column "%" of table "%": it is not null and has no default',
            bad, relation using errcode = 'invalid_parameter_value',
            hint = 'Give the column a default, or let it travel.';
    end if;
end
$$;

create function syncjournal.check_keys(keys text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
    if keys is null or keys not in ('global', 'local') then
        raise exception 'unknown kind of keys "%"', keys
            using errcode = 'invalid_parameter_value',
                hint = 'Use keys => ''global'', or ''local'' where each database gives out its own.';
    end if;
end
$$;
