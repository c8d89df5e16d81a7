-- Entries received that could not be applied, waiting for their cause to go. They are in the journal,
-- too, and so travel on. Native code (extension/src/apply/quarantine) writes and tries them.

create table syncjournal.quarantined_entry (
    quarantine_id int8 generated always as identity primary key,
    since timestamptz not null default pg_catalog.clock_timestamp(),
    peer_id int2 not null,
    -- The table as its source names it: here it may not exist.
    layout_id int4 not null,
    schema_name text not null,
    table_name text not null,
    row_id uuid not null,
    version uuid not null,
    op text not null,
    sqlstate text not null,
    error text not null,
    new jsonb,
    attempts int4 not null default 1,
    -- The rows in its way: when one of them is touched, it is tried again.
    blocked_by uuid[] not null default '{}',
    next_try timestamptz not null,
    -- The row of a full set, which the journal may not hold.
    data bytea
);

create unique index quarantined_entry_version
    on syncjournal.quarantined_entry (row_id, version, schema_name, table_name);
create index quarantined_entry_next_try on syncjournal.quarantined_entry (next_try);
-- What a call looks for: however many wait for the schema, it passes them by.
create index quarantined_entry_watched on syncjournal.quarantined_entry (next_try)
    where sqlstate not in ('42P01', '42703', '42804', '55000');
create index quarantined_entry_parent on syncjournal.quarantined_entry (next_try)
    where sqlstate = '23503';
create index quarantined_entry_order
    on syncjournal.quarantined_entry (version, quarantine_id);

-- The schema has changed while something waited. Rows, not a flag: two who change it do not meet.
create table syncjournal.quarantine_wakeup (
    woken_at timestamptz not null default pg_catalog.clock_timestamp()
);

select pg_catalog.pg_extension_config_dump('syncjournal.quarantined_entry', '');
select pg_catalog.pg_extension_config_dump('syncjournal.quarantined_entry_quarantine_id_seq', '');

-- After any DDL: the cause of some entry may be gone with it.
create function syncjournal.wake_quarantine() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    insert into syncjournal.quarantine_wakeup
    select clock_timestamp() where exists (select from syncjournal.quarantined_entry);
end
$$;

-- Null: all of them. Returns how many went.
create function syncjournal.retry_quarantine(quarantine_id int8 default null) returns int8
volatile security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'retry_quarantine_wrapper';

-- Those whose time has come, or whose table has changed: cheap where there is none.
create function syncjournal.retry_due_quarantine() returns int8
volatile strict security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'retry_due_quarantine_wrapper';

-- The row stays as it is here. The entry stays in the journal, and where a later one of its row is
-- applied, what it changed comes with that.
create function syncjournal.discard_quarantine(quarantine_id int8) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    gone syncjournal.quarantined_entry;
begin
    delete from syncjournal.quarantined_entry q
    where q.quarantine_id = discard_quarantine.quarantine_id returning * into gone;
    if not found then
        raise exception 'there is no entry % in quarantine', quarantine_id
            using errcode = 'undefined_object',
                hint = 'View syncjournal.quarantine lists those that are.';
    end if;
    update syncjournal.conflict_log c set status = 'resolved', winner = 'local'
    where c.schema_name = gone.schema_name and c.table_name = gone.table_name
        and c.row_id = gone.row_id and c.remote_version = gone.version
        and c.status = 'pending' and c.local_version is null;
end
$$;
