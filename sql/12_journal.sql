-- The journal: one row a frame, append-only, cut into segments that are dropped as a whole.
-- No foreign keys here: a check for each frame would cost more than the frame.

create table syncjournal.journal (
    -- The version of the frame's first entry.
    frame uuid not null,
    -- The local transaction that wrote it here, for frames received too: windows are taken by it.
    xid xid8 not null,
    -- Orders the transactions of a window: the greatest of a transaction is nearest its commit.
    lsn pg_lsn not null,
    segment int4 not null,
    layout int4 not null,
    -- The peer that it came from; 0: written here.
    origin int2 not null,
    entries int4 not null,
    data bytea not null
) partition by list (segment);

-- Up to a page goes inline; only a single row that is larger is moved out.
alter table syncjournal.journal alter column data set storage main;

-- Deleted rows, so that a late entry finds out what happened; the nil row stands for a truncation.
create table syncjournal.tombstone (
    relation_id int4 not null,
    row_id uuid not null,
    version uuid not null,
    primary key (relation_id, row_id)
);

-- Opens the next segment. Segments are ordinary tables and no members of the extension: a dump
-- carries them whole, and dropping one asks nobody. They go with the journal, as partitions do.
create function syncjournal.open_segment() returns int4
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    next_segment int4;
begin
    select coalesce(max(substring(c.relname from '^journal_(\d+)$')::int4), 0) + 1 into next_segment
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'syncjournal.journal'::regclass;
    execute format(
        'create table syncjournal.%1$I partition of syncjournal.journal (primary key (frame))'
        ' for values in (%2$s) with (toast_tuple_target = 8160)',
        'journal_' || next_segment, next_segment);
    execute format('create index on syncjournal.%I (xid)', 'journal_' || next_segment);
    return next_segment;
end
$$;

select pg_catalog.pg_extension_config_dump('syncjournal.tombstone', '');
