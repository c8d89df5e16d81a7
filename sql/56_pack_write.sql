-- Packs: references become keys, keys that are taken are found, and all is written.

-- Rows whose reference leads to a row that is neither here nor will be: an optional one is left null
-- where the options say so; else the row goes the way of the one that it refers to, or is refused.
create function syncjournal.pack_without_orphans(items syncjournal.pack_item[], options jsonb)
returns syncjournal.pack_item[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    before syncjournal.pack_item[];
begin
    while items is distinct from before loop
        before := items;
        select array_agg(case when o.relid is null then i
            when o.may_be_null then jsonb_populate_record(i, jsonb_build_object(
                'refs', i.refs - o.label, 'final', i.final || o.nulls,
                'reason', concat_ws('; ', i.reason, format('reference (%s) is null: %s is not here',
                    o.label, o.parent_id))))
            else jsonb_populate_record(i, jsonb_build_object(
                'action', coalesce(o.parent_action, 'refused'),
                'reason', format('its reference (%s) leads to row %s of "%s", which %s', o.label,
                    o.parent_id, o.parent, case when o.parent_action is null
                        then 'is neither here nor in the pack' else 'is not imported' end))) end)
        into items
        from unnest(items) i
            left join (
                select distinct on (c.relid, c.row_id) c.relid, c.row_id, r.label, r.parent,
                    (c.refs ->> r.label)::uuid as parent_id,
                    case when p.action <> 'outside' then p.action end as parent_action,
                    options ->> 'on_missing_reference' = 'null' and not exists (
                        select from syncjournal.pack_columns(r.child) k
                        where k.name = any (r.child_columns) and k.is_required) as may_be_null,
                    (select jsonb_object_agg(n, null) from unnest(r.child_columns) n) as nulls
                from unnest(items) c
                    join syncjournal.pack_references(array(select distinct relid from unnest(items)))
                        r on r.child = c.relid and c.refs ? r.label
                    left join unnest(items) p
                        on p.relid = r.parent and p.row_id = (c.refs ->> r.label)::uuid
                where c.action in ('created', 'updated')
                    and p.here is null and p.action is distinct from 'created'
                order by c.relid, c.row_id, r.label) o
                on o.relid = i.relid and o.row_id = i.row_id;
    end loop;
    return items;
end
$$;

-- New rows that come without their key get one of this database's, that no other row of the pack has.
create function syncjournal.pack_with_keys(items syncjournal.pack_item[])
returns syncjournal.pack_item[]
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    c record;
    keyless uuid[];
begin
    for c in
        select t.relid, k.name::text, k.fresh, k.kind, k.type_name
        from (select distinct relid from unnest(items) where action = 'created') t
            cross join lateral syncjournal.pack_columns(t.relid) k
        where k.is_key and k.fresh is not null and not exists (
            select from syncjournal.pack_references(array[t.relid]) r
            where r.child = t.relid and k.name = any (r.child_columns))
    loop
        keyless := array(
            select i.row_id from unnest(items) i
            where i.relid = c.relid and i.action = 'created' and not i.final ? c.name);
        while cardinality(keyless) > 0 loop
            execute format('select array_agg(case when f.v is null then i else'
                ' jsonb_populate_record(i, jsonb_build_object(''final'', i.final ||'
                ' jsonb_build_object(%L, %s))) end) from unnest($1) i left join ('
                'select row_id, (%s)::%s as v from unnest($2) row_id) f'
                ' on i.relid = %s and i.row_id = f.row_id',
                c.name, syncjournal.pack_render(c.kind, 'f.v'), c.fresh, c.type_name,
                c.relid::oid)
            into items using items, keyless;
            keyless := array(
                select i.row_id from unnest(items) i
                where i.relid = c.relid and i.row_id = any (keyless) and exists (
                    select from unnest(items) o
                    where o.relid = c.relid and o.row_id <> i.row_id and o.final @>
                        jsonb_build_object(c.name, i.final -> c.name)));
        end loop;
    end loop;
    return items;
end
$$;

-- References by uuid become the keys that their parents have or will have here. A parent's key may
-- itself be made of references: those come first.
create function syncjournal.pack_resolved(items syncjournal.pack_item[])
returns syncjournal.pack_item[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    before syncjournal.pack_item[];
begin
    while items is distinct from before loop
        before := items;
        select array_agg(case when k.keys is null then i else jsonb_populate_record(
            i, jsonb_build_object('final', i.final || k.keys)) end)
        into items
        from unnest(items) i
            left join (
                select c.relid, c.row_id, jsonb_object_agg(u.child, p.final -> u.parent) as keys
                from unnest(items) c
                    join syncjournal.pack_references(array(select distinct relid from unnest(items)))
                        r on r.child = c.relid and c.refs ? r.label
                    join unnest(items) p
                        on p.relid = r.parent and p.row_id = (c.refs ->> r.label)::uuid
                    cross join unnest(r.child_columns::text[], r.parent_columns::text[])
                        u(child, parent)
                where c.action in ('created', 'updated')
                    and p.final ?& r.parent_columns::text[]
                group by c.relid, c.row_id) k on k.relid = i.relid and k.row_id = i.row_id;
    end loop;
    return items;
end
$$;

-- Rows to be written whose unique keys belong to other rows here.
create function syncjournal.pack_collisions(items syncjournal.pack_item[])
returns table (relid regclass, row_id uuid, columns name[], other uuid, is_renewable boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    key record;
begin
    for key in
        select t.relid, k.columns, k.conditions, k.is_renewable, p.identity
        from (
            select distinct i.relid from unnest(items) i
            where i.action in ('created', 'updated')) t
            cross join lateral syncjournal.pack_table(t.relid) p
            cross join lateral syncjournal.pack_unique_keys(t.relid) k
    loop
        return query execute format(
            'select i.relid, i.row_id, $2, c.%I, $3 from unnest($1) i join %s c on %s'
            ' where i.relid = %s and i.action in (''created'', ''updated'')'
            ' and c.%1$I <> i.row_id', key.identity, syncjournal.referring_table(key.relid),
            key.conditions, key.relid::oid)
        using items, key.columns, key.is_renewable;
    end loop;
end
$$;

-- A table's unique keys of plain columns; one is renewable that this database can make anew.
create function syncjournal.pack_unique_keys(relation regclass)
returns table (columns name[], conditions text, is_renewable boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select array_agg(c.name order by k.place),
        string_agg(case when c.name is not null then format('c.%I = %s', c.name,
            syncjournal.pack_read(c.kind, c.type_name, 'i.final', c.name)) end,
            ' and ' order by k.place),
        i.indisprimary and bool_and(c.fresh is not null)
    from pg_index i
        cross join unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality k(attnum, place)
        left join syncjournal.pack_columns(relation) c on c.place = k.attnum
    where i.indrelid = relation and i.indisunique and i.indisvalid
        and i.indpred is null and i.indexprs is null
    group by i.indexrelid, i.indisprimary
    having bool_and(c.name is not null)
$$;

-- What the options say of rows whose keys are taken.
create function syncjournal.pack_after_collisions(
    items syncjournal.pack_item[], choice text,
    out clashes int8, out settled syncjournal.pack_item[])
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    select array_agg(case when c.row_id is null then i
            when c.is_renewable and choice = 'renumber' and i.action = 'created'
                then jsonb_populate_record(i, jsonb_build_object(
                    'final', i.final - c.columns::text[], 'reason', coalesce(i.reason, format(
                        'has a key of its own here: %s is row %s', c.shown, c.other))))
            else jsonb_populate_record(i, jsonb_build_object(
                'action', case choice when 'refuse' then 'refused'
                    else 'skipped_key_collision' end,
                'reason', format('%s is row %s here', c.shown, c.other))) end),
        count(c.row_id)
    into settled, clashes
    from unnest(items) i
        left join (
            select distinct on (x.relid, x.row_id) x.*, format('(%s)=(%s)',
                array_to_string(x.columns, ', '), (
                    select string_agg(y.final ->> n::text, ', ' order by place)
                    from unnest(x.columns) with ordinality u(n, place))) as shown
            from syncjournal.pack_collisions(items) x
                join unnest(items) y on y.relid = x.relid and y.row_id = x.row_id
            -- One that cannot be given another key settles it.
            order by x.relid, x.row_id, x.is_renewable, x.columns) c
            on c.relid = i.relid and c.row_id = i.row_id;
end
$$;

-- Tables in the order in which they are written: parents before children. Those that refer to each
-- other in a circle have one place: they go in one statement, at whose end keys are checked.
create function syncjournal.pack_order(relations regclass[])
returns table (rank int8, circle oid, relid regclass)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with recursive edge as (
        select distinct child::oid, parent::oid from syncjournal.pack_references(relations)
        where child = any (relations) and parent = any (relations) and child <> parent),
    reach(low, high) as (
        select child, parent from edge
        union select r.low, e.parent from reach r join edge e on e.child = r.high)
    select count(r.high) filter (where b.low is null),
        least(t::oid, min(r.high) filter (where b.low is not null)), t
    from unnest(relations) t
        left join reach r on r.low = t and r.high <> t
        left join reach b on b.low = r.high and b.high = t
    group by t
$$;

-- SQL that writes a table's rows, as parts of one statement.
create function syncjournal.pack_statements(
    relation regclass, items syncjournal.pack_item[], out created text, out updated text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    identity name := (select t.identity from syncjournal.pack_table(relation) t);
    targets text;
    sources text;
begin
    select coalesce(string_agg(format(', %I', c.name), '' order by c.place), ''),
        coalesce(string_agg(', ' || case when u.is_in_all then v.value else format(
            'case when i.final ? %L then %s else %s end',
            c.name, v.value, coalesce(c.fresh, 'null')) end, '' order by c.place), '')
    into targets, sources
    from syncjournal.pack_columns(relation) c
        cross join lateral (select syncjournal.pack_read(
            c.kind, c.type_name, 'i.final', c.name) as value) v
        cross join lateral (
            select bool_and(i.final ? c.name::text) as is_in_all from unnest(items) i
            where i.relid = relation and i.action = 'created'
            having bool_or(i.final ? c.name::text)) u;
    if exists (select from unnest(items) i where i.relid = relation and i.action = 'created') then
        created := format('insert into %s (%I%s) overriding system value select i.row_id%s'
            ' from unnest($1) i where i.relid = %s and i.action = ''created''',
            (select t.name from syncjournal.pack_table(relation) t), identity,
            targets, sources, relation::oid);
    end if;
    select string_agg(format('%1$I = case when i.final -> %1$L is distinct from i.here -> %1$L'
            ' then %2$s else c.%1$I end', c.name, syncjournal.pack_read(
            c.kind, c.type_name, 'i.final', c.name)), ', ' order by c.place)
    into sources
    from syncjournal.pack_columns(relation) c
    where exists (
        select from unnest(items) i
        where i.relid = relation and i.action = 'updated'
            and i.final -> c.name::text is distinct from i.here -> c.name::text);
    if sources is not null then
        updated := format('update %s c set %s from unnest($1) i where c.%I = i.row_id'
            ' and i.relid = %s and i.action = ''updated''',
            syncjournal.referring_table(relation), sources, identity, relation::oid);
    end if;
end
$$;

-- Writes what is settled, with the caller's own rights.
create function syncjournal.pack_write(items syncjournal.pack_item[]) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    relations regclass[] := array(
        select distinct relid from unnest(items)
        where action in ('created', 'updated', 'unchanged'));
    statement text;
    relation regclass;
    code text;
    message text;
    more text;
begin
    for statement in
        select string_agg(part, ', ' order by part) from (
            select o.rank, o.circle, format('w%s as (%s)', row_number() over (), p.part) as part
            from syncjournal.pack_order(relations) o
                cross join lateral syncjournal.pack_statements(o.relid, items) s
                cross join lateral (values (s.created), (s.updated)) p(part)
            where p.part is not null) parts
        group by rank, circle order by rank, circle
    loop
        execute format('with %s select null', statement) using items;
    end loop;
    foreach relation in array relations loop
        perform syncjournal.note_pack_rows(relation, items);
    end loop;
exception when others then
    get stacked diagnostics code = returned_sqlstate, message = message_text,
        more = pg_exception_detail;
    more := coalesce(nullif(more, ''), 'The import is one transaction.');
    raise exception 'the pack cannot be imported: %', message
        using errcode = code, detail = more,
            hint = 'Nothing was imported. Correct the pack or the database, and import it again.';
end
$$;

create function syncjournal.note_pack_rows(
    relation regclass, items syncjournal.pack_item[])
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('insert into syncjournal.imported_row as r'
        ' (relid, row_id, version, source_version)'
        ' select i.relid, i.row_id, c.sync_version, i.version'
        ' from unnest($1) i join %s c on c.%I = i.row_id'
        ' where i.relid = %s and i.action in (''created'', ''updated'', ''unchanged'')'
        ' on conflict (relid, row_id) do update'
        ' set version = excluded.version, source_version = excluded.source_version',
        syncjournal.referring_table(relation),
        (select t.identity from syncjournal.pack_table(relation) t), relation::oid)
    using items;
end
$$;
