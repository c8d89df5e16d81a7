-- Packs: what an export and an import both have to know of the tables. A pack is one JSON document
-- of rows with all that they refer to. Rows are read and written with the caller's own rights; what
-- has others' here only describes tables.

create function syncjournal.pack_table(relation regclass)
returns table (relid regclass, name text, identity name, has_own_identity boolean, keys text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select t.relid, format('%I.%I', n.nspname, c.relname), t.identity_column,
        not t.identity_added, t.keys
    from syncjournal.tracked(relation) t
        join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace
$$;

-- Tables whose rows can be referred to by uuid: tracked ones, and those with an identity only.
create function syncjournal.pack_identities()
returns table (relid regclass, identity name, keys text, exclude_columns name[], is_tracked boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select relid, identity_column, keys, exclude_columns, true from syncjournal.tracked_relation
    union all
    select relid, identity_column, 'local', '{}', false from syncjournal.identity_relation
$$;

-- The columns that packs know. `kind`: scalar (a JSON number or boolean), jsonb (nested), text.
-- `is_own`: a local key, which is in no pack. `fresh`: what gives a new row its value; null: nothing.
create function syncjournal.pack_columns(relation regclass)
returns table (
    place int2, name name, type_name text, kind text, is_required boolean, is_key boolean,
    is_own boolean, fresh text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select a.attnum, a.attname, format_type(a.atttypid, -1),
        case when syncjournal.base_type_name(a.atttypid) in (
                'pg_catalog.int2', 'pg_catalog.int4', 'pg_catalog.int8', 'pg_catalog."numeric"',
                'pg_catalog.float4', 'pg_catalog.float8', 'pg_catalog.bool') then 'scalar'
            when syncjournal.base_type_name(a.atttypid) = 'pg_catalog.jsonb' then 'jsonb'
            else 'text' end,
        a.attnotnull, coalesce(a.attname = any (syncjournal.primary_key(relation)), false),
        t.keys = 'local' and a.attname = any (syncjournal.own_integer_keys(relation)),
        case when a.attidentity <> '' then format('nextval(%L::regclass)',
                pg_get_serial_sequence(relation::text, a.attname))
            else pg_get_expr(d.adbin, d.adrelid) end
    from syncjournal.pack_identities() t
        join pg_attribute a on a.attrelid = t.relid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where t.relid = relation and a.attgenerated = ''
        and a.attname not in ('sync_version', t.identity) and a.attname <> all (t.exclude_columns)
$$;

-- The foreign keys from tracked tables to those with identities: in packs they go by the parent's uuid.
-- `matches` joins the child c with the parent p; `is_held`: packs may hold the parent.
create function syncjournal.pack_references(relations regclass[])
returns table (
    child regclass, parent regclass, label text, child_columns name[], parent_columns name[],
    child_identity name, parent_identity name, matches text, is_owned boolean, is_held boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select c.conrelid, parent.relid, k.label, k.child_columns, k.parent_columns,
        child.identity_column, parent.identity, k.matches,
        exists (
            select from syncjournal.declared_pack_edge e
            where e.child = c.conrelid and e.columns = k.child_columns), parent.is_tracked
    from pg_constraint c
        join syncjournal.tracked_relation child on child.relid = c.conrelid
        join syncjournal.pack_identities() parent
            on parent.relid = coalesce(pg_partition_root(c.confrelid), c.confrelid)
        cross join lateral (
            select string_agg(f.attname, ', ' order by u.place) as label,
                array_agg(f.attname order by u.place) as child_columns,
                array_agg(p.attname order by u.place) as parent_columns,
                string_agg(format('p.%I operator(%I.%s) c.%I',
                    p.attname, n.nspname, o.oprname, f.attname), ' and ' order by u.place)
                    as matches
            from unnest(c.conkey, c.confkey, c.conpfeqop)
                    with ordinality u(fk, pk, operator, place)
                join pg_attribute f on f.attrelid = c.conrelid and f.attnum = u.fk
                join pg_attribute p on p.attrelid = c.confrelid and p.attnum = u.pk
                join pg_operator o on o.oid = u.operator
                join pg_namespace n on n.oid = o.oprnamespace) k
    where c.contype = 'f' and c.conparentid = 0 and not k.child_columns && child.exclude_columns
        and not k.parent_columns && parent.exclude_columns
        and (relations is null or c.conrelid = any (relations) or parent.relid = any (relations))
$$;

-- A JSON null in a column of type jsonb would read as no value at all.
create function syncjournal.pack_wrap(value jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select case when value = 'null' or jsonb_typeof(value) = 'object' and value ? '$json'
        then jsonb_build_object('$json', value) else value end
$$;

create function syncjournal.pack_unwrap(value jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select case when value = 'null' then null
        when jsonb_typeof(value) = 'object' and value - '$json' = '{}' and value ? '$json'
            then value -> '$json'
        else value end
$$;

-- SQL that renders a value: as JSON where nothing is lost by it, else as the type's own text. A number
-- of up to 15 digits, the last one no zero of a fraction, comes unchanged through any tool with which somebody edits the pack.
create function syncjournal.pack_render(kind text, value text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select format(case kind
        when 'scalar' then 'case when to_jsonb(%1$s)::text = %1$s::text'
            ' and %1$s::text ~ ''^(true|false|-?([0-9]{1,15}|[0-9.]{1,15}[1-9]))$'''
            ' then to_jsonb(%1$s)'
            ' else to_jsonb(%1$s::text) end'
        when 'jsonb' then 'syncjournal.pack_wrap(%1$s)'
        -- A composite value of nulls is not null, and IS NOT NULL says that it is.
        else 'to_jsonb(case when %1$s is distinct from null then format(''%%s'', %1$s) end)' end,
        value)
$$;

-- SQL that reads what was rendered. No modifier: a value that is too long is to be an error.
create function syncjournal.pack_read(
    kind text, type_name text, source text, column_name name)
returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select format(case kind when 'jsonb' then 'syncjournal.pack_unwrap(%s -> %L)::%s'
        else '(%s ->> %L)::%s' end, source, column_name, type_name)
$$;

-- SQL for the columns of the row `source` as one object. No function takes as many arguments as a
-- table may have columns.
create function syncjournal.pack_object(relation regclass, source text, excluded text[])
returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(piece, ' || ' order by piece_number), '''{}''::jsonb')
    from (
        select (place_of - 1) / 40 as piece_number, format('jsonb_build_object(%s)', string_agg(
            format('%L, %s', name, syncjournal.pack_render(
                kind, format('%s.%I', source, name))), ', ' order by place_of)) as piece
        from (
            select c.*, row_number() over (order by c.place) as place_of
            from syncjournal.pack_columns(relation) c where c.name <> all (excluded)) numbered
        group by 1) pieces
$$;

-- What tells whether a row was edited since its export. It is no proof against forgery.
create function syncjournal.pack_digest(content jsonb) returns text
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp
as $$
    select encode(sha256(convert_to((content - 'digest')::text, 'UTF8')), 'hex')
$$;

-- Refuses options that are not known: a misspelt one would quietly do nothing.
create function syncjournal.check_pack_options(options jsonb, known jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
    bad text;
    wanted text;
begin
    if options is null or jsonb_typeof(options) <> 'object' then
        raise exception 'the options of a pack are a JSON object'
            using errcode = 'invalid_parameter_value',
                hint = format('Options are %s.', (select string_agg(k, ', ' order by k)
                    from jsonb_object_keys(known) k));
    end if;
    select key into bad from jsonb_object_keys(options) key where not known ? key limit 1;
    if found then
        raise exception 'unknown option "%" of a pack', bad
            using errcode = 'invalid_parameter_value',
                hint = format('Options are %s.', (select string_agg(k, ', ' order by k)
                    from jsonb_object_keys(known) k));
    end if;
    select o.key, case jsonb_typeof(known -> o.key)
        when 'array' then array_to_string(array(
            select jsonb_array_elements_text(known -> o.key)), ', ')
        else 'of type ' || (known ->> o.key) end
    into bad, wanted
    from jsonb_each(options) o
    where case jsonb_typeof(known -> o.key)
        when 'array' then not known -> o.key @> jsonb_build_array(o.value)
            or jsonb_typeof(o.value) = 'array'
        else jsonb_typeof(o.value) <> known ->> o.key end
    limit 1;
    if found then
        raise exception 'invalid value of option "%": %', bad, options -> bad
            using errcode = 'invalid_parameter_value',
                hint = format('It is to be %s.', wanted);
    end if;
end
$$;

-- A table by the name that a pack gives it.
create function syncjournal.pack_relation(name text) returns regclass
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    found_table regclass := to_regclass(name);
begin
    if found_table is null then
        raise exception 'table "%" does not exist', name
            using errcode = 'undefined_table',
                hint = 'Packs name tables as schema.table, quoted as in SQL where need be.';
    end if;
    return found_table;
end
$$;

-- Columns by table, from an option: {"public.t": ["a", "b"]}.
create function syncjournal.pack_exclusion(options jsonb)
returns table (relid regclass, column_name name)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    table_name text;
    columns jsonb;
    wrong text;
begin
    for table_name, columns in select * from jsonb_each(options -> 'exclude_columns') loop
        relid := syncjournal.pack_relation(table_name);
        if jsonb_typeof(columns) <> 'array' then
            raise exception 'invalid value of option "exclude_columns": %', columns
                using errcode = 'invalid_parameter_value',
                    hint = 'It is to be like {"public.t": ["a", "b"]}.';
        end if;
        select c into wrong from jsonb_array_elements_text(columns) c
        where c not in (select name from syncjournal.pack_columns(relid));
        if found then
            raise exception 'column "%" of table "%" is not in packs', wrong, table_name
                using errcode = 'undefined_column',
                    hint = 'Name columns in exclude_columns that exist and travel.';
        end if;
        for column_name in select jsonb_array_elements_text(columns) loop
            return next;
        end loop;
    end loop;
end
$$;

create function syncjournal.pack_excluded(relation regclass, options jsonb) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select array(
        select e.column_name::text from syncjournal.pack_exclusion(options) e
        where e.relid = relation)
$$;

-- Whether options leave a table out.
create function syncjournal.is_out_of_pack(relation regclass, options jsonb) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select not syncjournal.relation_matches(n.nspname, c.relname, '{*.*}',
        array(select jsonb_array_elements_text(options -> 'exclude')))
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation
$$;

-- The rows that refer to a row by these columns are its own: where it goes, they go.
create function syncjournal.declare_pack_edge(child regclass, columns text[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform syncjournal.tracked(child);
    perform syncjournal.check_columns(child, 'columns', columns);
    if not exists (
        select from syncjournal.pack_references(array[child]) r
        where r.child = declare_pack_edge.child and r.child_columns = columns::name[]) then
        raise exception 'table "%" has no foreign key (%) to a tracked table', child,
            array_to_string(columns, ', ') using errcode = 'undefined_object',
            hint = 'Name the columns in the order of the key, and track the table referred to.';
    end if;
    insert into syncjournal.declared_pack_edge values (child, columns::name[])
    on conflict do nothing;
end
$$;

create function syncjournal.drop_pack_edge(child regclass, columns text[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from syncjournal.declared_pack_edge e
    where e.child = drop_pack_edge.child and e.columns = drop_pack_edge.columns::name[];
    if not found then
        raise exception 'no such edge of table "%"', child
            using errcode = 'undefined_object',
                hint = 'View syncjournal.pack_edge lists those that are declared.';
    end if;
end
$$;

create view syncjournal.pack_edge as
select e.child, e.columns, r.parent
from syncjournal.declared_pack_edge e
    left join lateral syncjournal.pack_references(array[e.child]) r
        on r.child = e.child and r.child_columns = e.columns;
