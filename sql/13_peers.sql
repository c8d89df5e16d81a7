-- The other ends: what each may have, how far each has come, and the sets that went either way.

create table syncjournal.registered_peer (
    peer_id int2 generated always as identity primary key,
    peer_name text not null unique check (peer_name <> ''),
    -- Null until the peer has shown itself.
    node_id uuid unique,
    include text[] not null,
    exclude text[] not null,
    direction text not null check (direction in ('send', 'receive', 'both')),
    active boolean not null default true,
    -- What comes from it: foreign keys are trusted to hold, as in replication, or verified.
    constraints text not null default 'trust' check (constraints in ('trust', 'enforce')),
    -- Errors by SQLSTATE, or class of two characters, that stop apply; others go to quarantine.
    stop_on text[] not null default '{}',
    -- Known by an agent's link only: another link may widen its direction. A person's word stays.
    by_link boolean not null default false,
    -- The peer has everything that is visible in this snapshot of ours; null: nothing yet.
    confirmed pg_snapshot,
    -- The peer said that it had this, in a set of its own that is applied here: whatever it had got
    -- of that elsewhere has come too, and comes no more.
    has_said pg_snapshot,
    registered_at timestamptz not null default pg_catalog.now(),
    -- The peer was restored from a backup: what came from it before this transaction, it may lack.
    resend_before xid8 not null default '0',
    -- Tables with slices named here go to the peer by these alone.
    slices text[] not null default '{}',
    -- What the configuration of an agent's link said last; nulls: nothing. It selects among what the
    -- peer may have.
    link_include text[],
    link_exclude text[],
    link_slices text[]
);

-- The lists that a peer had before, for as long as it lacks entries of that time: everything visible
-- in the snapshot is judged by them.
create table syncjournal.peer_past (
    past_id int8 generated always as identity primary key,
    peer_id int2 not null references syncjournal.registered_peer on delete cascade,
    until pg_snapshot not null,
    -- The transaction that changed them, which its snapshot may show already.
    changed_by xid8 not null default pg_catalog.pg_current_xact_id(),
    include text[] not null,
    exclude text[] not null,
    slices text[] not null,
    link_include text[],
    link_exclude text[]
);

create index peer_past_peer_id on syncjournal.peer_past (peer_id);

-- How far this database has come with each source: everything visible in the source's snapshot is
-- here. set_id and part: the last part applied of a set that is not complete yet.
create table syncjournal.received (
    node_id uuid primary key,
    snapshot pg_snapshot,
    set_id uuid,
    part int4,
    received_at timestamptz not null default pg_catalog.now(),
    -- The source was restored from a backup, and has not come under its new tag yet: what it was then
    -- says nothing of what it is.
    doubted boolean not null default false
);

-- Sets made for a peer and sets applied from one.
create table syncjournal.set_log (
    set_id uuid primary key,
    direction text not null check (direction in ('sent', 'received')),
    peer_id int2 not null,
    mode text not null check (mode in ('changes', 'full')),
    from_snapshot pg_snapshot not null,
    to_snapshot pg_snapshot not null,
    parts int4 not null,
    entries int8 not null,
    bytes int8 not null,
    made_at timestamptz not null default pg_catalog.now(),
    -- Sent: the peer has it. Received: its last part is applied.
    confirmed_at timestamptz,
    -- Of the entries received: those set aside.
    quarantined int8 not null default 0
);

create index set_log_peer_id on syncjournal.set_log (peer_id, made_at);

-- Running totals of each peer, one row made with the peer.
create table syncjournal.peer_activity (
    peer_id int2 primary key references syncjournal.registered_peer on delete cascade,
    entries_sent int8 not null default 0,
    bytes_sent int8 not null default 0,
    entries_applied int8 not null default 0,
    bytes_applied int8 not null default 0,
    conflicts int8 not null default 0,
    sync_count int8 not null default 0,
    last_sync_at timestamptz,
    last_error text,
    last_error_at timestamptz
) with (fillfactor = 10); -- Each call changes a row: with so much to be free, a page is tidied after a few.

select pg_catalog.pg_extension_config_dump('syncjournal.registered_peer', '');
select pg_catalog.pg_extension_config_dump('syncjournal.registered_peer_peer_id_seq', '');
select pg_catalog.pg_extension_config_dump('syncjournal.peer_past', '');
select pg_catalog.pg_extension_config_dump('syncjournal.peer_past_past_id_seq', '');
select pg_catalog.pg_extension_config_dump('syncjournal.received', '');
select pg_catalog.pg_extension_config_dump('syncjournal.set_log', '');
select pg_catalog.pg_extension_config_dump('syncjournal.peer_activity', '');
