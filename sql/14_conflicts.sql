-- What apply could not simply lay on top: rows that both sides had changed.

create table syncjournal.conflict_log (
    conflict_id int8 generated always as identity primary key,
    detected_at timestamptz not null default pg_catalog.clock_timestamp(),
    peer_id int2 not null,
    schema_name text not null,
    table_name text not null,
    row_id uuid not null,
    conflict_type text not null check (conflict_type in (
        'insert_exists', 'update_origin_differs', 'update_exists', 'update_deleted',
        'update_missing', 'delete_origin_differs', 'delete_missing', 'multiple_unique_conflicts')),
    policy text not null,
    -- The version at which the two sides parted, and the heads of both.
    base_version uuid,
    local_version uuid,
    remote_version uuid,
    base jsonb,
    local jsonb,
    remote jsonb,
    winner text check (winner in ('local', 'remote', 'merged')),
    status text not null check (status in ('resolved', 'pending'))
);

-- One row's heads meet once; what brings them together again says nothing new.
create unique index conflict_log_heads on syncjournal.conflict_log (
    row_id, (coalesce(remote_version, '00000000-0000-0000-0000-000000000000')),
    (coalesce(local_version, '00000000-0000-0000-0000-000000000000')), schema_name, table_name);

-- What waits for a person: remote heads that rows stand beside, each with its pending conflict.
create table syncjournal.inbox (
    relation_id int4 not null,
    row_id uuid not null,
    head uuid not null,
    conflict_id int8 not null unique references syncjournal.conflict_log on delete cascade,
    primary key (relation_id, row_id, head)
);

create function syncjournal.settle_conflict(conflict_id int8, choice text, row_text text)
returns void
volatile language c as 'MODULE_PATHNAME', 'settle_conflict_wrapper';

-- A pending conflict ends by an entry that has both sides behind it.
create function syncjournal.resolve_conflict(
    conflict_id int8, choice text, "row" jsonb default null)
returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform syncjournal.settle_conflict(conflict_id, choice, "row"::text);
end
$$;

select pg_catalog.pg_extension_config_dump('syncjournal.conflict_log', '');
select pg_catalog.pg_extension_config_dump('syncjournal.inbox', '');
select pg_catalog.pg_extension_config_dump('syncjournal.conflict_log_conflict_id_seq', '');
