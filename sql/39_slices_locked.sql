-- Slices that are locked: nothing goes to peers by them, until they are opened.

-- Times that slices were locked, for as long as a peer lacks entries of theirs: none goes by the slice,
-- since what the rows came to was brought when it was opened.
create table syncjournal.slice_past (
    slice_id int4 not null references syncjournal.slice on delete cascade,
    locked_by xid8 not null,
    until pg_snapshot not null,
    -- The transaction that opened it, which its snapshot may show already, and where that was.
    opened_by xid8 not null default pg_catalog.pg_current_xact_id(),
    opened_at pg_lsn not null default pg_catalog.pg_current_wal_insert_lsn()
);

create index slice_past_slice_id on syncjournal.slice_past (slice_id);

select pg_catalog.pg_extension_config_dump('syncjournal.slice_past', '');

create function syncjournal.journal_held(
    relation regclass, slice_id int4, since text, peer_id int2, stays text)
returns int8
language c as 'MODULE_PATHNAME', 'journal_held_wrapper';

create function syncjournal.journal_notice(relation regclass) returns void
strict language c as 'MODULE_PATHNAME', 'journal_notice_wrapper';

-- When the slices of these names were locked, and are: what was written then goes to no peer by them. In
-- the words that `syncjournal_core::slice::Lock` reads.
create function syncjournal.slice_locks(names text[]) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select concat_ws(
        ' ', o.slice_id, o.locked_by, o.until, o.opened_by, o.opened_at - '0/0')
    from syncjournal.slice_past o join syncjournal.slice s using (slice_id)
    where s.slice_name = any (names)
    union all
    select concat_ws(' ', s.slice_id, s.locked_by) from syncjournal.slice s
    where s.slice_name = any (names) and not s.allow_sync
$$;

-- Nothing that is written from here on goes to peers by this slice; what comes from them is applied as
-- ever. Says whether it was open.
create function syncjournal.lock_slice(name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.slice := syncjournal.slice_named(name);
begin
    select * into known from syncjournal.slice s where s.slice_id = known.slice_id for update;
    if not known.allow_sync then
        return false;
    end if;
    update syncjournal.slice s
    set allow_sync = false, locked_at = now(), locked_by = pg_current_xact_id(),
        locked_for = array(
            select p.peer_id from syncjournal.registered_peer p
            where s.slice_name = any (p.slices) and p.confirmed is not null)
    where s.slice_id = known.slice_id;
    perform syncjournal.journal_notice(t.relid)
    from syncjournal.tracked_relation t where t.relation_id = known.relation_id;
    return true;
end
$$;

-- Brings over what has changed in the slice since it was locked, in this one transaction; all of it to
-- peers that got the slice meanwhile, or a first set. Says whether it was locked.
create function syncjournal.unlock_slice(name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    was syncjournal.slice := syncjournal.slice_named(name);
    relation regclass := (
        select relid from syncjournal.tracked_relation t where t.relation_id = was.relation_id);
begin
    -- Who has written in it is waited for, or what they wrote would neither go now nor later.
    execute format('lock table %s in share row exclusive mode', relation);
    select * into was from syncjournal.slice s where s.slice_id = was.slice_id for update;
    if was.allow_sync then
        return false;
    end if;
    perform syncjournal.flush_capture();
    delete from syncjournal.slice_past o
    where o.slice_id = was.slice_id and not exists (
        select from syncjournal.registered_peer p
        where was.slice_name = any (p.slices) and p.direction <> 'receive'
            and syncjournal.snapshot_covers(p.confirmed, o.until) is not true);
    insert into syncjournal.slice_past (slice_id, locked_by, until)
    values (was.slice_id, was.locked_by, pg_current_snapshot());
    update syncjournal.slice s
    set allow_sync = true, locked_at = null, locked_by = null, locked_for = null
    where s.slice_id = was.slice_id;
    perform syncjournal.journal_notice(relation);
    perform syncjournal.journal_held(
        relation, was.slice_id, was.locked_by::text, null, null);
    perform syncjournal.journal_transition(
        relation,
        syncjournal.visible_rows(was.relation_id, n.nspname, c.relname,
            p.include, p.exclude, array[was.slice_name]),
        null, null, p.peer_id)
    from syncjournal.registered_peer p, pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = relation and was.slice_name = any (p.slices) and p.direction <> 'receive'
        and (p.peer_id <> all (was.locked_for) or exists (
            select from syncjournal.set_log l
            where l.peer_id = p.peer_id and l.direction = 'sent' and l.mode = 'full'
                and pg_visible_in_snapshot(was.locked_by, l.to_snapshot)));
    return true;
end
$$;

-- A peer is to lose a slice while it is locked: rows that have gone from it meanwhile go from the peer
-- as well, but for those that it has by what it gets instead, or that stay.
create function syncjournal.take_locked_slice(locked syncjournal.slice, peer_id int2, instead text)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform syncjournal.journal_held(
        t.relid, locked.slice_id, locked.locked_by::text,
        take_locked_slice.peer_id, case when locked.on_leave = 'keep' then 'true' else instead end)
    from syncjournal.tracked_relation t where t.relation_id = locked.relation_id;
    update syncjournal.slice s
    set locked_for = array_remove(s.locked_for, take_locked_slice.peer_id)
    where s.slice_id = locked.slice_id;
end
$$;
