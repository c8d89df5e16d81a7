-- Packs: the call that imports one.

-- The items of all tables, with what stands beside each and the first word on it.
create function syncjournal.pack_judged(
    items syncjournal.pack_item[], options jsonb, is_locking boolean)
returns syncjournal.pack_item[]
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    relation regclass;
    of_table syncjournal.pack_item[];
    judged syncjournal.pack_item[] := '{}';
begin
    -- One order for all who lock.
    for relation in select distinct i.relid from unnest(items) i order by 1 loop
        of_table := array(select i from unnest(items) i where i.relid = relation);
        judged := judged || syncjournal.pack_beside(
            relation, syncjournal.pack_normalised(relation, of_table),
            syncjournal.pack_excluded(relation, options),
            is_locking and of_table[1].mode <> 'if_not_exists');
    end loop;
    return coalesce(syncjournal.pack_verdicts(judged), '{}');
end
$$;

-- With the rows that the pack refers to and does not hold, as far as they are here.
create function syncjournal.pack_with_parents(items syncjournal.pack_item[])
returns syncjournal.pack_item[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    p record;
    found_rows syncjournal.pack_item[];
    parents syncjournal.pack_item[] := '{}';
begin
    for p in
        select r.parent, r.parent_identity, array_agg(distinct c) as columns,
            array_agg(distinct (i.refs ->> r.label)::uuid) as ids
        from unnest(items) i
            join syncjournal.pack_references(array(select distinct relid from unnest(items))) r
                on r.child = i.relid and i.refs ? r.label
            cross join unnest(r.parent_columns) c
        where i.action in ('created', 'updated')
            and not exists (
                select from unnest(items) o
                where o.relid = r.parent and o.row_id = (i.refs ->> r.label)::uuid)
        group by r.parent, r.parent_identity
    loop
        execute format('select array_agg(jsonb_populate_record(null::syncjournal.pack_item,'
            ' jsonb_build_object(''relid'', %L, ''row_id'', c.%I, ''action'', ''outside'','
            ' ''here'', k, ''final'', k))) from %s c'
            ' cross join lateral (select jsonb_build_object(%s) as k) k where c.%2$I = any ($1)',
            p.parent, p.parent_identity, syncjournal.referring_table(p.parent), (
                select string_agg(format('%L, %s', c, syncjournal.pack_render(
                    coalesce(k.kind, 'text'), format('c.%I', c))), ', ')
                from unnest(p.columns) c
                    left join syncjournal.pack_columns(p.parent) k on k.name = c))
        into found_rows using p.ids;
        parents := parents || found_rows;
    end loop;
    return items || parents;
end
$$;

-- What becomes of each row: until no row is without those that it refers to, and no key is taken.
create function syncjournal.pack_settled(items syncjournal.pack_item[], options jsonb)
returns syncjournal.pack_item[]
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    choice text := coalesce(options ->> 'on_key_collision', 'skip');
    clashes int8 := 1;
    rounds int := 0;
    unknown record;
begin
    while clashes > 0 loop
        rounds := rounds + 1;
        items := syncjournal.pack_resolved(syncjournal.pack_with_keys(
            syncjournal.pack_without_orphans(items, options)));
        select a.clashes, a.settled into clashes, items
        -- New keys that are taken, too, come from a sequence that lags behind its table.
        from syncjournal.pack_after_collisions(
            items, case when rounds < 20 or choice <> 'renumber' then choice else 'skip' end) a;
    end loop;
    select i.relid, i.row_id, r.label into unknown
    from unnest(items) i
        join syncjournal.pack_references(array(select distinct relid from unnest(items))) r
            on r.child = i.relid and i.refs ? r.label
    where i.action in ('created', 'updated') and not i.final ?& r.child_columns::text[] limit 1;
    if found then
        raise exception 'reference (%) of row % of table "%" has no key yet',
            unknown.label, unknown.row_id, unknown.relid
            using errcode = 'feature_not_supported',
                hint = 'What it refers to has a key that is left out, or is made of itself:'
                    ' give plain values in place of the reference.';
    end if;
    return items;
end
$$;

-- Nothing is written where a row is refused, unless the options say that the others are to be.
create function syncjournal.stop_pack_at_refused(items syncjournal.pack_item[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    first_refused record;
begin
    select i.relid, i.row_id, i.reason, count(*) over () as refused into first_refused
    from unnest(items) i where i.action = 'refused'
    -- The cause before what hangs on it.
    order by i.reason ~ 'is not imported$', i.relid::text, i.row_id limit 1;
    if found then
        raise exception 'row % of table "%" is refused: %',
            first_refused.row_id, first_refused.relid, first_refused.reason
            using errcode = 'integrity_constraint_violation',
                detail = format('%s rows are refused.', first_refused.refused),
                hint = 'Nothing was imported. dry_run => true lists all rows; option'
                    ' "on_refused": "skip" imports the others.';
    end if;
end
$$;

create function syncjournal.import_pack(
    pack jsonb, options jsonb default '{}', dry_run boolean default false)
returns table (relation text, row_id uuid, action text, reason text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC'
set extra_float_digits = 3 set bytea_output = 'hex' set lc_monetary = 'C' set jit = off
as $$
declare
    items syncjournal.pack_item[];
begin
    perform syncjournal.check_pack(pack, options);
    items := array(
        select i from syncjournal.pack_import_tables(pack, options) t
            cross join lateral syncjournal.pack_table_items(t.relid, t.content, options) i);
    perform syncjournal.check_pack_rights(items, options);
    perform syncjournal.check_pack_identities(items);
    items := syncjournal.pack_judged(items, options, not coalesce(dry_run, false));
    items := syncjournal.pack_settled(syncjournal.pack_with_parents(items), options);
    if dry_run then
        begin
            perform syncjournal.pack_write(items);
            raise exception using errcode = 'SJDRY';
        exception when sqlstate 'SJDRY' then
            null;
        end;
    else
        if options ->> 'on_refused' is distinct from 'skip' then
            perform syncjournal.stop_pack_at_refused(items);
        end if;
        perform syncjournal.pack_write(items);
    end if;
    return query
        with t as materialized (
            select p.relid, p.name
            from (select distinct i.relid from unnest(items) i where i.action <> 'outside') r
                cross join lateral syncjournal.pack_table(r.relid) p)
        select t.name, i.row_id, i.action, i.reason
        from unnest(items) i join t using (relid)
        where i.action <> 'outside'
        order by t.name, i.row_id;
end
$$;
