-- Retention: the journal goes by whole segments, so that nothing is left for vacuum.

-- Null where the setting is no interval: then nothing goes by age, and view health says so.
create function syncjournal.retention() returns interval
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    -- Any native function brings the library, and the setting with it, into the session.
    perform syncjournal.relation_matches('', '', '{}', '{}');
    return current_setting('syncjournal.retention')::interval;
exception when data_exception then
    return null;
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
        or newest.opened_at < now() - coalesce(syncjournal.retention(), '7 days') / 8) then
        perform syncjournal.open_segment();
    end if;
end
$$;

-- Versions whose entries must stay, whatever their age: somebody or something is yet to decide about
-- them.
create function syncjournal.undecided_versions() returns setof uuid
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v from syncjournal.conflict_log
        cross join unnest(array[base_version, local_version, remote_version]) v
    where status = 'pending' and v is not null
    union
    select version from syncjournal.quarantined_entry
$$;

-- Whether a segment holds an entry that must stay. All entries of a frame share its first 14 bytes.
create function syncjournal.is_undecided(segment int4) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    answer boolean;
begin
    execute format('select exists (
        select from syncjournal.undecided_versions() v
            cross join lateral (
                select j.frame from syncjournal.%I j where j.frame <= v
                order by j.frame desc limit 1) found
        where substr(uuid_send(found.frame), 1, 14) = substr(uuid_send(v), 1, 14))',
        'journal_' || segment) into answer;
    return answer;
end
$$;

-- Everything before this transaction every active peer has, and whoever sends to us has said so in
-- a set that is applied: an old frame that came to it by another way would come back otherwise,
-- after its successors are gone here. Null: nobody waits, so that all stays for its time.
create function syncjournal.settled_up_to() returns xid8
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select min(pg_snapshot_xmin(coalesce(reached, '1:1:')))
    from syncjournal.registered_peer p
        cross join lateral (
            select p.confirmed where p.direction <> 'receive'
            union all select p.has_said where p.direction <> 'send') r(reached)
    where p.active
$$;

-- Drops a segment for good; returns the entries gone.
create function syncjournal.drop_segment(segment int4, newest xid8) returns int8
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    leaf text := 'journal_' || segment;
    gone int8;
    latest uuid;
    edge text := newest::text::numeric + 1;
begin
    execute format('select coalesce(sum(entries), 0) from syncjournal.%I', leaf) into gone;
    execute format('select frame from syncjournal.%I order by frame desc limit 1', leaf)
    into latest;
    execute format('drop table syncjournal.%I', leaf);
    delete from syncjournal.journal_segment s where s.segment = drop_segment.segment;
    if latest is not null then
        insert into syncjournal.pruned as p (snapshot, horizon)
        -- With the greatest index, since a row's further frames share its first one's prefix.
        values (format('%1$s:%1$s:', edge)::pg_snapshot, (left(latest::text, 32) || 'ffff')::uuid)
        on conflict (is_pruned) do update
        set snapshot = case
                when pg_snapshot_xmax(excluded.snapshot) > pg_snapshot_xmax(p.snapshot)
                then excluded.snapshot else p.snapshot end,
            horizon = greatest(excluded.horizon, p.horizon);
    end if;
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
    oldest uuid;
    settled xid8 := coalesce(syncjournal.settled_up_to(), '0');
    expired timestamptz := coalesce(now() - syncjournal.retention(), '-infinity');
    -- What a locked slice holds back is brought when it is opened, however old it is then.
    held xid8 := (
        select min(s.locked_by) from syncjournal.slice s where not s.allow_sync);
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
        exit when newest >= settled and old.closed_at > expired or newest >= held;
        continue when syncjournal.is_undecided(old.segment);
        begin
            pruned := pruned + syncjournal.drop_segment(old.segment, coalesce(newest, '0'));
        exception when lock_not_available then
            exit;
        end;
    end loop;
    -- Who has heard of what was here then goes on from that.
    delete from syncjournal.skipped_state where xid < settled;
    -- A tombstone goes with the entry of the delete: with what is older than all that is left. So
    -- does the record of a TRUNCATE.
    if pruned > 0 then
        oldest := coalesce((select frame from syncjournal.journal order by frame limit 1),
            'ffffffff-ffff-ffff-ffff-ffffffffffff');
        delete from syncjournal.truncation where version < oldest;
        delete from syncjournal.tombstone where version < oldest;
        delete from syncjournal.left_row where version < oldest;
        delete from syncjournal.gone_key g where not exists (
            select from syncjournal.tombstone s
            where s.relation_id = g.relation_id and s.row_id = g.row_id);
    end if;
    return pruned;
end
$$;
