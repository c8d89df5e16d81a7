-- Retention: the journal goes by whole segments, so that nothing is left for vacuum.

create function syncjournal.retention() returns interval
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    -- Any native function brings the library, and the setting with it, into the session.
    perform syncjournal.relation_matches('', '', '{}', '{}');
    return current_setting('syncjournal.retention')::interval;
end
$$;

-- Opens a new segment where the newest is large, or old enough to be one of some eight that the
-- retention holds; an empty one stays the newest.
create function syncjournal.rotate_journal() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    largest constant int8 := 1 << 30;
    newest syncjournal.journal_segment;
    leaf regclass;
begin
    select * into newest from syncjournal.journal_segment order by segment desc limit 1;
    leaf := 'syncjournal.journal_' || newest.segment;
    if pg_relation_size(leaf) > 0 and (pg_relation_size(leaf) > largest
        or newest.opened_at < now() - syncjournal.retention() / 8) then
        perform syncjournal.open_segment();
    end if;
end
$$;

-- Drops the oldest segment for good; returns the entries gone.
create function syncjournal.drop_segment(segment int4, newest xid8) returns int8
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    leaf text := 'journal_' || segment;
    gone int8;
    edge text := newest::text::numeric + 1;
begin
    execute format('select coalesce(sum(entries), 0) from syncjournal.%I', leaf) into gone;
    execute format('drop table syncjournal.%I', leaf);
    delete from syncjournal.journal_segment s where s.segment = drop_segment.segment;
    insert into syncjournal.pruned (snapshot) values (format('%1$s:%1$s:', edge)::pg_snapshot)
    on conflict (is_pruned) do update set snapshot = excluded.snapshot
        where pg_snapshot_xmax(excluded.snapshot) > pg_snapshot_xmax(pruned.snapshot);
    return gone;
end
$$;

-- Drops old segments, oldest first: those which every active peer has, and those past retention. A
-- peer who is still without one needs a full set from then on. Returns the entries gone.
-- Whoever reads the journal just then is not waited for, since others would queue up behind.
create function syncjournal.prune() returns int8
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms'
as $$
declare
    old record;
    newest xid8;
    pruned int8 := 0;
    -- Null: nobody waits for the journal, so that all of it stays for its time.
    confirmed_by_all xid8 := (
        select min(pg_snapshot_xmin(coalesce(confirmed, '1:1:')))
        from syncjournal.registered_peer where active and direction <> 'receive');
begin
    perform syncjournal.require_node();
    -- Two pruners would wait for each other's segments.
    perform pg_advisory_xact_lock('syncjournal.journal_segment'::regclass::int8);
    perform syncjournal.rotate_journal();
    for old in
        select * from (
            select segment, lead(opened_at) over (order by segment) as closed_at
            from syncjournal.journal_segment) s
        where closed_at is not null
        order by segment
    loop
        execute format('select max(xid) from syncjournal.%I', 'journal_' || old.segment)
        into newest;
        exit when newest >= coalesce(confirmed_by_all, '0')
            and old.closed_at > now() - syncjournal.retention();
        begin
            pruned := pruned + syncjournal.drop_segment(old.segment, coalesce(newest, '0'));
        exception when lock_not_available then
            exit;
        end;
    end loop;
    -- A tombstone goes with the entry of the delete: with what is older than all that is left. So
    -- does the record of a TRUNCATE.
    delete from syncjournal.truncation
    where pruned > 0 and version < coalesce(
        (select frame from syncjournal.journal order by frame limit 1),
        'ffffffff-ffff-ffff-ffff-ffffffffffff');
    delete from syncjournal.tombstone
    where pruned > 0 and version < coalesce(
        (select frame from syncjournal.journal order by frame limit 1),
        'ffffffff-ffff-ffff-ffff-ffffffffffff');
    return pruned;
end
$$;
