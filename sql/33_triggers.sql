-- The triggers of tracked tables, and which of them makes the entries of updates.

-- Ours fire whatever the session's role: what triggers of the users' write to tracked tables while
-- entries are applied, when the role is replica, is this node's own change. In one command, since
-- each has the event triggers look at the table.
create function syncjournal.enable_always(relation regclass, variadic triggers name[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('alter table %s ', relation) || (
        select string_agg(format('enable always trigger %I', t), ', ') from unnest(triggers) t);
end
$$;

-- Row triggers reach the partitions of a table by themselves, a truncate trigger does not.
-- Whether there was none yet.
create function syncjournal.create_truncate_trigger(relation regclass) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (
        select from pg_trigger where tgrelid = relation and tgname = 'syncjournal_truncate') then
        return false;
    end if;
    execute format('create trigger syncjournal_truncate before truncate on %s'
        ' for each statement execute function syncjournal.trigger_truncate()', relation);
    perform syncjournal.enable_always(relation, 'syncjournal_truncate');
    return true;
end
$$;

-- The tilde sorts the first trigger behind the table's own, so that it sees the row as written.
create function syncjournal.create_triggers(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('create trigger "~syncjournal_version" before insert or update on %s'
        ' for each row execute function syncjournal.trigger_version()', relation);
    execute format('create trigger syncjournal_capture after insert or update or delete on %s'
        ' for each row execute function syncjournal.trigger_capture()', relation);
    perform syncjournal.enable_always(relation, '~syncjournal_version', 'syncjournal_capture');
    perform syncjournal.create_truncate_trigger(relation);
    perform syncjournal.create_truncate_trigger(relid)
    from pg_partition_tree(relation) where relid <> relation;
end
$$;

-- Whether the row that "~syncjournal_version" leaves of an update is the one that will be written,
-- and all that its entry needs is there: then that trigger makes the entry. Not where a row may move
-- to another partition, where columns are computed later, where a trigger behind ours may change
-- or suppress the row, or where it refers to rows that the same statement may still bring or move. Nor
-- while somebody has disabled it: then the other trigger refuses updates, where none would tell of them.
-- A view, since it is asked of all tables at once.
create view syncjournal.last_word as
select t.relid, c.relkind = 'r'
        and not exists (
            select from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attgenerated <> '' and not a.attisdropped)
        and not exists (
            select from pg_catalog.pg_trigger g
            -- Of a row, before, update. Names are compared by bytes, as triggers are sorted.
            where g.tgrelid = c.oid and g.tgname > '~syncjournal_version' and g.tgtype & 19 = 19
                or g.tgrelid = c.oid and g.tgname = '~syncjournal_version' and g.tgenabled = 'D')
        and not exists (
            select from syncjournal.relation_reference r where r.relation_id = t.relation_id)
    as is_ours
from syncjournal.tracked_relation t join pg_catalog.pg_class c on c.oid = t.relid;

-- Lets one of the two triggers make the entries of updates, and the other not. A key of the users'
-- that changes is a delete and an insert, of which more is known when the row is written.
-- In the role in which our event triggers are silent: each of these commands would settle all tables.
create function syncjournal.choose_triggers(t syncjournal.tracked_relation, is_early boolean)
returns void
language plpgsql set search_path = pg_catalog, pg_temp set session_replication_role = replica
as $$
declare
    ours name[] := '{~syncjournal_version,syncjournal_capture}';
    -- What somebody has disabled stays so.
    off name[] := array(
        select tgname from pg_trigger
        where tgrelid = t.relid and tgname = any (ours) and tgenabled = 'D');
begin
    execute format('create or replace trigger "~syncjournal_version" before insert or update on %s'
        ' for each row execute function syncjournal.trigger_version(%s)',
        t.relid, case when is_early then '''makes entries''' else '' end);
    execute format('create or replace trigger syncjournal_capture after insert or delete%s on %s'
        ' for each row execute function syncjournal.trigger_capture()',
        case when is_early then '' else ' or update' end, t.relid);
    if is_early and not t.identity_added then
        ours := ours || '{syncjournal_moved}';
        execute format('create or replace trigger syncjournal_moved after update on %s for each row'
            ' when (old.%2$I is distinct from new.%2$I)'
            ' execute function syncjournal.trigger_capture()', t.relid, t.identity_column);
    elsif exists (
        select from pg_trigger where tgrelid = t.relid and tgname = 'syncjournal_moved') then
        execute format('drop trigger syncjournal_moved on %s', t.relid);
    end if;
    perform syncjournal.enable_always(t.relid, variadic ours);
    for i in 1 .. cardinality(off) loop
        execute format('alter table %s disable trigger %I', t.relid, off[i]);
    end loop;
end
$$;

-- Keeps the triggers of all tables in step with what they are. While a dump is restored there is
-- nothing to choose before both triggers are there.
create function syncjournal.settle_triggers() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    one record;
begin
    for one in
        select t as tracked, w.is_ours
        from syncjournal.tracked_relation t
            join syncjournal.last_word w using (relid)
            join pg_trigger v on v.tgrelid = t.relid and v.tgname = '~syncjournal_version'
            join pg_trigger c on c.tgrelid = t.relid and c.tgname = 'syncjournal_capture'
        where (v.tgnargs > 0) <> w.is_ours
    loop
        perform syncjournal.choose_triggers(one.tracked, one.is_ours);
    end loop;
end
$$;

-- Of a table, and of its partitions.
create function syncjournal.drop_triggers(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    member regclass;
begin
    execute format('drop trigger if exists "~syncjournal_version" on %s', relation);
    execute format('drop trigger if exists syncjournal_capture on %s', relation);
    if exists (
        select from pg_trigger where tgrelid = relation and tgname = 'syncjournal_moved') then
        execute format('drop trigger syncjournal_moved on %s', relation);
    end if;
    for member in
        select tgrelid from pg_trigger where tgname = 'syncjournal_truncate'
            and (tgrelid = relation or tgrelid in (select relid from pg_partition_tree(relation)))
    loop
        execute format('drop trigger syncjournal_truncate on %s', member);
    end loop;
end
$$;
