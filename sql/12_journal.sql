-- The journal: a row for each frame, or for the small ones of a transaction together; append-only, cut
-- into segments that are dropped as a whole. Frame by frame it is view journal_frame.
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
    -- Of all frames of the row.
    entries int4 not null,
    data bytea not null,
    -- Whom the frame is for, as this node's slices have it (syncjournal_core::slice); empty: whoever
    -- has the table, which has none.
    reach bytea not null default '',
    -- The further frames of the row, of the same prefix and later (syncjournal_core::bundle).
    bundled bytea not null default ''
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

-- The TRUNCATEs that the journal holds: what comes late is measured against what each had seen.
create table syncjournal.truncation (
    relation_id int4 not null,
    version uuid not null,
    primary key (relation_id, version)
);

-- Rows of full sets that were not followed, since the row here was later: the entry that made them is
-- not in the journal, and others may come on top of it. The data is a frame of one entry.
create table syncjournal.skipped_state (
    relation_id int4 not null,
    row_id uuid not null,
    version uuid not null,
    layout int4 not null,
    data bytea not null,
    -- The transaction that wrote it here.
    xid xid8 not null,
    primary key (relation_id, row_id, version)
);

-- Rows that have left the slices by which they came, and when: whoever still has one may go on to
-- change it, and that is nothing to a database that has it no longer.
create table syncjournal.left_row (
    relation_id int4 not null,
    row_id uuid not null,
    -- What took it out, at the source.
    version uuid not null,
    -- Changes that came since, without those that others of them build on: they are in the journal, and
    -- count if the row comes again.
    passed_over uuid[] not null default '{}',
    primary key (relation_id, row_id)
);

create index left_row_passed_over on syncjournal.left_row (relation_id)
    where passed_over <> '{}';

-- When each segment was opened; the segments themselves are the journal's partitions.
create table syncjournal.journal_segment (
    segment int4 primary key,
    opened_at timestamptz not null default pg_catalog.now()
);

-- What was visible in this snapshot may be gone from the journal; no row: all is there.
create table syncjournal.pruned (
    is_pruned boolean primary key default true check (is_pruned),
    snapshot pg_snapshot not null,
    -- The latest frame that ever went: an older entry that the journal lacks may have been there.
    horizon uuid not null
);

-- Opens the next segment. Segments are ordinary tables and no members of the extension: a dump
-- carries them whole, and dropping one asks nobody. They go with the journal, as partitions do.
-- Attaching, other than creating in place, lets the journal be written and read meanwhile.
create function syncjournal.open_segment() returns int4
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    next_segment int4 := (
        select coalesce(max(segment), 0) + 1 from syncjournal.journal_segment);
    leaf text := 'journal_' || next_segment;
begin
    execute format('create table syncjournal.%I (like syncjournal.journal including storage including defaults,'
        ' primary key (frame)) with (toast_tuple_target = 8160)', leaf);
    execute format('create index on syncjournal.%I (xid)', leaf);
    execute format('alter table syncjournal.journal'
        ' attach partition syncjournal.%I for values in (%s)', leaf, next_segment);
    insert into syncjournal.journal_segment (segment) values (next_segment);
    return next_segment;
end
$$;

select pg_catalog.pg_extension_config_dump('syncjournal.tombstone', '');
select pg_catalog.pg_extension_config_dump('syncjournal.truncation', '');
select pg_catalog.pg_extension_config_dump('syncjournal.skipped_state', '');
select pg_catalog.pg_extension_config_dump('syncjournal.left_row', '');
select pg_catalog.pg_extension_config_dump('syncjournal.journal_segment', '');
select pg_catalog.pg_extension_config_dump('syncjournal.pruned', '');

-- The time in a version: microseconds since 1970 above the 12 bits that order within one.
create function syncjournal.version_time(version uuid) returns timestamptz
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp
as $$
    select timestamptz 'epoch' + interval '1 microsecond'
        * (('x' || left(replace(version::text, '-', ''), 16))::bit(64) >> 12)::int8
$$;

-- The node that made a version.
create function syncjournal.version_node(version uuid) returns int4
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp
as $$
    select ('x' || substr(replace(version::text, '-', ''), 17, 8))::bit(32)::int4
$$;
