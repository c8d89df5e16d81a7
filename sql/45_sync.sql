-- Sync sets: made, applied, described. Native code (extension/src/prep_sync, extension/src/apply),
-- run with the owner's rights: the caller needs none on the tables. Rows are written with the rights
-- of each table's own owner, whose functions may be called by it.

-- Mode `notice` is for a peer that is switched off here: a set without rows that tells it so. Where the
-- parts of a window are not counted beforehand, the first comes sooner, and `parts` is 0 in all but the last.
create function syncjournal.prep_sync(
    peer text, mode text default 'changes',
    include text[] default null, exclude text[] default null, counted boolean default true)
returns table (set_id uuid, part int4, parts int4, data bytea)
volatile security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'prep_sync_wrapper';

-- A push from a higher rank to a lower one (see alter_node) is refused unless asked for.
create function syncjournal.apply(
    data bytea, dry_run boolean default false, allow_backward boolean default false)
returns table (
    set_id uuid, source text, entries int8, inserted int8, updated int8, deleted int8,
    skipped int8, conflicts int8, quarantined int8)
volatile strict security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'apply_wrapper';

-- The same for an agent, which calls it for every few changes of a stream: its numbers alone, for a table
-- function costs more to begin than a small set to apply.
create function syncjournal.apply_part(data bytea, allow_backward boolean) returns int8[]
volatile strict security definer set search_path = pg_catalog, pg_temp
language c as 'MODULE_PATHNAME', 'apply_part_wrapper';

create function syncjournal.describe_set(data bytea) returns jsonb
immutable strict parallel safe
language c as 'MODULE_PATHNAME', 'describe_set_wrapper';
