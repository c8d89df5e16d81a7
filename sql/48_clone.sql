-- The first copy of a link. The agent reads ranges of tables at the source by sessions that share one
-- snapshot, and pipes them here; what is written down of it is written with the rows, so that a clone
-- that was killed goes on where it stood.
--
-- A table that is empty here is filled beside itself: into a heap without indexes, which takes the
-- table's place when it is whole, and then gets its indexes at once. Whoever uses the table meanwhile
-- sees nothing of it. A table that has rows takes them one by one, as those of a full set.

-- A clone under way.
create table syncjournal.clone_run (
    source_node uuid primary key,
    begun_at timestamptz not null default pg_catalog.now(),
    -- More than one: ranges may have been read under different snapshots, and rows twice.
    runs int4 not null default 1,
    -- Where this database stood when it began, and whether all of its tables were empty then: if so
    -- the source lacks nothing from before.
    here pg_snapshot not null,
    was_empty boolean not null default true
);

create table syncjournal.clone_progress (
    source_node uuid not null references syncjournal.clone_run on delete cascade,
    relation regclass not null,
    way text not null check (way in ('fill', 'merge')),
    finished boolean not null default false,
    primary key (source_node, relation)
);

-- The heaps that are filled beside tables and leaves.
create table syncjournal.clone_heap (
    leaf regclass primary key,
    relation regclass not null,
    heap regclass not null
);

-- What has come: blocks of one of the source's tables or leaves, as of a snapshot there.
create table syncjournal.clone_range (
    source_node uuid not null references syncjournal.clone_run on delete cascade,
    relation regclass not null,
    source_leaf text not null,
    -- The file that the blocks were in: another one after TRUNCATE, CLUSTER and the like.
    source_file int8 not null,
    -- The slices by which the table came, with their filters; empty where it came whole.
    source_slices text not null,
    first_block int8 not null,
    end_block int8,
    snapshot pg_snapshot not null,
    entries int8 not null,
    bytes int8 not null,
    primary key (source_node, source_leaf, first_block)
);

-- Where COPY brings chunks to.
create view syncjournal.clone_rows as select null::bytea as chunk where false;

create function syncjournal.clone_take() returns trigger
security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'clone_take_wrapper';

create trigger clone_take instead of insert on syncjournal.clone_rows
    for each row execute function syncjournal.clone_take();

create function syncjournal.clone_outcome()
returns table (
    entries int8, inserted int8, updated int8, skipped int8, conflicts int8, quarantined int8)
volatile strict language c as 'MODULE_PATHNAME', 'clone_outcome_wrapper';

create function syncjournal.clone_make_heap(leaf oid) returns oid
volatile strict language c as 'MODULE_PATHNAME', 'clone_make_heap_wrapper';

create function syncjournal.clone_swap_heap(leaf oid, heap oid) returns void
volatile strict language c as 'MODULE_PATHNAME', 'clone_swap_heap_wrapper';

-- At the destination.

-- Begins a clone, or goes on with one. `restart`: what had come is forgotten, not taken back. The source
-- is noted here, by tag and name: sessions that met it first each for themselves would wait for the
-- other's first piece.
create function syncjournal.clone_begin(
    source_node uuid, restart boolean, source_tag int4, source_name text,
    out runs int4, out begun_at timestamptz)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if restart then
        perform syncjournal.clone_drop_heaps(p.relation) from syncjournal.clone_progress p
        where p.source_node = clone_begin.source_node;
        delete from syncjournal.clone_run r where r.source_node = clone_begin.source_node;
    end if;
    insert into syncjournal.clone_run as r (source_node, here)
    values (source_node, pg_current_snapshot())
    on conflict on constraint clone_run_pkey do update set runs = r.runs + 1
    returning r.runs, r.begun_at into runs, begun_at;
    insert into syncjournal.known_node (node_id, node_tag, node_name)
    select source_node, source_tag, source_name
    where not exists (select from syncjournal.known_tag k where k.node_tag = source_tag)
    on conflict do nothing;
end
$$;

-- The table that is meant, tracked here.
create function syncjournal.clone_target(schema_name text, table_name text) returns regclass
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    found_table regclass := to_regclass(format('%I.%I', schema_name, table_name));
begin
    if found_table is null then
        raise exception 'table "%.%" of the source does not exist here', schema_name, table_name
            using errcode = 'undefined_table',
                hint = 'Create it and track it, or exclude it from the link.';
    elsif not exists (select from syncjournal.tracked_relation t where t.relid = found_table) then
        raise exception 'table "%" is not tracked here', found_table
            using errcode = 'object_not_in_prerequisite_state',
                hint = format('Track it: select syncjournal.track(%L). Or exclude it from the '
                    'link.', found_table);
    end if;
    return found_table;
end
$$;

-- Whether rows may come past apply: nothing here has a say in each of them.
create function syncjournal.clone_may_fill(source_node uuid, relation regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select t.keys = 'global'
        and not exists (
            select from syncjournal.relation_reference r where r.relation_id = t.relation_id)
        and not syncjournal.has_rows(relation)
        and not exists (
            select from syncjournal.tombstone s where s.relation_id = t.relation_id)
        -- Its foreign keys are verified with each row.
        and not exists (
            select from syncjournal.registered_peer p
            where p.node_id = clone_may_fill.source_node and p.constraints = 'enforce')
        -- Its operations are looked at one by one.
        and not exists (
            select from syncjournal.registered_peer p
                join syncjournal.peer_restriction r on r.peer_id = p.peer_id
            where p.node_id = clone_may_fill.source_node and r.direction <> 'send')
        -- It passes on what comes, and rows that are put in place are in no journal.
        and not exists (
            select from syncjournal.registered_peer p
            where p.active and p.direction <> 'receive'
                and p.node_id is distinct from clone_may_fill.source_node)
        and not exists (
            select from syncjournal.family(relation) member
                join pg_trigger g on g.tgrelid = member and not g.tgisinternal
                join pg_proc f on f.oid = g.tgfoid
            where g.tgenabled in ('A', 'R') and t.run_triggers
                and f.pronamespace <> 'syncjournal'::regnamespace)
    from syncjournal.tracked_relation t
    where t.relid = relation
$$;

-- A heap beside each leaf.
create function syncjournal.clone_make_heaps(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    leaf regclass;
    heap regclass;
    heap_name text;
begin
    for leaf in
        select p.relid from pg_partition_tree(relation) p where p.isleaf
        union select c.oid from pg_class c where c.oid = relation and c.relkind = 'r'
    loop
        heap := syncjournal.clone_make_heap(leaf);
        heap_name := 'clone_' || leaf::oid;
        -- Out of the user's schema; under its own name it would be in the way of VACUUM FULL.
        execute format('alter table %s set schema syncjournal', heap);
        execute format('alter table %s rename to %I', heap, heap_name);
        insert into syncjournal.clone_heap (leaf, relation, heap)
        values (leaf, clone_make_heaps.relation, heap);
    end loop;
end
$$;

create function syncjournal.clone_drop_heaps(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    heap regclass;
begin
    for heap in
        delete from syncjournal.clone_heap h where h.relation = clone_drop_heaps.relation
        returning h.heap
    loop
        execute format('drop table %s', heap);
    end loop;
end
$$;

-- Takes a table up, or says how it stands.
create function syncjournal.clone_table(
    source_node uuid, schema_name text, table_name text,
    out relation oid, out way text, out finished boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    target regclass := syncjournal.clone_target(schema_name, table_name);
begin
    relation := target;
    select p.way, p.finished into way, finished from syncjournal.clone_progress p
    where p.source_node = clone_table.source_node and p.relation = target;
    if found then
        return;
    end if;
    way := case when syncjournal.clone_may_fill(source_node, target)
            and not exists (select from syncjournal.clone_heap h where h.relation = target)
        then 'fill' else 'merge' end;
    finished := false;
    insert into syncjournal.clone_progress (source_node, relation, way)
    values (source_node, target, way);
    if way = 'fill' then
        perform syncjournal.clone_make_heaps(target);
    end if;
    if syncjournal.has_rows(target) then
        update syncjournal.clone_run r set was_empty = false
        where r.source_node = clone_table.source_node;
    end if;
end
$$;

-- What has come already.
create function syncjournal.clone_ranges(source_node uuid)
returns table (
    source_leaf text, source_file int8, source_slices text, first_block int8, end_block int8,
    snapshot text, entries int8, bytes int8)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select r.source_leaf, r.source_file, r.source_slices, r.first_block, r.end_block,
        r.snapshot::text, r.entries, r.bytes
    from syncjournal.clone_range r
    where r.source_node = clone_ranges.source_node
    order by r.source_leaf, r.first_block
$$;

-- What had come of one of the source's tables or leaves has to come again.
create function syncjournal.clone_again(source_node uuid, source_leaf text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    delete from syncjournal.clone_range r
    where r.source_node = clone_again.source_node and r.source_leaf = clone_again.source_leaf
$$;

-- A range has come, in this transaction; what became of its rows.
create function syncjournal.clone_range_done(
    source_node uuid, relation oid, source_leaf text, source_file int8, source_slices text,
    first_block int8, end_block int8, snapshot pg_snapshot, bytes int8,
    out entries int8, out inserted int8, out updated int8, out skipped int8,
    out conflicts int8, out quarantined int8)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    select * into entries, inserted, updated, skipped, conflicts, quarantined
    from syncjournal.clone_outcome();
    insert into syncjournal.clone_range as r (
        source_node, relation, source_leaf, source_file, source_slices, first_block, end_block,
        snapshot, entries, bytes)
    values (
        source_node, relation, source_leaf, source_file, source_slices, first_block, end_block,
        snapshot,
        clone_range_done.entries, clone_range_done.bytes)
    on conflict on constraint clone_range_pkey do update
    set snapshot = excluded.snapshot, source_file = excluded.source_file,
        source_slices = excluded.source_slices,
        end_block = excluded.end_block, entries = r.entries + excluded.entries,
        bytes = r.bytes + excluded.bytes;
end
$$;

-- Rows are no more at the source that may have come earlier. Those that were changed here later than
-- they were deleted stay: the change is on its way there.
create function syncjournal.clone_remove(
    source_node uuid, relation oid, row_ids uuid[], versions uuid[])
returns int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set syncjournal.capture = off
set session_replication_role = replica
as $$
declare
    root syncjournal.tracked_relation := syncjournal.tracked(relation);
    own_tag int4 := (
        select k.node_tag from syncjournal.local_node l
            join syncjournal.known_node k on k.node_id = l.node_id);
    -- A TRUNCATE took every row that had come.
    truncated boolean := '00000000-0000-0000-0000-000000000000' = any (row_ids);
    was_filled boolean := (
        select p.way = 'fill' from syncjournal.clone_progress p
        where p.source_node = clone_remove.source_node and p.relation = clone_remove.relation);
    heap regclass;
    removed int8;
begin
    for heap in
        select h.heap from syncjournal.clone_heap h where h.relation = clone_remove.relation
    loop
        execute format('delete from %s where $2 or %I = any ($1)', heap, root.identity_column)
        using row_ids, truncated;
    end loop;
    if truncated then
        execute format(
            'delete from %s t where t.sync_version is null and $1'
            '    or syncjournal.version_node(t.sync_version) <> $2', root.relid)
        using was_filled, own_tag;
    end if;
    execute format(
        'with gone as ('
        '    delete from %s t using unnest($1, $2) g (row_id, version)'
        '    where t.%I = g.row_id'
        '        and (t.sync_version is null or t.sync_version < g.version)'
        '    returning g.row_id, g.version)'
        ' insert into syncjournal.tombstone (relation_id, row_id, version)'
        ' select $3, row_id, version from gone'
        ' on conflict (relation_id, row_id) do nothing', root.relid, root.identity_column)
    using row_ids, versions, root.relation_id;
    get diagnostics removed = row_count;
    return removed;
end
$$;

-- Rows that had come are in the peer's slices no more.
create function syncjournal.clone_forget(relation oid, row_ids uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    root syncjournal.tracked_relation := syncjournal.tracked(relation);
    heap regclass;
begin
    for heap in
        select h.heap from syncjournal.clone_heap h where h.relation = clone_forget.relation
    loop
        execute format('delete from %s where %I = any ($1)', heap, root.identity_column)
        using row_ids;
    end loop;
end
$$;

-- Of rows that came twice the later reading counts. Readings of later runs have later transactions.
create function syncjournal.clone_keep_latest(root syncjournal.tracked_relation) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    heap regclass;
    everywhere text := (
        select string_agg(format('select %I as row_id, age(xmin) as age from %s',
            root.identity_column, h.heap), ' union all ')
        from syncjournal.clone_heap h where h.relation = root.relid);
begin
    for heap in
        select h.heap from syncjournal.clone_heap h where h.relation = root.relid
    loop
        execute format(
            'delete from %s h using ('
            '    select row_id, min(age) as age from (%s) e group by row_id having count(*) > 1) d'
            ' where h.%I = d.row_id and age(h.xmin) > d.age',
            heap, everywhere, root.identity_column);
    end loop;
end
$$;

-- The rows that users have written meanwhile move in with those that came.
create function syncjournal.clone_move_rows(leaf regclass, heap regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    columns text := (
        select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
        where a.attrelid = leaf and a.attnum > 0 and not a.attisdropped);
begin
    execute format('insert into %s (%s) select %2$s from only %s', heap, columns, leaf);
end
$$;

-- All rows of a table have come: what was filled takes its place, with all indexes.
create function syncjournal.clone_finish(source_node uuid, relation oid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    root syncjournal.tracked_relation := syncjournal.tracked(relation);
    leaf regclass;
    heap regclass;
begin
    if exists (
        select from syncjournal.clone_run r
        where r.source_node = clone_finish.source_node and r.runs > 1) then
        perform syncjournal.clone_keep_latest(root);
    end if;
    -- An index is sorted at once, and by several, where the memory is there.
    perform set_config('maintenance_work_mem', greatest(
        pg_size_bytes(current_setting('maintenance_work_mem')), 256 << 20) / 1024 || 'kB', true);
    for leaf, heap in
        select h.leaf, h.heap from syncjournal.clone_heap h
        where h.relation = clone_finish.relation order by h.leaf::oid
    loop
        execute format('lock table only %s in access exclusive mode', leaf);
        if syncjournal.has_rows(leaf) then
            perform syncjournal.clone_move_rows(leaf, heap);
        end if;
        perform syncjournal.clone_swap_heap(leaf, heap);
    end loop;
    delete from syncjournal.clone_heap h where h.relation = clone_finish.relation;
    update syncjournal.clone_progress p set finished = true
    where p.source_node = clone_finish.source_node and p.relation = clone_finish.relation;
end
$$;

-- Rows do not fit as they are: they are to come one by one, so that the one that does not fit can be
-- set aside.
create function syncjournal.clone_one_by_one(source_node uuid, relation oid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform syncjournal.clone_drop_heaps(relation);
    delete from syncjournal.clone_range r
    where r.source_node = clone_one_by_one.source_node
        and r.relation = clone_one_by_one.relation;
    update syncjournal.clone_progress p set way = 'merge', finished = false
    where p.source_node = clone_one_by_one.source_node
        and p.relation = clone_one_by_one.relation;
end
$$;

-- Sets the sequences of a column so that they give nothing that the source has given. One that steps
-- wider keeps its residue.
create function syncjournal.clone_set_sequence(
    schema_name text, table_name text, column_name text, last_value int8)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    target regclass := syncjournal.clone_target(schema_name, table_name);
    own record;
    reached int8;
begin
    for own in
        select s.sequence::regclass as name, q.seqincrement as step, q.seqstart as start,
            q.seqmax as greatest_value, pg_sequence_last_value(s.sequence) as value
        from syncjournal.column_sequences(target) s
            join pg_sequence q on q.seqrelid = s.sequence
        where s.column_name = clone_set_sequence.column_name
    loop
        continue when own.step < 0 or own.value >= last_value;
        reached := last_value + mod(
            mod(coalesce(own.value, own.start) - last_value, own.step) + own.step, own.step);
        perform setval(own.name, least(reached, own.greatest_value));
    end loop;
end
$$;

-- Everything of the source that is visible in the snapshot is here. What was filled is measured, since
-- autovacuum does not know of it.
create function syncjournal.clone_complete(
    source_node uuid, snapshot pg_snapshot,
    out was_empty boolean, out here text, out entries int8, out bytes int8)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    filled regclass;
begin
    select r.was_empty, r.here::text into was_empty, here from syncjournal.clone_run r
    where r.source_node = clone_complete.source_node;
    select coalesce(sum(r.entries), 0), coalesce(sum(r.bytes), 0) into entries, bytes
    from syncjournal.clone_range r where r.source_node = clone_complete.source_node;
    perform syncjournal.clone_received(source_node, snapshot);
    insert into syncjournal.set_log (
        set_id, direction, peer_id, mode, from_snapshot, to_snapshot, parts, entries, bytes,
        confirmed_at)
    select gen_random_uuid(), 'received', p.peer_id, 'full', pg_snapshot '1:1:', clone_complete.snapshot, 1,
        clone_complete.entries, clone_complete.bytes, now()
    from syncjournal.registered_peer p where p.node_id = clone_complete.source_node;
    update syncjournal.peer_activity a
    set entries_applied = entries_applied + clone_complete.entries,
        bytes_applied = bytes_applied + clone_complete.bytes,
        sync_count = sync_count + 1, last_sync_at = now()
    from syncjournal.registered_peer p
    where p.peer_id = a.peer_id and p.node_id = clone_complete.source_node;
    for filled in
        select p.relation from syncjournal.clone_progress p
        where p.source_node = clone_complete.source_node and p.way = 'fill'
    loop
        execute format('analyze %s', filled);
    end loop;
    delete from syncjournal.clone_run r where r.source_node = clone_complete.source_node;
end
$$;

-- Everything of a node that is visible in the snapshot is here: by a clone, or since there is nothing.
create function syncjournal.clone_received(source_node uuid, snapshot pg_snapshot) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    insert into syncjournal.received as r (node_id, snapshot) values (source_node, snapshot)
    on conflict (node_id) do update
    set snapshot = excluded.snapshot, set_id = null, part = null, received_at = now()
    where r.snapshot is null or syncjournal.snapshot_covers(excluded.snapshot, r.snapshot)
$$;
