-- Packs: the import, up to where it is known what is to be written.

-- What is wrong with the shape of a pack; null: nothing.
create function syncjournal.pack_flaw(pack jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select case
        when pack is null or jsonb_typeof(pack) <> 'object' then 'it is no JSON object'
        when pack ->> 'format' is distinct from 'syncjournal-pack' then 'it says no format'
        when jsonb_typeof(pack -> 'tables') is distinct from 'object' then 'it has no tables'
        else (
            select case
                when jsonb_typeof(t.value) <> 'object'
                    or jsonb_typeof(t.value -> 'rows') is distinct from 'array'
                    then format('table "%s" has no array of rows', t.key)
                when jsonb_typeof(coalesce(t.value -> 'columns', '{}')) <> 'object'
                    then format('the columns of table "%s" are no object', t.key)
                else (
                    select format('row %s of table "%s" %s', place, t.key, flaw)
                    from jsonb_array_elements(t.value -> 'rows') with ordinality r (entry, place)
                        cross join syncjournal.pack_row_flaw(r.entry) flaw
                    where flaw is not null order by place limit 1) end as flaw
            from jsonb_each(pack -> 'tables') t
            order by 1 nulls last limit 1) end
$$;

create function syncjournal.pack_row_flaw(entry jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select case
        when jsonb_typeof(entry) <> 'object' then 'is no object'
        when not syncjournal.is_pack_uuid(entry -> 'row_id') then 'has no uuid as its row_id'
        when coalesce(entry -> 'version', 'null') <> 'null'
            and not syncjournal.is_pack_uuid(entry -> 'version') then 'has an invalid version'
        when jsonb_typeof(coalesce(entry -> 'values', '{}')) <> 'object'
            then 'has values that are no object'
        when jsonb_typeof(coalesce(entry -> 'references', '{}')) <> 'object'
            then 'has references that are no object'
        when exists (
            select from jsonb_each(entry -> 'references') e
            where e.value <> 'null' and not syncjournal.is_pack_uuid(e.value))
            then 'has a reference that is no uuid'
        else (
            select format('has an unknown member "%s"', key)
            from jsonb_object_keys(entry) key
            where key not in ('row_id', 'version', 'changed_at', 'values', 'references', 'digest')
            limit 1) end
$$;

create function syncjournal.is_pack_uuid(value jsonb) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_typeof(value) = 'string'
        and value #>> '{}' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', false)
$$;

-- As sets, packs go from lower to higher ranks.
create function syncjournal.check_pack_rank(source jsonb, options jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    here jsonb := syncjournal.pack_source();
begin
    if jsonb_typeof(source -> 'rank') = 'number' and source -> 'rank' > nullif(
            here -> 'rank', 'null') and options -> 'allow_backward' is distinct from 'true' then
        raise exception 'a pack from node "%" to this one would go backward', source ->> 'name'
            using errcode = 'object_not_in_prerequisite_state',
                detail = format('Its rank is %s, and that of this node is %s.',
                    source ->> 'rank', here ->> 'rank'),
                hint = 'Import packs of lower ranks, or ask for it by option'
                    ' "allow_backward": true.';
    end if;
end
$$;

create function syncjournal.check_pack(pack jsonb, options jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    flaw text;
begin
    perform syncjournal.check_pack_options(options, '{
        "mode": ["always", "if_not_exists", "if_newer"], "tables": "object",
        "exclude": "array", "exclude_columns": "object", "schema": ["same", "common"],
        "on_key_collision": ["skip", "renumber", "refuse"],
        "on_missing_reference": ["refuse", "null"], "on_refused": ["fail", "skip"],
        "edited": ["accept", "refuse"], "allow_backward": "boolean"}');
    if pack -> 'format_version' <> '1' then
        raise exception 'the pack has format version %', pack -> 'format_version'
            using errcode = 'feature_not_supported',
                hint = 'This version of syncjournal reads packs of format version 1.';
    end if;
    flaw := syncjournal.pack_flaw(pack);
    if flaw is not null then
        raise exception 'misshapen pack: %', flaw
            using errcode = 'invalid_parameter_value',
                hint = 'Packs are made by syncjournal.export_pack().';
    end if;
    perform syncjournal.check_pack_rank(pack -> 'source', options);
    if pack ->> 'digest' = syncjournal.pack_digest(pack -> 'tables') then
        return;
    elsif options ->> 'edited' = 'refuse' then
        raise exception 'the pack was edited since its export'
            using errcode = 'data_exception',
                hint = 'Take it with option "edited": "accept", or export it again.';
    end if;
    raise notice 'the pack was edited since its export';
end
$$;

-- How a table of the pack is imported: by its own name before any pattern.
create function syncjournal.pack_mode(relation regclass, options jsonb) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select coalesce((
        select o.value
        from jsonb_each_text(options -> 'tables') o, pg_class c
            join pg_namespace n on n.oid = c.relnamespace
        where c.oid = relation
            and syncjournal.relation_matches(n.nspname, c.relname, array[o.key], '{}')
        order by o.key ~ '[*?]', length(o.key) desc limit 1), options ->> 'mode', 'always')
$$;

-- The tables of a pack that are to be imported. Names that options give must be among them.
create function syncjournal.pack_import_tables(pack jsonb, options jsonb)
returns table (relid regclass, name text, content jsonb)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    idle text;
begin
    return query
        select t.relid, p.key, p.value
        from jsonb_each(pack -> 'tables') p
            cross join lateral syncjournal.pack_table(syncjournal.pack_relation(p.key)) t
        where not syncjournal.is_out_of_pack(t.relid, options);
    select o.key into idle
    from jsonb_each(options -> 'tables') o
    where o.value <> all ('{"\"always\"","\"if_not_exists\"","\"if_newer\""}'::jsonb[]);
    if found then
        raise exception 'invalid mode of "%": %', idle, options -> 'tables' -> idle
            using errcode = 'invalid_parameter_value',
                hint = 'Modes are always, if_not_exists, if_newer.';
    end if;
    select o.key into idle
    from jsonb_each(options -> 'tables') o
    where not exists (
        select from jsonb_object_keys(pack -> 'tables') p
        where syncjournal.pack_mode(to_regclass(p), jsonb_build_object('tables',
            jsonb_build_object(o.key, 'named'))) = 'named');
    if found then
        raise exception 'option "tables" names "%", which is not in the pack', idle
            using errcode = 'undefined_table',
                hint = 'Name tables of the pack, or patterns (schema.table with * and ?).';
    end if;
end
$$;

-- What is in the pack's columns and references of a table, and not here, or the other way round.
create function syncjournal.pack_difference(relation regclass, content jsonb)
returns table (sqlstate_of text, difference text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select case when c.name is null then '42703' when p.key is null then '42703' else '42804' end,
        case when c.name is null
            then format('column "%s" of table "%s" is in the pack and not here', p.key, relation)
        when p.key is null
            then format('column "%s" of table "%s" is here and not in the pack', c.name, relation)
        else format('column "%s" of table "%s" is of type %s in the pack and %s here',
            c.name, relation, p.value, c.type_name) end
    from jsonb_each_text(content -> 'columns') p
        full join (select * from syncjournal.pack_columns(relation) where not is_own) c
            on c.name = p.key
    where content ? 'columns' and p.value is distinct from c.type_name
        and not coalesce(content -> 'excluded_columns' ? c.name::text, false)
    union all
    select '42704', format('foreign key (%s) of table "%s" is in the pack and not here',
        p.key, relation)
    from jsonb_each_text(content -> 'references') p
    where p.key not in (
        select r.label from syncjournal.pack_references(array[relation]) r
        where r.child = relation)
$$;

create function syncjournal.check_pack_schema(relation regclass, content jsonb, options jsonb)
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    code text;
    difference text;
begin
    if options ->> 'schema' is distinct from 'common' then
        select d.sqlstate_of, d.difference into code, difference
        from syncjournal.pack_difference(relation, content) d order by 2 limit 1;
        if found then
            raise exception '%', difference using errcode = code,
                hint = 'Bring both schemas together, or take what they have in common by option'
                    ' "schema": "common".';
        end if;
    end if;
    select format('column "%s" of table "%s" does not exist', key, relation) into difference
    from jsonb_array_elements(content -> 'rows') r cross join jsonb_object_keys(r -> 'values') key
    where key not in (select name from syncjournal.pack_columns(relation) where not is_own)
        and not (coalesce(content -> 'columns', '{}') ? key)
    limit 1;
    if found then
        raise exception '%', difference using errcode = 'undefined_column',
            hint = 'The uuid of a row is its row_id; local keys, excluded and generated columns are in no'
                ' pack.';
    end if;
    select format('table "%s" has no foreign key (%s) to a tracked table', relation, key)
    into difference
    from jsonb_array_elements(content -> 'rows') r
        cross join jsonb_object_keys(r -> 'references') key
    where key not in (
            select label from syncjournal.pack_references(array[relation]) f
            where f.child = relation)
        and not (coalesce(content -> 'references', '{}') ? key)
    limit 1;
    if found then
        raise exception '%', difference using errcode = 'undefined_object',
            hint = 'References are named by the columns of their key, joined by ", ".';
    end if;
end
$$;

-- A table's rows in the pack, as far as they are to be taken. A reference that is null is a key of nulls.
create function syncjournal.pack_table_items(relation regclass, content jsonb, options jsonb)
returns setof syncjournal.pack_item
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    mode text := syncjournal.pack_mode(relation, options);
    columns text[] := array(
        select name::text from syncjournal.pack_columns(relation)
        where not is_own and name <> all (syncjournal.pack_excluded(relation, options)));
    covered jsonb;
begin
    perform syncjournal.check_pack_schema(relation, content, options);
    select coalesce(jsonb_object_agg(r.label, r.child_columns), '{}') into covered
    from syncjournal.pack_references(array[relation]) r
    where r.child = relation
        and not r.child_columns::text[] && syncjournal.pack_excluded(relation, options);
    return query
        select relation, (r ->> 'row_id')::uuid, (r ->> 'version')::uuid,
            r ->> 'digest' is distinct from syncjournal.pack_digest(r),
            coalesce((
                select jsonb_object_agg(e.key, e.value) from (
                    select key, value from jsonb_each(r -> 'values')
                    where key = any (columns)
                    union
                    select c, null from jsonb_each(r -> 'references') n
                        cross join jsonb_array_elements_text(covered -> n.key) c
                    where n.value = 'null') e), '{}'),
            coalesce((
                select jsonb_object_agg(e.key, lower(e.value #>> '{}'))
                from jsonb_each(r -> 'references') e
                where covered ? e.key and e.value <> 'null'), '{}'),
            mode, null::jsonb, null::jsonb, null::uuid, null::uuid, null::jsonb, null, null
        from jsonb_array_elements(content -> 'rows') r;
end
$$;
