-- What a push would meet: rows that were changed here and that the source has not got.

-- The rows of this database that stand at a version which did not come from the peer, and which
-- the peer has not confirmed to have; deleted ones by their tombstones. What the peer's changes then
-- replace is in view `conflict`, and in this list no longer.
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
            from syncjournal.journal j
                join syncjournal.relation_layout y on y.layout_id = j.layout
                cross join lateral syncjournal.unfold_entries(j.frame, j.layout, j.data) e
            where j.origin <> known.peer_id and e.op <> 'TRUNCATE'
                and (known.confirmed is null
                    or not pg_visible_in_snapshot(j.xid, known.confirmed))
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
                left join syncjournal.known_node k
                    on k.node_tag = syncjournal.version_node(c.version)
             where c.version = coalesce(t.sync_version, d.version)
             order by c.version',
            (select format('%I.%I', n.nspname, c.relname) from pg_class c
                join pg_namespace n on n.oid = c.relnamespace where c.oid = changed.relid),
            changed.relid, changed.identity_column)
        using changed.rows, changed.versions, changed.operations, changed.relation_id;
    end loop;
end
$$;
