-- The journal's frames, entry by entry.

-- `old` and `new` of an update are the columns that changed.
create function syncjournal.unfold_frame(frame uuid, layout int4, data bytea)
returns table (
    version uuid, prev uuid, merged uuid, op text, row_id uuid, old jsonb, new jsonb)
language sql stable strict set search_path = pg_catalog, pg_temp
as $$
    select version, prev, merged, op, row_id, old::jsonb, new::jsonb
    from syncjournal.unfold_entries(frame, layout, data)
$$;
