-- Who takes part: every node ever heard of, and which of them this database is.

create table syncjournal.known_node (
    node_id uuid primary key,
    -- The node's part of every version that it writes: never zero, never used by two nodes.
    node_tag int4 not null unique check (node_tag > 0),
    node_name text not null check (node_name <> ''),
    owner text,
    contact text,
    url text,
    known_since timestamptz not null default pg_catalog.now(),
    -- Its place in the order in which changes are pushed, where it has one.
    rank int4
);

-- Tags under which a node wrote before it was restored from a backup: what it wrote then and lost is
-- still about.
create table syncjournal.former_tag (
    node_tag int4 primary key,
    node_id uuid not null,
    until timestamptz not null default pg_catalog.clock_timestamp()
);

create view syncjournal.known_tag as
select node_tag, node_id from syncjournal.known_node
union all select node_tag, node_id from syncjournal.former_tag;

-- One row or none. Left out of dumps: a restored copy must not take itself for its original.
create table syncjournal.local_node (
    is_local boolean primary key default true check (is_local),
    node_id uuid not null references syncjournal.known_node,
    -- Where this identity was taken up; a difference betrays a copied database.
    system_identifier int8 not null,
    database_oid oid not null,
    -- When it was noticed last that the database is an earlier state of itself.
    rejoined_at timestamptz
);

-- Who wins under the policy node_priority: the lower the place. Must be the same on every node. A
-- node that has not been met yet has its tag all the same: it follows from the id.
create table syncjournal.preferred_node (
    place int4 primary key,
    node_id uuid not null unique,
    node_tag int4 not null unique
);

select pg_catalog.pg_extension_config_dump('syncjournal.known_node', '');
select pg_catalog.pg_extension_config_dump('syncjournal.former_tag', '');
select pg_catalog.pg_extension_config_dump('syncjournal.preferred_node', '');
