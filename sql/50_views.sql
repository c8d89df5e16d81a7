-- What people and agents read.

create view syncjournal.node as
select k.node_id, k.node_name as name, k.owner, k.contact, k.url,
    l.node_id is not null as is_local, a.last_sync_at, coalesce(a.sync_count, 0) as sync_count,
    k.node_tag, k.rank
from syncjournal.known_node k
    left join syncjournal.local_node l using (node_id)
    left join syncjournal.registered_peer p using (node_id)
    left join syncjournal.peer_activity a using (peer_id);

create view syncjournal.node_priority as
select p.place as priority, p.node_id, k.node_name as name
from syncjournal.preferred_node p left join syncjournal.known_node k using (node_id);

create view syncjournal.tracked_table as
select t.relid as relation, t.identity_column, t.keys, t.natural_key, t.conflict_policy,
    t.exclude_columns, t.counters, pg_catalog.to_regprocedure(t.merge_function) as merge_function,
    t.tracked_since,
    (select coalesce(sum(j.entries), 0)
     from syncjournal.relation_layout y join syncjournal.journal_frame j on j.layout = y.layout_id
     where y.relation_id = t.relation_id) as live_entries,
    t.run_triggers, t.on_key_collision
from syncjournal.tracked_relation t;

create view syncjournal.peer as
select peer_name as name, node_id, include, exclude, slices, direction, active,
    active and node_id is not null as allow_sync, constraints, stop_on
from syncjournal.registered_peer;

-- Of these tables only these operations pass.
create view syncjournal.restriction as
select p.peer_name as peer, r.pattern as relation, r.direction, r.operations
from syncjournal.peer_restriction r join syncjournal.registered_peer p using (peer_id);

-- What came of operations that do not pass: it stands in the journal, and was not applied.
create view syncjournal.not_permitted as
select p.peer_name as peer, pg_catalog.format('%I.%I', n.nspname, c.relname) as relation,
    r.operation, r.entries, r.last_row_id, r.last_version, r.last_at
from syncjournal.refused_operation r
    join syncjournal.registered_peer p using (peer_id)
    join syncjournal.tracked_relation t using (relation_id)
    join pg_catalog.pg_class c on c.oid = t.relid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace;

create view syncjournal.activity as
select activity_id, occurred_at, peer_name as peer, event, detail, by_role
from syncjournal.activity_log;

create view syncjournal.slices as
select s.slice_name as name, t.relid as relation, s.row_filter, s.on_leave, s.allow_sync,
    s.created_at,
    array(select p.peer_name from syncjournal.registered_peer p
        where s.slice_name = any (p.slices) order by 1) as peers,
    s.locked_at
from syncjournal.slice s join syncjournal.tracked_relation t using (relation_id);

create view syncjournal.stat_peer as
select p.peer_name as name,
    case when not p.active then 'inactive'
        when p.direction = 'receive' then 'receiving'
        when exists (
            select from syncjournal.pruned g
            where not syncjournal.snapshot_covers(reached.snapshot, g.snapshot))
            then 'needs full set'
        when waiting.entries > 0 then 'behind'
        else 'current' end as state,
    a.entries_sent, a.bytes_sent, a.entries_applied, a.bytes_applied,
    waiting.entries as lag_entries,
    greatest(extract(epoch from
        pg_catalog.clock_timestamp() - syncjournal.version_time(waiting.oldest)), 0) as lag_seconds,
    a.conflicts,
    (select count(*) from syncjournal.quarantined_entry q where q.peer_id = p.peer_id)
        as quarantined,
    a.last_error, a.last_error_at, a.last_sync_at
from syncjournal.registered_peer p
    join syncjournal.peer_activity a using (peer_id)
    cross join lateral (select coalesce(p.confirmed, '1:1:') as snapshot) reached
    cross join lateral (
        select coalesce(sum(j.entries), 0) as entries,
            (array_agg(j.frame order by j.frame))[1] as oldest
        from syncjournal.journal j
        where p.direction <> 'receive' and j.origin <> p.peer_id
            and j.xid >= pg_catalog.pg_snapshot_xmin(reached.snapshot)
            and not pg_catalog.pg_visible_in_snapshot(j.xid, reached.snapshot)) waiting;

create view syncjournal.sync_set as
select s.set_id, s.direction, p.peer_name as peer, s.mode, s.from_snapshot, s.to_snapshot,
    s.parts, s.entries, s.quarantined, s.bytes, s.made_at, s.confirmed_at
from syncjournal.set_log s left join syncjournal.registered_peer p using (peer_id);

create view syncjournal.conflict as
select c.conflict_id, c.detected_at, p.peer_name as peer,
    pg_catalog.format('%I.%I', c.schema_name, c.table_name) as relation,
    c.row_id, c.conflict_type, c.policy,
    c.base, c.local, c.remote, c.base_version, c.local_version, c.remote_version,
    c.winner, c.status
from syncjournal.conflict_log c left join syncjournal.registered_peer p using (peer_id);

create view syncjournal.quarantine as
select q.quarantine_id, q.since, p.peer_name as source,
    pg_catalog.format('%I.%I', q.schema_name, q.table_name) as relation,
    q.row_id, q.op, q.sqlstate, q.error, q.new, q.attempts, q.version, q.next_try
from syncjournal.quarantined_entry q left join syncjournal.registered_peer p using (peer_id);
