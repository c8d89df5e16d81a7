-- What a clone asks of the source, see sql/48_clone.sql.

-- Rows in the blocks of a tracked table or leaf, in chunks, under the caller's snapshot. With `since`
-- only those that a reading under that snapshot has not met where they stand now, and perhaps some
-- more. Of a table that the peer has by slices these alone; rows that are in none, and that were
-- changed since `hidden_since`, are told of, for an earlier reading may have met them in one.
create function syncjournal.clone_read(
    peer text, leaf oid, first_block int8, end_block int8 default null,
    since text default null, compress boolean default false, hidden_since text default null)
returns setof bytea
volatile security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'clone_read_wrapper';

-- What a peer may have: the tables that hold the rows, with how much it is. `parents`: the tracked
-- tables that the table refers to.
create function syncjournal.clone_offer(
    peer text, include text[] default null, exclude text[] default null)
returns table (
    relation oid, schema_name text, table_name text, parents oid[],
    leaf oid, leaf_name text, file int8, blocks int8, row_estimate int8, slices text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select r.oid, n.nspname, r.relname,
        array(select distinct k.confrelid from pg_constraint k
            where k.conrelid = r.oid and k.contype = 'f' and k.confrelid <> r.oid),
        l.oid, format('%I.%I', ln.nspname, l.relname), pg_relation_filenode(l.oid)::int8,
        pg_relation_size(l.oid) / current_setting('block_size')::int8,
        greatest(l.reltuples, 0)::int8,
        coalesce((
            select string_agg(format('%s %s %s', s.slice_id, s.allow_sync, s.row_filter), '; '
                order by s.slice_id)
            from syncjournal.registered_peer p
                join syncjournal.slice s on s.slice_name = any (p.slices)
                join syncjournal.tracked_relation t using (relation_id)
            where p.peer_name = clone_offer.peer and t.relid = r.oid), '')
    from syncjournal.exported_tables(peer, include, exclude) name
        join pg_class r on r.oid = name::regclass
        join pg_namespace n on n.oid = r.relnamespace
        cross join lateral (
            select r.oid as member where r.relkind = 'r'
            union all
            select p.relid from pg_partition_tree(r.oid) p where r.relkind = 'p' and p.isleaf) m
        join pg_class l on l.oid = m.member
        join pg_namespace ln on ln.oid = l.relnamespace
    order by n.nspname, r.relname, l.oid
$$;

-- The rows of a table that were deleted since a snapshot and are not there, with the versions of their
-- deletes. What a TRUNCATE took has the nil uuid.
create function syncjournal.clone_gone(peer text, relation oid, since pg_snapshot)
returns table (row_id uuid, version uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    root syncjournal.tracked_relation := syncjournal.tracked(relation);
    pruned pg_snapshot := (select p.snapshot from syncjournal.pruned p);
begin
    perform syncjournal.peer_named(peer);
    if pruned is not null and not syncjournal.snapshot_covers(since, pruned) then
        raise exception 'the journal no longer holds what was deleted since the clone began'
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Begin it anew: syncjournal-agent clone LINK --restart.';
    end if;
    return query execute format(
        'select coalesce(e.row_id, $4), max(e.version::text)::uuid'
        ' from syncjournal.relation_layout l'
        '     join syncjournal.journal_frame j on j.layout = l.layout_id and j.xid >= $2'
        '         and not pg_visible_in_snapshot(j.xid, $3)'
        '     cross join lateral syncjournal.unfold_entries(j.frame, j.layout, j.data) e'
        ' where l.relation_id = $1 and e.op in (%L, %L)'
        '     and not exists (select from %s t where t.%I = e.row_id)'
        ' group by 1', 'DELETE', 'TRUNCATE', root.relid, root.identity_column)
    using root.relation_id, pg_snapshot_xmin(since), since,
        uuid '00000000-0000-0000-0000-000000000000';
end
$$;

-- The sequences that feed a table's columns: its own, and those that a default names.
create function syncjournal.column_sequences(relation regclass)
returns table (column_name name, sequence oid)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select a.attname, s.oid
    from pg_attribute a
        join pg_depend d on d.classid = 'pg_class'::regclass
            and d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid
            and d.refobjsubid = a.attnum and d.deptype in ('a', 'i')
        join pg_class s on s.oid = d.objid and s.relkind = 'S'
    where a.attrelid = relation
    union
    select a.attname, s.oid
    from pg_attribute a
        join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
        join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = f.oid
            and d.refclassid = 'pg_class'::regclass
        join pg_class s on s.oid = d.refobjid and s.relkind = 'S'
    where a.attrelid = relation
$$;

-- How far the sequences of a peer's tables are. Those of tables with local keys are each node's own.
create function syncjournal.clone_sequences(
    peer text, include text[] default null, exclude text[] default null)
returns table (schema_name text, table_name text, column_name text, last_value int8)
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    select n.nspname, c.relname, s.column_name, pg_sequence_last_value(s.sequence)
    from syncjournal.exported_tables(peer, include, exclude) name
        join pg_class c on c.oid = name::regclass
        join pg_namespace n on n.oid = c.relnamespace
        join syncjournal.tracked_relation t on t.relid = c.oid and t.keys = 'global'
        cross join lateral syncjournal.column_sequences(c.oid) s
    where pg_sequence_last_value(s.sequence) is not null
$$;

-- As digest(), of the rows that the peer may have.
create function syncjournal.clone_digest(
    peer text, relation regclass, depth int4 default 0, prefix bytea default null)
returns table (prefix bytea, row_count int8, hash bytea)
volatile security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'clone_digest_wrapper';

-- A clone is about to be read: lists of the peer's that change from now on are made up for, as while a
-- full set is on its way.
create function syncjournal.clone_begun(peer text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.registered_peer := syncjournal.peer_named(peer);
begin
    perform from syncjournal.registered_peer p where p.peer_id = known.peer_id for no key update;
    insert into syncjournal.set_log (
        set_id, direction, peer_id, mode, from_snapshot, to_snapshot, parts, entries, bytes)
    select gen_random_uuid(), 'sent', known.peer_id, 'full', '1:1:', pg_current_snapshot(), 0, 0, 0
    where not exists (
        select from syncjournal.set_log l
        where l.peer_id = known.peer_id and l.direction = 'sent' and l.confirmed_at is null
            and l.mode = 'full' and l.parts = 0);
end
$$;

-- The peer has everything that is visible in this snapshot, by a clone.
create function syncjournal.clone_sent(
    peer text, snapshot pg_snapshot, entries int8, bytes int8)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.registered_peer := syncjournal.peer_named(peer);
begin
    perform from syncjournal.registered_peer p where p.peer_id = known.peer_id for no key update;
    delete from syncjournal.set_log l
    where l.peer_id = known.peer_id and l.direction = 'sent' and l.confirmed_at is null
        and l.mode = 'full' and l.parts = 0;
    insert into syncjournal.set_log (
        set_id, direction, peer_id, mode, from_snapshot, to_snapshot, parts, entries, bytes,
        confirmed_at)
    values (
        gen_random_uuid(), 'sent', known.peer_id, 'full', '1:1:', snapshot, 1,
        clone_sent.entries, clone_sent.bytes, now());
    update syncjournal.peer_activity a
    set sync_count = sync_count + 1, entries_sent = entries_sent + clone_sent.entries,
        bytes_sent = bytes_sent + clone_sent.bytes
    where a.peer_id = known.peer_id;
    perform syncjournal.confirm_position(peer, snapshot);
end
$$;
