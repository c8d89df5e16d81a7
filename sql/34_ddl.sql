-- Following what others do to tracked tables by DDL.

-- A partition brings its rows past every trigger: they are journaled here. While a dump is restored
-- the root has no trigger either, and everything that is missing here will come from the dump, which
-- creates triggers in the order of their names: the root's last one comes after all the partitions'.
create function syncjournal.welcome_partitions(root syncjournal.tracked_relation) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    newcomer regclass;
    kind "char";
begin
    if not exists (
        select from pg_trigger where tgrelid = root.relid and tgname = '~syncjournal_version') then
        return;
    end if;
    for newcomer, kind in
        select p.relid, c.relkind
        from pg_partition_tree(root.relid) p join pg_class c on c.oid = p.relid
        where not exists (
            select from pg_trigger g
            where g.tgrelid = p.relid and g.tgname = 'syncjournal_truncate')
    loop
        if kind = 'f' then
            raise exception 'cannot make foreign table "%" a partition of tracked table "%"',
                newcomer, root.relid using errcode = 'wrong_object_type',
                hint = 'Changes on another server are not journaled here: use a local table.';
        end if;
        -- First, so that DDL in here, for which this function is called again, finds no newcomer.
        -- That call may have seen to those that are still to come.
        continue when not syncjournal.create_truncate_trigger(newcomer);
        if kind = 'r' and syncjournal.has_rows(newcomer) then
            perform syncjournal.journal_rows(newcomer, root);
        end if;
    end loop;
    if root.identity_added then
        perform syncjournal.index_identity(root.relid);
    end if;
end
$$;

-- A partition that was detached is nobody's: its rows are not tracked any more.
create function syncjournal.release_partitions() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    stray regclass;
begin
    for stray in
        select tgrelid from pg_trigger
        where tgname = 'syncjournal_truncate'
            and coalesce(pg_partition_root(tgrelid), tgrelid)
                not in (select relid from syncjournal.tracked_relation)
    loop
        execute format('drop trigger syncjournal_truncate on %s', stray);
    end loop;
end
$$;

-- The new name of a column that DDL has just renamed; null: none was.
create function syncjournal.renamed_column(relation regclass) returns name
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select a.attname
    from pg_event_trigger_ddl_commands() c
        join pg_attribute a on a.attrelid = c.objid and a.attnum = c.objsubid
    where c.classid = 'pg_class'::regclass and c.objid = relation
        and c.object_type = 'table column' and c.command_tag = 'ALTER TABLE'
    limit 1
$$;

-- Keeps what tracking knows of a table in step with the table, or refuses the change.
create function syncjournal.follow_relation(now_tracked syncjournal.tracked_relation, renamed name)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    columns name[] := array(
        select attname from pg_attribute
        where attrelid = now_tracked.relid and attnum > 0 and not attisdropped);
    needed name[] := array['sync_version', now_tracked.identity_column];
    lost name;
    c pg_class := (select c from pg_class c where c.oid = now_tracked.relid);
begin
    if c.relispartition or c.relpersistence <> 'p' then
        raise exception 'tracked table "%" cannot become % table', now_tracked.relid,
            case when c.relispartition then 'a partition of another' else 'an unlogged' end
            using errcode = 'object_not_in_prerequisite_state',
                hint = format('Take it out first: select syncjournal.untrack(%L).',
                    now_tracked.relid::text);
    end if;
    if renamed is not null and not now_tracked.identity_added
        and now_tracked.identity_column <> all (columns) then
        update syncjournal.tracked_relation set identity_column = renamed
        where relation_id = now_tracked.relation_id;
        needed[2] := renamed;
    end if;
    select n into lost from unnest(needed) n
    where not exists (
        select from pg_attribute where attrelid = now_tracked.relid and attname = n
            and atttypid = 'uuid'::regtype and not attisdropped);
    if found then
        raise exception 'tracked table "%" needs its column "%" of type uuid',
            now_tracked.relid, lost using errcode = 'dependent_objects_still_exist',
            hint = format('Take it out first: select syncjournal.untrack(%L, true).',
                now_tracked.relid::text);
    end if;
    update syncjournal.tracked_relation t set exclude_columns = array(
        select case when e = any (columns) then e else renamed end
        from unnest(t.exclude_columns) e where e = any (columns) or renamed is not null)
    where relation_id = now_tracked.relation_id and not exclude_columns <@ columns;
    update syncjournal.tracked_relation t set dropped_columns = array(
        select d from unnest(t.dropped_columns) d where d <> all (columns))
    where relation_id = now_tracked.relation_id and dropped_columns && columns;
    perform syncjournal.follow_counters(now_tracked, columns, renamed);
    perform syncjournal.follow_natural_key(now_tracked, columns, renamed);
    if c.relkind = 'p' then
        perform syncjournal.welcome_partitions(now_tracked);
    end if;
    perform syncjournal.own_added_columns(now_tracked.relid);
    perform syncjournal.follow_keys();
    perform syncjournal.refresh_layout(now_tracked.relid);
end
$$;

-- After a command that may have changed tracked tables: the tables that it names, those below and
-- above them, those of a schema; every one where a type changed, since layouts name types.
create function syncjournal.follow_ddl() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    changed oid[];
    affected syncjournal.tracked_relation;
begin
    if tg_tag in ('CREATE TRIGGER', 'ALTER TRIGGER') then
        perform syncjournal.settle_triggers()
        from pg_event_trigger_ddl_commands() c
            join pg_trigger g on g.oid = c.objid join pg_proc f on f.oid = g.tgfoid
        where f.pronamespace <> 'syncjournal'::regnamespace;
        return;
    end if;
    perform syncjournal.keep_slices();
    select array_agg(distinct f.relid) into changed
    from pg_event_trigger_ddl_commands() c
        cross join syncjournal.family(coalesce(pg_partition_root(c.objid), c.objid)) f(relid)
    where c.classid = 'pg_class'::regclass;
    for affected in
        select t.* from syncjournal.tracked_relation t join pg_class r on r.oid = t.relid
        where t.relid = any (changed) or exists (
            select from pg_event_trigger_ddl_commands() c
            where c.classid = 'pg_type'::regclass
                or c.classid = 'pg_namespace'::regclass and c.objid = r.relnamespace)
    loop
        perform syncjournal.follow_relation(
            affected, syncjournal.renamed_column(affected.relid));
    end loop;
    if found then
        perform syncjournal.release_partitions();
    end if;
    perform syncjournal.follow_identities();
    perform syncjournal.keep_merge_functions();
end
$$;

-- After a drop: of a tracked table, which is then forgotten, of a column of one, or of what it needs.
create function syncjournal.follow_drop() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    affected syncjournal.tracked_relation;
begin
    perform syncjournal.keep_slices();
    with forgotten as (
        delete from syncjournal.tracked_relation t using pg_event_trigger_dropped_objects() d
        where d.classid = 'pg_class'::regclass and d.objid = t.relid and d.objsubid = 0
        returning t.relation_id),
    truncations as (
        delete from syncjournal.truncation
        where relation_id in (select relation_id from forgotten)),
    skipped as (
        delete from syncjournal.skipped_state
        where relation_id in (select relation_id from forgotten)),
    gone as (
        delete from syncjournal.left_row
        where relation_id in (select relation_id from forgotten)),
    waiting as (
        delete from syncjournal.inbox
        where relation_id in (select relation_id from forgotten))
    delete from syncjournal.tombstone where relation_id in (select relation_id from forgotten);
    delete from syncjournal.identity_relation i using pg_event_trigger_dropped_objects() d
    where d.classid = 'pg_class'::regclass and d.objid = i.relid and d.objsubid = 0;
    update syncjournal.tracked_relation t
    set dropped_columns = t.dropped_columns || d.columns
    from (
        select objid, array_agg(address_names[3]::name) as columns
        from pg_event_trigger_dropped_objects()
        where object_type = 'table column'
        group by objid) d
    where d.objid = t.relid;
    for affected in
        select distinct t.* from syncjournal.tracked_relation t
            join pg_event_trigger_dropped_objects() d on d.objid = t.relid
        where d.classid = 'pg_class'::regclass and d.objsubid > 0
    loop
        perform syncjournal.follow_relation(affected, null);
    end loop;
    perform syncjournal.follow_keys();
    perform syncjournal.follow_identities();
    perform syncjournal.keep_merge_functions();
end
$$;
