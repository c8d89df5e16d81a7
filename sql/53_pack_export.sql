-- Packs: the export. All queries have one snapshot, that of the statement which calls.

-- The rows that somebody asks for: {"public.t": ["uuid", {"column": value}, "*"]}.
create function syncjournal.pack_roots(roots jsonb)
returns table (relid regclass, row_id uuid)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    table_name text;
    wanted jsonb;
    identity name;
    condition text;
    of_table regclass;
begin
    if roots is null or jsonb_typeof(roots) <> 'object' or roots = '{}' then
        raise exception 'the roots of a pack are a JSON object of tables'
            using errcode = 'invalid_parameter_value',
                hint = 'For one: {"public.project": ["uuid of a row", {"id": 7}]}, or "*" for all.';
    end if;
    for table_name, wanted in
        select r.key, w from jsonb_each(roots) r cross join jsonb_array_elements(
            case jsonb_typeof(r.value) when 'array' then r.value
                else jsonb_build_array(r.value) end) w
    loop
        of_table := syncjournal.pack_relation(table_name);
        identity := (select t.identity from syncjournal.pack_table(of_table) t);
        condition := case
            when wanted = '"*"' then 'true'
            when jsonb_typeof(wanted) = 'object'
                then syncjournal.pack_condition(of_table, wanted)
            when wanted #>> '{}' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                then format('c.%I = %L::uuid', identity, wanted #>> '{}') end;
        if condition is null then
            raise exception 'invalid root of table "%": %', table_name, wanted
                using errcode = 'invalid_parameter_value',
                    hint = 'Name rows by uuid, by their columns ({"id": 7}), or by "*".';
        end if;
        return query execute format('select %L::regclass, c.%I from %s c where %s',
            of_table, identity, syncjournal.referring_table(of_table), condition);
        if not found and condition <> 'true' then
            raise exception 'table "%" has no row %', table_name, wanted
                using errcode = 'no_data_found', hint = 'Name rows that are there.';
        end if;
    end loop;
end
$$;

-- The rows whose columns are as given.
create function syncjournal.pack_condition(relation regclass, wanted jsonb) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    condition text := 'true';
    column_name text;
    type_name text;
begin
    for column_name in select jsonb_object_keys(wanted) loop
        select format_type(a.atttypid, -1) into type_name
        from pg_attribute a
        where a.attrelid = relation and a.attname = column_name
            and a.attnum > 0 and not a.attisdropped;
        if not found then
            raise exception 'column "%" of table "%" does not exist', column_name, relation
                using errcode = 'undefined_column', hint = 'Name existing columns in the roots.';
        end if;
        condition := condition || format(' and c.%I = %L::%s',
            column_name, wanted ->> column_name, type_name);
    end loop;
    return condition;
end
$$;

-- Every way from a row to rows that go with it: what it refers to and what is its own. `query`
-- takes identities and returns those at the other end.
create function syncjournal.pack_ways(options jsonb)
returns table (from_table regclass, to_table regclass, query text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with way as (
        select r.child as near, r.parent as far, r.*,
            r.child_identity as from_identity, r.parent_identity as to_identity,
            'c' as near_name, 'p' as far_name
        from syncjournal.pack_references(null) r where r.is_held
        union all
        select r.parent, r.child, r.*, r.parent_identity, r.child_identity, 'p', 'c'
        from syncjournal.pack_references(null) r
        where r.is_owned and r.is_held and options -> 'owned' is distinct from 'false'),
    wanted as (
        select distinct far from way
        where not syncjournal.is_out_of_pack(far, options))
    select w.near, w.far, format(
        'select array_agg(distinct %s.%I) from %s c join %s p on %s where %s.%I = any ($1)',
        w.far_name, w.to_identity, syncjournal.referring_table(w.child),
        syncjournal.referring_table(w.parent), w.matches, w.near_name, w.from_identity)
    from way w join wanted using (far)
$$;

-- The rows asked for and all that goes with them, each once.
create function syncjournal.pack_closure(roots jsonb, options jsonb)
returns table (relid regclass, row_ids uuid[])
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    tables oid[];
    ids uuid[];
    new_tables oid[] := '{}';
    new_ids uuid[] := '{}';
    seen_tables oid[] := '{}';
    seen_ids uuid[] := '{}';
    ways jsonb := (select jsonb_agg(to_jsonb(w) || jsonb_build_object(
        'from', w.from_table::oid::int8, 'to', w.to_table::oid::int8))
        from syncjournal.pack_ways(options) w);
    way record;
    reached uuid[];
begin
    select array_agg(r.relid::oid), array_agg(r.row_id) into tables, ids
    from (select distinct x.relid, x.row_id from syncjournal.pack_roots(roots) x) r;
    while cardinality(tables) > 0 loop
        seen_tables := seen_tables || tables;
        seen_ids := seen_ids || ids;
        new_tables := '{}';
        new_ids := '{}';
        for way in
            select (w ->> 'to')::oid as far, w ->> 'query' as query, s.starts
            from (
                select u.t, array_agg(u.i) as starts
                from unnest(tables, ids) u(t, i) group by u.t) s
                join jsonb_array_elements(ways) w on (w ->> 'from')::oid = s.t
        loop
            execute way.query into reached using way.starts;
            new_ids := new_ids || reached;
            new_tables := new_tables || array_fill(way.far, array[coalesce(
                cardinality(reached), 0)]);
        end loop;
        select coalesce(array_agg(f.t), '{}'), array_agg(f.i) into tables, ids
        from (
            select u.t, u.i from unnest(new_tables, new_ids) u(t, i)
            except select u.t, u.i from unnest(seen_tables, seen_ids) u(t, i)) f;
    end loop;
    return query
        select u.t::regclass, array_agg(u.i order by u.i)
        from unnest(seen_tables, seen_ids) u(t, i) group by u.t;
end
$$;

-- SQL that reads rows of a table as packs and imports have them: the columns as one object, and the
-- uuids of the rows that they refer to. $1 are identities. What the caller may not read of a parent
-- stays a plain key.
create function syncjournal.pack_query(relation regclass, excluded text[]) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    t record;
    parents text;
begin
    select * into t from syncjournal.pack_table(relation);
    select string_agg(format('%L, (select p.%I from %s p where %s)',
        r.label, r.parent_identity, syncjournal.referring_table(r.parent), r.matches), ', ')
    into parents
    from syncjournal.pack_references(array[relation]) r
    where r.child = relation and not r.child_columns::text[] && excluded and syncjournal.pack_may_refer(r.parent, r.parent_identity,
        r.parent_columns);
    return format('select c.%I as row_id, c.sync_version as version, %s as columns,'
        ' jsonb_strip_nulls(jsonb_build_object(%s)) as refs from %s c where c.%I = any ($1)',
        t.identity, syncjournal.pack_object(relation, 'c', excluded), parents,
        syncjournal.referring_table(relation), t.identity);
end
$$;

create function syncjournal.pack_may_refer(parent regclass, identity name, columns name[])
returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select bool_and(has_column_privilege(parent, c::text, 'select'))
        and has_schema_privilege((select relnamespace from pg_class where oid = parent), 'usage')
    from unnest(identity || columns) c
$$;

-- A table's part of a pack. What goes as a reference is no plain value too.
create function syncjournal.pack_rows(relation regclass, row_ids uuid[], excluded text[])
returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    rows jsonb;
    -- Columns that mean something in this database only; those of each reference.
    own text[] := array(
        select c.name::text from syncjournal.pack_columns(relation) c where c.is_own);
    covered jsonb := (
        select jsonb_object_agg(r.label, r.child_columns)
        from syncjournal.pack_references(array[relation]) r where r.child = relation);
begin
    execute format(
        'select jsonb_agg(r || jsonb_build_object(''digest'', syncjournal.pack_digest(r))'
        ' order by row_id) from (select q.row_id, jsonb_build_object(''row_id'', q.row_id,'
        ' ''version'', q.version, ''changed_at'', syncjournal.version_time(q.version),'
        ' ''values'', q.columns - $3 - array(select c from jsonb_object_keys(q.refs) l'
        ' cross join jsonb_array_elements_text($2 -> l) c), ''references'', q.refs) as r'
        ' from (%s) q) p', syncjournal.pack_query(relation, excluded))
    into rows using row_ids, covered, own;
    return jsonb_build_object(
        'columns', (
            select coalesce(jsonb_object_agg(c.name, c.type_name), '{}')
            from syncjournal.pack_columns(relation) c where c.name <> all (own || excluded)),
        'references', (
            select coalesce(jsonb_object_agg(r.label, r.parent::text), '{}')
            from syncjournal.pack_references(array[relation]) r where r.child = relation),
        'excluded_columns', to_jsonb(excluded), 'rows', coalesce(rows, '[]'));
end
$$;

create function syncjournal.export_pack(roots jsonb, options jsonb default '{}') returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC'
set extra_float_digits = 3 set bytea_output = 'hex' set lc_monetary = 'C' set jit = off
as $$
declare
    tables jsonb;
begin
    perform syncjournal.check_pack_options(
        options, '{"exclude": "array", "exclude_columns": "object", "owned": "boolean"}');
    select coalesce(jsonb_object_agg(t.name, syncjournal.pack_rows(
        c.relid, c.row_ids, syncjournal.pack_excluded(c.relid, options))), '{}')
    into tables
    from syncjournal.pack_closure(roots, options) c
        cross join lateral syncjournal.pack_table(c.relid) t;
    return jsonb_build_object('format', 'syncjournal-pack', 'format_version', 1,
        'source', syncjournal.pack_source(), 'exported_at', now(),
        'position', pg_current_snapshot()::text, 'roots', roots, 'options', options,
        'tables', tables, 'digest', syncjournal.pack_digest(tables));
end
$$;

-- Where a pack is made: the node, where this database is one.
create function syncjournal.pack_source() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('node_id', k.node_id, 'name', k.node_name, 'rank', k.rank)
    from syncjournal.known_node k where k.node_id = syncjournal.require_node()
$$;
