-- The journal for people.

-- Entry by entry, with the row that holds each and the tracked table that it belongs to.
create view syncjournal.journal_entry as
select j.stored_in, j.frame, y.relation_id, u.version, u.prev, u.merged,
    syncjournal.version_time(u.version) as changed_at, k.node_name as node, j.xid,
    pg_catalog.format('%I.%I', y.schema_name, y.table_name) as relation,
    u.row_id, u.op, u.old, u.new
from syncjournal.journal_frame j
    join syncjournal.relation_layout y on y.layout_id = j.layout
    cross join lateral syncjournal.unfold_frame(j.frame, j.layout, j.data) u
    left join syncjournal.known_tag t on t.node_tag = syncjournal.version_node(u.version)
    left join syncjournal.known_node k using (node_id)
-- Rows for peers with slices, and for one peer, tell of no change.
where j.reach = '' or get_byte(j.reach, 0) = 1;

create view syncjournal.change as
select version, prev, merged, changed_at, node, xid, relation, row_id, op, old, new
from syncjournal.journal_entry;

-- One row's entries, oldest first, found by walking from parent to parent: one look-up each, which
-- a join might take for a reason to unfold the whole journal. A row that went with a TRUNCATE has
-- left no head to walk from: only then the relation's part of the journal is searched.
create function syncjournal.history(relation regclass, row_id uuid)
returns setof syncjournal.change
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.tracked_relation := syncjournal.tracked(relation);
    step record;
begin
    for step in
        select w.version, w.stored_in from syncjournal.history_walk(relation, row_id) w
        order by w.version
    loop
        return query
            select e.version, e.prev, e.merged, e.changed_at, e.node, e.xid, e.relation,
                e.row_id, e.op, e.old, e.new
            from syncjournal.journal_entry e
            where e.stored_in = step.stored_in and e.version = step.version;
    end loop;
    if not found then
        return query
            select e.version, e.prev, e.merged, e.changed_at, e.node, e.xid, e.relation,
                e.row_id, e.op, e.old, e.new
            from syncjournal.journal_entry e
            where e.relation_id = known.relation_id and e.row_id = history.row_id
            order by e.version;
    end if;
end
$$;
