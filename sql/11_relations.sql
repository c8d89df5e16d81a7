-- The tracked tables, and every column layout in which entries of them were ever written. Native code
-- (layout/tracked.rs) reads the first by its columns' numbers: new ones go to the end.

create table syncjournal.tracked_relation (
    relation_id int4 generated always as identity primary key,
    -- regclass, not oid: a dump carries the name, so a restored database finds its tables again.
    relid regclass not null unique,
    identity_column name not null,
    -- Whether the identity column came with track() and goes with untrack().
    identity_added boolean not null,
    keys text not null check (keys in ('global', 'local')),
    -- The columns that give rows their identity; null: the primary key, for those present at track().
    natural_key name[],
    conflict_policy text not null,
    exclude_columns name[] not null,
    -- Columns whose concurrent differences are added, whatever the policy.
    counters name[] not null default '{}',
    -- The function of policy custom, as a text that casts to regprocedure: pg_upgrade refuses
    -- databases that hold values of that type.
    merge_function text,
    -- Columns that the table had while it was tracked: entries that still carry them are fine.
    dropped_columns name[] not null default '{}',
    -- The layout that capture writes now.
    layout_id int4,
    -- Whether triggers that are enabled for replicas fire for what comes from peers.
    run_triggers boolean not null default true,
    tracked_since timestamptz not null default pg_catalog.now(),
    -- What becomes of a row whose natural key stands here under another identity.
    on_key_collision text not null default 'quarantine'
        check (on_key_collision in ('quarantine', 'skip', 'adopt', 'rename'))
);

-- Content-addressed: the same definition is the same layout, whichever node wrote it first.
create table syncjournal.relation_layout (
    layout_id int4 generated always as identity primary key,
    fingerprint uuid not null unique,
    -- The table here that the layout belongs to; null: not tracked here.
    relation_id int4 references syncjournal.tracked_relation on delete set null,
    schema_name text not null,
    table_name text not null,
    definition bytea not null
);

create index relation_layout_relation_id on syncjournal.relation_layout (relation_id);

select pg_catalog.pg_extension_config_dump('syncjournal.tracked_relation', '');
select pg_catalog.pg_extension_config_dump('syncjournal.tracked_relation_relation_id_seq', '');
select pg_catalog.pg_extension_config_dump('syncjournal.relation_layout', '');
select pg_catalog.pg_extension_config_dump('syncjournal.relation_layout_layout_id_seq', '');
