-- keys => 'local': which columns stay here, and which foreign keys travel by identity.

-- The integer columns of a table's key that its own defaults fill.
create function syncjournal.own_integer_keys(relation regclass) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(a.attname order by a.attnum), '{}')
    from pg_attribute a
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = relation and a.attname = any (syncjournal.primary_key(relation))
        and a.atttypid = any ('{int2,int4,int8}'::regtype[])
        -- A constant tells no rows apart.
        and (a.attidentity <> '' or pg_get_expr(d.adbin, d.adrelid) ~ '[a-z_"]\(')
$$;

-- For each table the columns whose values mean something in this database only: such keys, and what
-- refers to them, at any distance.
create function syncjournal.own_keys() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with recursive own(relid, attnum) as (
        select t.relid::oid, a.attnum
        from syncjournal.tracked_relation t
            join pg_attribute a on a.attrelid = t.relid
                and a.attname = any (syncjournal.own_integer_keys(t.relid))
        where t.keys = 'local'
        union
        select i.relid::oid, a.attnum
        from syncjournal.identity_relation i join pg_attribute a on a.attrelid = i.relid
        where a.attnum > 0 and a.atttypid = any ('{int2,int4,int8}'::regtype[])
        union
        select c.conrelid, k.child
        from own o
            join pg_constraint c on c.contype = 'f' and c.conparentid = 0 and c.confrelid = o.relid
            cross join unnest(c.conkey, c.confkey) k(child, parent)
        where k.parent = o.attnum
            and c.conrelid in (select t.relid from syncjournal.tracked_relation t)
    )
    select coalesce(jsonb_object_agg(relid, columns), '{}')
    from (
        select o.relid, jsonb_agg(a.attname) as columns
        from own o join pg_attribute a on a.attrelid = o.relid and a.attnum = o.attnum
        group by o.relid) by_table
$$;

-- The foreign keys of a table, the narrow ones first.
create function syncjournal.keys_to_others(relation regclass)
returns table (
    parent regclass, columns name[], parent_columns name[], fits boolean, has_integer boolean,
    is_optional boolean)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select distinct on (cardinality(c.conkey), c.conkey, c.confrelid, c.confkey)
        c.confrelid::regclass, k.columns, k.parent_columns, k.fits, k.has_integer, k.is_optional
    from pg_constraint c cross join lateral (
        select array_agg(a.attname order by u.place) as columns,
            array_agg(p.attname order by u.place) as parent_columns,
            bool_and(a.atttypid = p.atttypid
                or '{int2,int4,int8}'::regtype[] @> array[a.atttypid::regtype, p.atttypid::regtype]
                or '{text,varchar}'::regtype[] @> array[a.atttypid::regtype, p.atttypid::regtype])
                as fits,
            bool_or(p.atttypid = any ('{int2,int4,int8}'::regtype[])) as has_integer,
            bool_and(not a.attnotnull) as is_optional
        from unnest(c.conkey, c.confkey) with ordinality u(child, parent, place)
            join pg_attribute a on a.attrelid = c.conrelid and a.attnum = u.child
            join pg_attribute p on p.attrelid = c.confrelid and p.attnum = u.parent) k
    where c.conrelid = relation and c.contype = 'f' and c.conparentid = 0
    order by cardinality(c.conkey), c.conkey, c.confrelid, c.confkey
$$;

create function syncjournal.refuse_reference(
    relation regclass, columns name[], parent regclass, reason text, remedy text)
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'column "%" of table "%" refers to table "%", %',
        array_to_string(columns, '", "'), relation, parent, reason
        using errcode = 'object_not_in_prerequisite_state', hint = remedy;
end
$$;

create function syncjournal.check_untracked_choice(choice text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
    if choice is null or choice not in ('refuse', 'null') then
        raise exception 'unknown treatment of references to untracked tables: "%"', choice
            using errcode = 'invalid_parameter_value',
                hint = 'on_untracked_reference is ''refuse'', or ''null'' to let them arrive as null.';
    end if;
end
$$;

-- A reference to a table whose rows have no identity; gives the columns that stay here for it.
create function syncjournal.untracked_reference(
    relation regclass, choice text, parent regclass, columns name[], is_optional boolean)
returns name[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if choice = 'null' and is_optional then
        return columns;
    end if;
    perform syncjournal.refuse_reference(relation, columns, parent, 'which is not tracked', format(
        'Its rows have no name elsewhere. Track both by syncjournal.track_all(), or give it'
        ' identities alone: select syncjournal.track_identity(%L). A column that may be null can'
        ' also arrive as null: on_untracked_reference => ''null''.', parent::text));
    return null;
end
$$;

-- Writes down how the table's keys and references travel; says whether that has changed.
create function syncjournal.find_references(t syncjournal.tracked_relation, own jsonb)
returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    choice text := (
        select on_untracked_reference from syncjournal.relation_key k
        where k.relation_id = t.relation_id);
    before jsonb := syncjournal.shown_references(t.relation_id);
    kept name[] := case when t.keys = 'local' then syncjournal.own_integer_keys(t.relid) else '{}' end;
    carriers name[] := '{}';
    mine name[];
    key record;
begin
    delete from syncjournal.relation_reference r where r.relation_id = t.relation_id;
    for key in
        select f.*, coalesce(p.identity_column, i.identity_column) as identity
        from syncjournal.keys_to_others(t.relid) f
            left join syncjournal.tracked_relation p on p.relid = f.parent
            left join syncjournal.identity_relation i on i.relid = f.parent
    loop
        if key.identity is null then
            if t.keys = 'local' and key.has_integer and not key.columns <@ t.exclude_columns then
                kept := kept || syncjournal.untracked_reference(
                    t.relid, choice, key.parent, key.columns, key.is_optional);
            end if;
            continue;
        end if;
        mine := array(
            select u.child from unnest(key.columns, key.parent_columns) with ordinality u(child, parent, place)
            where own -> key.parent::oid::text ? u.parent order by u.place);
        continue when mine = '{}' or mine <@ t.exclude_columns;
        if mine && t.exclude_columns or not key.fits then
            perform syncjournal.refuse_reference(t.relid, key.columns, key.parent,
                case when key.fits then 'and is excluded in part' else 'whose key has another type' end,
                'Exclude all columns of the foreign key or none, and give both sides one type.');
        end if;
        kept := kept || mine;
        mine := array(select m from unnest(mine) m where m <> all (carriers));
        if mine = '{}' then
            perform syncjournal.refuse_reference(t.relid, key.columns, key.parent,
                'and to another table at once', 'A local key is one table''s: drop one of the'
                ' two foreign keys, or track the tables with keys => ''global''.');
        end if;
        carriers := carriers || mine[1];
        insert into syncjournal.relation_reference (
            relation_id, carrier, columns, sets, parent, parent_columns, parent_identity)
        values (t.relation_id, mine[1], key.columns, mine, key.parent, key.parent_columns,
            key.identity);
    end loop;
    update syncjournal.relation_reference r set sets = array(
        select s from unnest(r.sets) s where s = r.carrier or s <> all (carriers))
    where r.relation_id = t.relation_id and cardinality(r.sets) > 1;
    kept := array(select distinct k from unnest(kept) k where k <> all (carriers) order by 1);
    perform syncjournal.refuse_own_keys(t, kept || carriers);
    if t.keys = 'local' or kept <> '{}' or carriers <> '{}' then
        insert into syncjournal.relation_key as k (relation_id, kept, on_untracked_reference)
        values (t.relation_id, kept, coalesce(choice, 'refuse'))
        on conflict (relation_id) do update set kept = excluded.kept
        where k.kept <> excluded.kept;
    else
        delete from syncjournal.relation_key k where k.relation_id = t.relation_id;
    end if;
    return before is distinct from syncjournal.shown_references(t.relation_id);
end
$$;

-- All that the layout of a table hangs on here.
create function syncjournal.shown_references(relation_id int4) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_array(
        (select k.kept from syncjournal.relation_key k
         where k.relation_id = shown_references.relation_id),
        (select jsonb_agg(to_jsonb(r) order by r.carrier) from syncjournal.relation_reference r
         where r.relation_id = shown_references.relation_id))
$$;

-- What is each database's own can neither be added up nor tell rows apart elsewhere.
create function syncjournal.refuse_own_keys(t syncjournal.tracked_relation, own name[])
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    bad name := (
        select c from unnest(t.counters || t.natural_key) c where c = any (own) limit 1);
begin
    if bad is not null then
        raise exception 'column "%" of table "%" is each database''s own', bad, t.relid
            using errcode = 'invalid_parameter_value',
                hint = 'Name columns in counters and natural_key whose values travel.';
    end if;
end
$$;

-- Keeps the layouts of all tables in step with keys and foreign keys, and the triggers with both.
create function syncjournal.follow_keys() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform syncjournal.follow_references();
    perform syncjournal.settle_triggers();
end
$$;

create function syncjournal.follow_references() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    own jsonb;
    one syncjournal.tracked_relation;
begin
    if not exists (select from syncjournal.tracked_relation where keys = 'local')
        and not exists (select from syncjournal.identity_relation)
        and not exists (select from syncjournal.relation_key) then
        return;
    end if;
    own := syncjournal.own_keys();
    for one in
        select t.* from syncjournal.tracked_relation t
        where (t.keys = 'local' or exists (
                select from pg_constraint c where c.conrelid = t.relid and c.contype = 'f') or exists (
                select from syncjournal.relation_key k where k.relation_id = t.relation_id))
            -- While a dump is restored, keys come after the rows and before the triggers.
            and exists (
                select from pg_trigger where tgrelid = t.relid and tgname = '~syncjournal_version')
        order by t.relation_id
    loop
        if syncjournal.find_references(one, own) then
            perform syncjournal.refresh_layout(one.relid);
        end if;
    end loop;
    perform syncjournal.refuse_required_cycle();
end
$$;

-- Rows that need each other could never arrive, since one must be first.
create function syncjournal.refuse_required_cycle() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    ring text;
begin
    with recursive needs(child, parent) as (
        select t.relid::oid, r.parent::oid
        from syncjournal.relation_reference r join syncjournal.tracked_relation t using (relation_id)
        where r.parent <> t.relid and exists (
            select from pg_attribute a
            where a.attrelid = t.relid and a.attname = any (r.sets) and a.attnotnull)
    ), reach(from_table, to_table) as (
        select child, parent from needs
        union
        select r.from_table, n.parent from reach r join needs n on n.child = r.to_table
    )
    select string_agg(distinct there.to_table::regclass::text, '", "') into ring
    from reach there join reach back
        on back.from_table = there.to_table and back.to_table = there.from_table
    where there.from_table = (
        select from_table from reach where from_table = to_table order by 1 limit 1);
    if ring is not null then
        raise exception 'tables "%" refer to each other in a circle, and no reference may be null',
            ring using errcode = 'object_not_in_prerequisite_state',
            detail = 'With local keys a row arrives after the one that it refers to.',
            hint = 'Let one of the columns be null (alter table ... drop not null): it is filled'
                ' when the other row is there.';
    end if;
end
$$;

-- A table tracked with local keys must have one, and give it out by itself.
create function syncjournal.check_own_key(relation regclass) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    t syncjournal.tracked_relation := syncjournal.tracked(relation);
    key name[] := syncjournal.primary_key(relation);
    bare name;
begin
    if exists (
            select from syncjournal.relation_key k
            where k.relation_id = t.relation_id and k.kept && key)
        or exists (
            select from syncjournal.relation_reference r
            where r.relation_id = t.relation_id and r.columns && key) then
        return;
    end if;
    bare := (
        select attname from pg_attribute a
        where a.attrelid = relation and a.attname = any (key)
            and a.atttypid = any ('{int2,int4,int8}'::regtype[])
        order by attnum limit 1);
    if bare is null then
        raise exception 'table "%" has no integer primary key', relation
            using errcode = 'invalid_parameter_value',
                hint = 'Local keys are integers that each database gives out for itself: track the'
                    ' table with keys => ''global''.';
    end if;
    raise exception 'column "%" of table "%" has no default', bare, relation
        using errcode = 'invalid_parameter_value',
            detail = 'A row that arrives gets its key here.',
            hint = format('Let the database give it out: alter table %s alter %I add generated by'
                ' default as identity. Or track the table with keys => ''global''.',
                relation, bare);
end
$$;

-- What is asked of track_all(keys => 'local') for one table: where no integer is in the key, there
-- is nothing to keep.
create function syncjournal.keys_for(relation regclass, keys text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select case when keys = 'local' and not exists (
        select from pg_attribute a
        where a.attrelid = relation and a.attname = any (syncjournal.primary_key(relation))
            and a.atttypid = any ('{int2,int4,int8}'::regtype[]))
        then 'global' else keys end
$$;

-- The tables in an order in which parents come before their children, as far as there is one.
create function syncjournal.parents_first(relations regclass[]) returns regclass[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    rest regclass[] := relations;
    sorted regclass[] := '{}';
    free regclass[];
begin
    while rest <> '{}' loop
        free := array(
            select r from unnest(rest) with ordinality u(r, place)
            where not exists (
                select from pg_constraint c
                where c.contype = 'f' and c.conrelid = r and c.confrelid <> r
                    and c.confrelid = any (rest))
            order by place);
        if free = '{}' then
            free := rest[1:1];
        end if;
        sorted := sorted || free;
        rest := array(
            select r from unnest(rest) with ordinality u(r, place) where r <> all (free)
            order by place);
    end loop;
    return sorted;
end
$$;
