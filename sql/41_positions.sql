-- How far each peer has come, and what an agent needs to follow the journal.

-- Whether everything visible in `earlier` is visible in `later`.
create function syncjournal.snapshot_covers(later pg_snapshot, earlier pg_snapshot)
returns boolean
language sql immutable strict set search_path = pg_catalog, pg_temp
as $$
    select pg_snapshot_xmax(later) >= pg_snapshot_xmax(earlier)
        and not exists (
            select from pg_snapshot_xip(later) open_then
            where pg_visible_in_snapshot(open_then, earlier))
$$;

-- The peer has everything visible in this snapshot of ours. A position never goes back.
create function syncjournal.confirm_position(peer text, snapshot pg_snapshot) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.registered_peer := syncjournal.peer_named(peer);
begin
    if pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot()) then
        raise exception 'position % of peer "%" lies in the future', snapshot, peer
            using errcode = 'invalid_parameter_value',
                hint = 'Confirm a position of this database, not of the peer''s.';
    end if;
    update syncjournal.registered_peer p set confirmed = snapshot
    where p.peer_id = known.peer_id
        and (p.confirmed is null or syncjournal.snapshot_covers(snapshot, p.confirmed));
    update syncjournal.peer_activity a set last_sync_at = now() where a.peer_id = known.peer_id;
end
$$;

create function syncjournal.confirm_sync(set_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    made syncjournal.set_log;
    to_peer text;
begin
    select * into made from syncjournal.set_log s
    where s.set_id = confirm_sync.set_id and s.direction = 'sent';
    select p.peer_name into to_peer from syncjournal.registered_peer p
    where p.peer_id = made.peer_id;
    if not found then
        raise exception 'no set % was made here for a peer', set_id
            using errcode = 'undefined_object',
                hint = 'Sets are confirmed where they were made: see view syncjournal.sync_set.';
    elsif made.confirmed_at is not null then
        return;
    end if;
    -- The peer, the sets, the totals: whoever locks them does so in this order.
    perform from syncjournal.registered_peer p where p.peer_id = made.peer_id for no key update;
    update syncjournal.set_log s set confirmed_at = now() where s.set_id = confirm_sync.set_id;
    -- Counted here and not when the set is made: an agent applies a set while its making is under
    -- way, and two that bring sets opposite ways would wait for each other's totals, unseen by
    -- either server.
    update syncjournal.peer_activity
    set sync_count = sync_count + 1, entries_sent = entries_sent + made.entries,
        bytes_sent = bytes_sent + made.bytes
    where peer_id = made.peer_id;
    perform syncjournal.confirm_position(to_peer, made.to_snapshot);
end
$$;

-- What went wrong last between this database and a peer, as its agent saw it.
create function syncjournal.note_error(peer text, error text) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    update syncjournal.peer_activity a
    set last_error = left(error, 1000), last_error_at = now()
    from syncjournal.registered_peer p
    where p.peer_id = a.peer_id and p.peer_name = peer
$$;

-- How far this database has come with a source; no row: it has nothing from there.
create function syncjournal.received_position(
    source_node uuid, out snapshot pg_snapshot, out set_id uuid, out part int4)
returns setof record
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select r.snapshot, r.set_id, r.part
    from syncjournal.received r where r.node_id = source_node
$$;

-- Agents apply without waiting for the disk at each commit. What was written up to this place in the
-- WAL (null: by now) is on it, and at synchronous standbys, when this returns.
create function syncjournal.make_durable(written int8) returns void
volatile language c security definer set search_path = pg_catalog, pg_temp
as 'MODULE_PATHNAME', 'make_durable_wrapper';

create function syncjournal.layout_definition(layout_id int4) returns bytea
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select l.definition from syncjournal.relation_layout l
    where l.layout_id = layout_definition.layout_id
$$;

-- The snapshot is older than the place in the log: whoever has applied everything before that
-- place has everything that is visible in the snapshot. With it, by node, what had come from others
-- by then: a batch that leads to this snapshot may say so of its destination.
create function syncjournal.stream_position(
    out snapshot pg_snapshot, out lsn pg_lsn, out received jsonb)
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    select pg_current_snapshot(), pg_current_wal_insert_lsn(), (
        select coalesce(jsonb_object_agg(r.node_id, r.snapshot), '{}')
        from syncjournal.received r where r.snapshot is not null and not r.doubted)
$$;

-- What logical decoding reads: inserts into the journal, whichever segment they go to.
create function syncjournal.ensure_publication() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from pg_publication where pubname = 'syncjournal') then
        create publication syncjournal for table syncjournal.journal
            with (publish = 'insert', publish_via_partition_root = true);
    elsif not exists (
        select from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
        where p.pubname = 'syncjournal' and p.pubinsert and p.pubviaroot
            and r.prrelid = 'syncjournal.journal'::regclass) then
        raise exception 'publication "syncjournal" is not the journal''s'
            using errcode = 'duplicate_object',
                hint = 'Rename it: alter publication syncjournal rename to another_name.';
    end if;
    insert into pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
    select 'pg_publication'::regclass, p.oid, 0, 'pg_extension'::regclass, e.oid, 0, 'a'
    from pg_publication p, pg_extension e
    where p.pubname = 'syncjournal' and e.extname = 'syncjournal'
        and not exists (
            select from pg_depend d where d.classid = 'pg_publication'::regclass
                and d.objid = p.oid and d.refclassid = 'pg_extension'::regclass);
end
$$;
