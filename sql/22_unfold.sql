-- The journal frame by frame, and entry by entry.

-- The row that a frame stands in is named by its first frame.
create view syncjournal.journal_frame as
select frame as stored_in, frame, xid, lsn, segment, layout, origin, entries, data, reach
from syncjournal.journal
where bundled = ''
union all
select j.frame, f.frame, j.xid, j.lsn, j.segment, f.layout, j.origin, f.entries, f.data, j.reach
from syncjournal.journal j
    cross join lateral syncjournal.bundled_frames(
        j.frame, j.layout, j.entries, j.data, j.bundled) f
where j.bundled <> '';

-- `old` and `new` of an update are the columns that changed.
create function syncjournal.unfold_frame(frame uuid, layout int4, data bytea)
returns table (
    version uuid, prev uuid, merged uuid, op text, row_id uuid, old jsonb, new jsonb)
language sql stable strict set search_path = pg_catalog, pg_temp
as $$
    select version, prev, merged, op, row_id, old::jsonb, new::jsonb
    from syncjournal.unfold_entries(frame, layout, data)
$$;
