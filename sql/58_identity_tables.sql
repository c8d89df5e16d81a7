-- Tables whose rows have an identity and no journal: look-up tables that both databases hold already,
-- so that rows which refer to them find theirs.

-- The trigger computes identities with more rights than its caller has: no type of a user's may take
-- part in it.
create function syncjournal.check_identity_key(relation regclass, key name[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    bad name;
begin
    if key is null then
        raise exception 'table "%" has no primary key', relation
            using errcode = 'invalid_parameter_value',
                hint = 'Name the columns by which both databases know the row in natural_key.';
    end if;
    select a.attname into bad
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = relation and a.attname = any (key)
        and (t.typnamespace <> 'pg_catalog'::regnamespace or t.oid >= 16384);
    if found then
        raise exception 'column "%" of table "%" is not of a built-in type', bad, relation
            using errcode = 'invalid_parameter_value',
                hint = 'Name other columns in natural_key, or track the table.';
    end if;
end
$$;

-- A new row has its identity from its key; where that is null in part, one of its own.
create function syncjournal.trigger_identity() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC'
set extra_float_digits = 3 set bytea_output = 'hex'
as $$
declare
    known syncjournal.identity_relation;
    key name[];
    made uuid;
begin
    if tg_op = 'UPDATE' then
        if new.sync_id is distinct from old.sync_id then
            raise exception 'the identity of a row of table "%" cannot be changed', tg_relid::regclass
                using errcode = 'integrity_constraint_violation',
                    hint = 'Rows of other databases refer to it: leave column sync_id as it is.';
        end if;
    elsif new.sync_id is null then
        select * into known from syncjournal.identity_relation i
        where i.relid = coalesce(pg_partition_root(tg_relid), tg_relid);
        key := coalesce(known.natural_key, syncjournal.primary_key(known.relid));
        execute format('select case when num_nulls(%s) = 0 then %s end from (select ($1).*) r',
            (select string_agg(quote_ident(k), ', ') from unnest(key) k),
            syncjournal.row_id_expression(known.relid, key))
        into made using new;
        new.sync_id := coalesce(made, gen_random_uuid());
    end if;
    return new;
end
$$;

-- Dropping the extension takes the added column along.
create function syncjournal.own_identity_column(relation regclass) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
    insert into pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
    select 'pg_class'::regclass, a.attrelid, a.attnum, 'pg_extension'::regclass, e.oid, 0, 'n'
    from syncjournal.family(relation) f
        join pg_attribute a on a.attrelid = f and a.attname = 'sync_id' and not a.attisdropped
        join pg_extension e on e.extname = 'syncjournal'
    where not syncjournal.is_added_column(a.attrelid, a.attname)
$$;

-- Gives the rows of a table an identity that others can refer to, and nothing more: what is in it
-- does not travel. Its rows are the same in two databases where their key is.
create function syncjournal.track_identity(relation regclass, natural_key text[] default null)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    own_key name;
    key name[];
begin
    perform syncjournal.require_node();
    perform syncjournal.check_trackable(relation);
    if exists (select from syncjournal.identity_relation i where i.relid = relation) then
        raise exception 'rows of table "%" have identities already', relation
            using errcode = 'duplicate_object',
                hint = 'Take them away first: syncjournal.untrack_identity().';
    end if;
    perform syncjournal.take_exclusive_lock(f) from syncjournal.family(relation) f;
    perform syncjournal.check_natural_key(relation, natural_key, '{}');
    own_key := syncjournal.own_uuid_key(relation);
    if own_key is null then
        key := coalesce(natural_key::name[], syncjournal.primary_key(relation));
        perform syncjournal.check_identity_key(relation, key);
        perform syncjournal.require_unique(relation, natural_key);
        perform syncjournal.add_column(relation, 'sync_id');
        perform syncjournal.own_identity_column(relation);
        perform syncjournal.fill_identity(relation, key, versions => false);
        perform syncjournal.index_identity(relation);
        execute format('create trigger "~syncjournal_identity" before insert or update on %s'
            ' for each row execute function syncjournal.trigger_identity()', relation);
        perform syncjournal.enable_always(relation, '~syncjournal_identity');
    end if;
    insert into syncjournal.identity_relation (relid, identity_column, identity_added, natural_key)
    values (relation, coalesce(own_key, 'sync_id'), own_key is null, natural_key);
    perform syncjournal.follow_keys();
end
$$;

-- The table's identities are no longer kept up here: it is tracked from now on, or not at all.
create function syncjournal.forget_identity(relation regclass) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    delete from syncjournal.identity_relation i where i.relid = relation;
    if found then
        execute format('drop trigger if exists "~syncjournal_identity" on %s', relation);
    end if;
    return found;
end
$$;

create function syncjournal.untrack_identity(relation regclass, drop_columns boolean default false)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    was syncjournal.identity_relation := (
        select i from syncjournal.identity_relation i where i.relid = relation);
begin
    if was.relid is null then
        raise exception 'rows of table "%" have no identities of their own', relation
            using errcode = 'undefined_object',
                hint = 'A table that is tracked is taken out by syncjournal.untrack().';
    end if;
    execute format('lock table %s in access exclusive mode', relation);
    perform syncjournal.forget_identity(relation);
    perform syncjournal.follow_keys();
    if drop_columns and was.identity_added then
        perform syncjournal.drop_added_column(relation, 'sync_id');
    end if;
end
$$;

-- Keeps the names of key columns in step with the tables.
create function syncjournal.follow_identities() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    one syncjournal.identity_relation;
    columns name[];
begin
    for one in select * from syncjournal.identity_relation loop
        columns := array(
            select attname from pg_attribute
            where attrelid = one.relid and attnum > 0 and not attisdropped);
        if one.identity_column <> all (columns) then
            raise exception 'rows of other tables refer to table "%" by its column "%"',
                one.relid, one.identity_column using errcode = 'dependent_objects_still_exist',
                hint = 'Take the identities away first: syncjournal.untrack_identity().';
        elsif not one.natural_key <@ columns then
            raise exception 'the rows of table "%" have their identity from columns (%)',
                one.relid, array_to_string(one.natural_key, ', ')
                using errcode = 'dependent_objects_still_exist',
                    hint = 'Take the identities away first: syncjournal.untrack_identity().';
        end if;
    end loop;
end
$$;

create view syncjournal.identity_table as
select relid as relation, identity_column, natural_key from syncjournal.identity_relation;

-- References that are null until the row comes that they point to.
create view syncjournal.waiting_reference as
select t.relid as relation, p.row_id, p.carrier as column_name, r.parent as referenced,
    p.parent as referenced_id, p.since
from syncjournal.pending_reference p
    join syncjournal.tracked_relation t using (relation_id)
    left join syncjournal.relation_reference r using (relation_id, carrier);
