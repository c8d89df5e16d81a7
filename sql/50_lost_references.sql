-- References of rows here to rows that were deleted elsewhere meanwhile. No order of deliveries prevents
-- them, and what is right only the users know: so they are told of.

create function syncjournal.lost_references()
returns table (
    relation regclass, row_id uuid, column_name name, referenced regclass, referenced_id uuid,
    is_null boolean)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    key record;
begin
    for key in
        select t.relid, t.identity_column, r.carrier, r.parent, p.relation_id as parent_relation,
            string_agg(format('p.%I = c.%I', u.parent, u.child), ' and ') as same_row,
            string_agg(format('c.%I = nullif(split_part(g.own_key, '','', %s), '''')::int8',
                u.child, array_position(k.kept, u.parent)), ' and ')
                filter (where u.parent = any (k.kept)) as same_key
        from syncjournal.relation_reference r
            join syncjournal.tracked_relation t using (relation_id)
            join syncjournal.tracked_relation p on p.relid = r.parent
            join syncjournal.relation_key k on k.relation_id = p.relation_id
            cross join unnest(r.columns, r.parent_columns) u(child, parent)
        -- Only what a peer deleted leaves its key behind: mostly there is nothing to look for.
        where exists (select from syncjournal.gone_key g where g.relation_id = p.relation_id)
        group by t.relid, t.identity_column, r.carrier, r.parent, p.relation_id
    loop
        continue when key.same_key is null;
        return query execute format(
            'select %L::regclass, c.%I, %L::name, %L::regclass, g.row_id, false'
            ' from syncjournal.gone_key g join %s c on %s'
            ' where g.relation_id = %s and not exists (select from %s p where %s)',
            key.relid::regclass, key.identity_column, key.carrier, key.parent, key.relid::regclass,
            key.same_key, key.parent_relation, key.parent, key.same_row);
    end loop;
    return query
        select t.relid, w.row_id, w.carrier, r.parent, w.parent, true
        from syncjournal.pending_reference w
            join syncjournal.tracked_relation t using (relation_id)
            join syncjournal.relation_reference r using (relation_id, carrier)
            join syncjournal.tracked_relation p on p.relid = r.parent
            join syncjournal.tombstone s on s.relation_id = p.relation_id and s.row_id = w.parent;
end
$$;

create view syncjournal.lost_reference as select * from syncjournal.lost_references();
