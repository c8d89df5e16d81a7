-- Keys that are each database's own, and references that travel by identity. Native code reads the
-- first two by their columns' numbers (layout/tracked.rs): new ones go to the end.

-- A row for each table that keeps keys to itself or refers to one that does.
create table syncjournal.relation_key (
    relation_id int4 primary key references syncjournal.tracked_relation on delete cascade,
    -- Columns that do not travel: integers that this database gives out, and what a reference's
    -- carrier stands for.
    kept name[] not null,
    -- What becomes of references to tables whose rows have no identity.
    on_untracked_reference text not null check (on_untracked_reference in ('refuse', 'null'))
);

-- Foreign keys that travel as the identity of the row that they point to.
create table syncjournal.relation_reference (
    relation_id int4 not null references syncjournal.tracked_relation on delete cascade,
    -- The column in whose place the identity travels.
    carrier name not null,
    -- All columns of the key, and those that are set on arrival; the others travel by themselves.
    columns name[] not null,
    sets name[] not null,
    parent regclass not null,
    parent_columns name[] not null,
    parent_identity name not null,
    primary key (relation_id, carrier)
);

create index relation_reference_relation_id on syncjournal.relation_reference (relation_id);

-- Tables whose rows have an identity and no journal, so that others can refer to them.
create table syncjournal.identity_relation (
    relid regclass primary key,
    identity_column name not null,
    identity_added boolean not null,
    -- The columns that give rows their identity; null: the primary key.
    natural_key name[]
);

-- References that may be null and whose row has not come: null until it does.
create table syncjournal.pending_reference (
    relation_id int4 not null references syncjournal.tracked_relation on delete cascade,
    row_id uuid not null,
    carrier name not null,
    parent uuid not null,
    since timestamptz not null default pg_catalog.now(),
    primary key (relation_id, row_id, carrier)
);

-- The local keys of rows that a peer's delete took, as long as the tombstone is there: a row that
-- comes back gets its own again.
create table syncjournal.gone_key (
    relation_id int4 not null references syncjournal.tracked_relation on delete cascade,
    row_id uuid not null,
    own_key text not null,
    primary key (relation_id, row_id)
);

create index pending_reference_relation_id on syncjournal.pending_reference (relation_id);
create index pending_reference_parent on syncjournal.pending_reference (parent);

select pg_catalog.pg_extension_config_dump('syncjournal.pending_reference', '');
select pg_catalog.pg_extension_config_dump('syncjournal.gone_key', '');
select pg_catalog.pg_extension_config_dump('syncjournal.relation_key', '');
select pg_catalog.pg_extension_config_dump('syncjournal.relation_reference', '');
select pg_catalog.pg_extension_config_dump('syncjournal.identity_relation', '');
