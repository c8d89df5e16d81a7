-- What a push meets at its destination: rows that were changed here, and rows that are only here.

-- The rows of this database that stand at a version which did not come from the peer, and which
-- the peer has not confirmed to have; deleted ones by their tombstones, but for those that were deleted
-- since the peer had not got them. What the peer's changes then replace is in view `conflict`, and in
-- this list no longer.
create function syncjournal.destination_ahead(peer text)
returns table (
    relation text, row_id uuid, operation text, changed_at timestamptz, node text, version uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.registered_peer := syncjournal.peer_named(peer);
    changed record;
begin
    for changed in
        select c.relation_id, t.relid, t.identity_column,
            array_agg(c.row_id) as rows, array_agg(c.version) as versions,
            array_agg(c.op) as operations
        from (
            select distinct on (y.relation_id, e.row_id)
                y.relation_id, e.row_id, e.version, e.op
            from syncjournal.journal_frame j
                join syncjournal.relation_layout y on y.layout_id = j.layout
                cross join lateral syncjournal.unfold_entries(j.frame, j.layout, j.data) e
            where j.origin <> known.peer_id and e.op <> 'TRUNCATE'
                and (known.confirmed is null
                    or not pg_visible_in_snapshot(j.xid, known.confirmed))
                and not (e.op = 'DELETE' and exists (
                    select from syncjournal.activity_log l
                    where l.event = 'extra_deleted' and l.xid = j.xid
                        and l.peer_name = known.peer_name))
            order by y.relation_id, e.row_id, e.version desc) c
            join syncjournal.tracked_relation t using (relation_id)
        group by 1, 2, 3
        order by t.relid::text
    loop
        return query execute format(
            'select %L, c.row_id, c.operation, syncjournal.version_time(c.version), k.node_name,
                c.version
             from unnest($1, $2, $3) c (row_id, version, operation)
                left join %s t on t.%I = c.row_id
                left join syncjournal.tombstone d
                    on d.relation_id = $4 and d.row_id = c.row_id and t.%3$I is null
                left join syncjournal.known_tag g
                    on g.node_tag = syncjournal.version_node(c.version)
                left join syncjournal.known_node k using (node_id)
             where c.version = coalesce(t.sync_version, d.version)
             order by c.version',
            (select format('%I.%I', n.nspname, c.relname) from pg_class c
                join pg_namespace n on n.oid = c.relnamespace where c.oid = changed.relid),
            changed.relid, changed.identity_column)
        using changed.rows, changed.versions, changed.operations, changed.relation_id;
    end loop;
end
$$;

-- The identities of a tracked table's rows, in their order: an agent's full sync finds by them what
-- only the destination has.
create function syncjournal.row_identities(relation regclass) returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    identity name := (
        select t.identity_column from syncjournal.tracked_relation t where t.relid = relation);
begin
    if identity is null then
        raise exception 'table "%" is not tracked', relation
            using errcode = 'undefined_object',
                hint = 'Its rows have no identity yet: track it by syncjournal.track().';
    end if;
    return query execute format('select %I from %s order by 1', identity, relation);
end
$$;

-- A replica's session: neither foreign keys nor ordinary triggers fire, as where a peer deletes.
create function syncjournal.delete_as_replica(relation regclass, command text) returns int8
language sql volatile set search_path = pg_catalog, pg_temp set session_replication_role = replica
as $$
    select syncjournal.update_as_owner(relation, command)
$$;

-- Deletes rows that the peer, whose state this table is to have, has not got. They are journaled as
-- this database's own deletes. Where the peer's foreign keys are enforced, so are they here.
create function syncjournal.delete_extra(peer text, relation regclass, row_ids uuid[]) returns int8
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.registered_peer := syncjournal.peer_named(peer);
    tracked syncjournal.tracked_relation;
    shown text := (
        select format('%I.%I', n.nspname, c.relname)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation);
    command text;
    deleted int8;
begin
    select * into tracked from syncjournal.tracked_relation t where t.relid = relation;
    if not found then
        raise exception 'table "%" is not tracked', relation
            using errcode = 'undefined_object', hint = 'See view syncjournal.tracked_table.';
    elsif not known.active or known.direction = 'send' then
        raise exception 'nothing is taken from peer "%"', peer
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'See its direction and whether it is active in view syncjournal.peer.';
    elsif exists (
        select from syncjournal.peer_restriction r
            join pg_class c on c.oid = relation join pg_namespace n on n.oid = c.relnamespace
        where r.peer_id = known.peer_id and r.direction <> 'send'
            and not 'delete' = any (r.operations)
            and syncjournal.relation_matches(n.nspname, c.relname, array[r.pattern], '{}')) then
        raise exception 'peer "%" may not delete rows of %', peer, shown
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'See view syncjournal.restriction.';
    end if;
    command := format('delete from %s where %I = any (%L::uuid[])',
        relation, tracked.identity_column, row_ids);
    if known.constraints = 'enforce' then
        deleted := syncjournal.update_as_owner(relation, command);
    else
        deleted := syncjournal.delete_as_replica(relation, command);
    end if;
    if deleted > 0 then
        perform syncjournal.note_activity(peer, 'extra_deleted',
            format('%s rows of %s that it has not got', deleted, shown));
    end if;
    return deleted;
end
$$;
