-- A node that was restored from a backup. It goes on where the backup was taken, under a tag of its
-- own, so that no two entries have one version; its peers forget how far they had come with the
-- history that is lost, and send home what they had of it.

-- Goes on under the next tag.
create function syncjournal.rejoin() returns int4
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    here uuid := syncjournal.require_node();
    next_tag int4;
begin
    perform from syncjournal.local_node for update;
    select t into next_tag
    from syncjournal.all_tags(here) with ordinality a(t, n)
    where t > 0 and t not in (select node_tag from syncjournal.known_tag)
    order by n limit 1;
    if not found then
        raise exception 'this node has been restored too often'
            using errcode = 'program_limit_exceeded',
                hint = 'Make it a new one: syncjournal.adopt_clone(name).';
    end if;
    insert into syncjournal.former_tag (node_tag, node_id)
    select node_tag, node_id from syncjournal.known_node where node_id = here;
    update syncjournal.known_node set node_tag = next_tag where node_id = here;
    update syncjournal.preferred_node set node_tag = next_tag where node_id = here;
    update syncjournal.local_node set rejoined_at = clock_timestamp();
    perform syncjournal.identity_changed();
    return next_tag;
end
$$;

-- Rejoins unless that was done since `known_at`, the moment of which there is evidence: several
-- peers notice the same.
create function syncjournal.was_restored(known_at timestamptz) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    last_time timestamptz := (
        select rejoined_at from syncjournal.local_node for update);
begin
    if last_time >= known_at then
        return false;
    end if;
    perform syncjournal.rejoin();
    return true;
end
$$;

-- How far this database has come with a source, and what it knows of it: the latest entry of the
-- source's own among the last that came.
create function syncjournal.reached(
    source_node uuid, out snapshot pg_snapshot, out newest uuid, out reached_at timestamptz)
returns setof record
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select r.snapshot, (
            select j.frame
            from (select frame, origin from syncjournal.journal order by xid desc limit 1000) j
            where j.origin = (
                    select peer_id from syncjournal.registered_peer where node_id = source_node)
                and syncjournal.version_node(j.frame) = (
                    select node_tag from syncjournal.known_node where node_id = source_node)
                -- Of a backend's, and not of a full set's or a merge's: it is the number's first digit.
                and substr(j.frame::text, 29, 1) < '8'
            order by j.frame desc limit 1),
        r.received_at
    from syncjournal.received r where r.node_id = source_node
$$;

-- What tells that a peer has had more of this database than is here, so that this is an earlier life of
-- it: the peer's position, an entry, or when what is said to have reached the peer was written. Null:
-- nothing does.
create function syncjournal.evidence_of_restore(
    known syncjournal.registered_peer, reached pg_snapshot, newest uuid, reached_at timestamptz)
returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select case
        when reached_at <= (select rejoined_at from syncjournal.local_node)
        then 'since its peer heard of it, it has rejoined'
        when pg_snapshot_xmax(reached) > pg_snapshot_xmax(pg_current_snapshot())
        then format('its peer has had transactions up to %s of it, which has come to %s',
            pg_snapshot_xmax(reached), pg_snapshot_xmax(pg_current_snapshot()))
        when not syncjournal.has_frame(newest)
            and newest > coalesce(
                (select horizon from syncjournal.pruned), '00000000-0000-0000-0000-000000000000')
        then format('its peer has its entry %s, which it does not know', newest)
        when exists (
            select from syncjournal.journal j
            where j.origin = 0 and j.xid < pg_snapshot_xmax(reached)
                and j.xid >= pg_snapshot_xmin(coalesce(known.confirmed, '1:1:'))
                and pg_visible_in_snapshot(j.xid, reached)
                and syncjournal.version_time(j.frame)
                    > reached_at + current_setting('syncjournal.max_clock_skew')::interval)
        then 'it has entries that were made after they are said to have come to its peer'
    end
$$;

-- A peer meets this database, from which it has come so far. Says who of the two was restored from a
-- backup, if one was: `source`, `peer`, or `none`; since when the other knows better, and by what.
create function syncjournal.meet(
    peer text, reached pg_snapshot, newest uuid, reached_at timestamptz,
    out restored text, out known_at timestamptz, out has_position boolean, out evidence text)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.registered_peer := syncjournal.peer_named(peer);
begin
    -- Brings the library, and its settings, into the session.
    perform syncjournal.relation_matches('', '', '{}', '{}');
    restored := 'none';
    evidence := syncjournal.evidence_of_restore(known, reached, newest, reached_at);
    if evidence is not null then
        -- What the peer had by the time of the backup is what it had confirmed.
        restored := 'source';
        known_at := reached_at;
        perform syncjournal.was_restored(reached_at);
    elsif not syncjournal.snapshot_covers(reached, known.confirmed) then
        restored := 'peer';
        evidence := format('it has come to %s, and had confirmed %s', reached, known.confirmed);
        select a.last_sync_at into known_at from syncjournal.peer_activity a
        where a.peer_id = known.peer_id;
        perform syncjournal.set_peer_back(known.peer_id, reached);
        update syncjournal.received r set doubted = true where r.node_id = known.node_id;
    else
        perform syncjournal.confirm_position(peer, reached);
    end if;
    has_position := exists (
        select from syncjournal.registered_peer p
        where p.peer_id = known.peer_id and p.confirmed is not null);
end
$$;

-- A peer has less of this database than it had confirmed.
create function syncjournal.set_peer_back(peer int2, reached pg_snapshot) returns void
language sql volatile set search_path = pg_catalog, pg_temp
as $$
    update syncjournal.registered_peer p
    set confirmed = reached, has_said = null,
        resend_before = greatest(pg_snapshot_xmax(pg_current_snapshot()), p.resend_before)
    where p.peer_id = peer
$$;

-- A source shows itself under another tag: it was restored. What it still has, it has said in
-- `received`; where this database stands with it is where its set begins.
create function syncjournal.source_rejoined(
    source_node uuid, tag int4, begins pg_snapshot, received pg_snapshot)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    insert into syncjournal.former_tag (node_tag, node_id)
    select node_tag, node_id from syncjournal.known_node where node_id = source_node;
    update syncjournal.known_node set node_tag = tag where node_id = source_node;
    update syncjournal.preferred_node set node_tag = tag where node_id = source_node;
    update syncjournal.received r set doubted = false, set_id = null, part = null, snapshot = case
        when syncjournal.snapshot_covers(r.snapshot, begins) then begins end
    where r.node_id = source_node;
    perform syncjournal.set_peer_back(p.peer_id, received)
    from syncjournal.registered_peer p
    where p.node_id = source_node and received is not null
        and not syncjournal.snapshot_covers(received, p.confirmed);
end
$$;
