-- Foreign keys verified at the end of a call of apply (constraints => 'enforce'): which there are,
-- and the queries that do it. Native code (extension/src/apply/foreign_keys) runs them.
--
-- A replica's session fires no foreign key's trigger. Each query reads one of the two tables with
-- its owner's rights, as those triggers do; between them keys go as text, which every type has.

-- A type's name, that of its base where it is a domain: a value is not to be checked again with
-- the rights of another table's owner.
create function syncjournal.base_type_name(of_type oid) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    base pg_type := (select t from pg_type t where t.oid = of_type);
begin
    while base.typtype = 'd' loop
        base := (select t from pg_type t where t.oid = base.typbasetype);
    end loop;
    return format('%I.%I',
        (select nspname from pg_namespace n where n.oid = base.typnamespace), base.typname);
end
$$;

-- A comparison by the constraint's own operator, whatever the search path and the operands' types.
create function syncjournal.comparison(left_side text, operator_id oid, right_side text)
returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select format('%s::%s operator(%I.%s) %s::%s',
        left_side, syncjournal.base_type_name(o.oprleft), n.nspname, o.oprname,
        right_side, syncjournal.base_type_name(o.oprright))
    from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
    where o.oid = operator_id
$$;

-- A foreign key's columns, each with what a query needs of it: `child` and `parent` name the
-- columns, `referred` compares a key given (k) with the parent's, `replaced` a parent's old key
-- with its new ones, `used` that with the child's.
create function syncjournal.foreign_key_columns(constraint_id oid)
returns table (
    place int8, child name, parent name, referred text, replaced text, used text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select u.place, f.attname, p.attname,
        syncjournal.comparison(format('p.%I', p.attname), u.parent_to_child,
            format('k.k%s::%s', u.place, syncjournal.base_type_name(f.atttypid))),
        syncjournal.comparison(format('p.%I', p.attname), u.parent_to_parent,
            format('k.k%s::%s', u.place, syncjournal.base_type_name(p.atttypid))),
        syncjournal.comparison(
            format('k.k%s::%s', u.place, syncjournal.base_type_name(p.atttypid)),
            u.parent_to_child, format('c.%I', f.attname))
    from pg_constraint c
        cross join unnest(c.conkey, c.confkey, c.conpfeqop, c.conppeqop)
            with ordinality u(fk, pk, parent_to_child, parent_to_parent, place)
        join pg_attribute f on f.attrelid = c.conrelid and f.attnum = u.fk
        join pg_attribute p on p.attrelid = c.confrelid and p.attnum = u.pk
    where c.oid = constraint_id
$$;

-- A table as a foreign key means it: without what inherits from it, with its partitions.
create function syncjournal.referring_table(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select format('%s%I.%I', case c.relkind when 'p' then '' else 'only ' end, n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation
$$;

-- Each query takes the rows' identities, one array for each column of the key, and identities of
-- rows that are not to count: all as text.
--   keys      of the child's rows: identities and keys, as arrays; rows without a key are not in it
--   mixed     rows whose key is null in part, where MATCH FULL forbids it
--   orphans   keys that have no parent; the parents of the others are held fast
--   absent    a parent's former keys that no row of it has now: identities and keys, as arrays
--   used      keys that a child still has; not held fast, so that tables without an index on the key
--             are read once and not for each. One that is being deleted counts: it is tried again
create function syncjournal.foreign_key_queries(
    key pg_constraint,
    out keys text, out mixed text, out orphans text, out absent text, out used text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    child text := syncjournal.referring_table(key.conrelid);
    parent text := syncjournal.referring_table(key.confrelid);
    -- The identities by which rows are known, where the tables are tracked.
    child_identity name := (
        select t.identity_column from syncjournal.tracked_relation t
        where t.relid = coalesce(pg_partition_root(key.conrelid), key.conrelid));
    parent_identity name := (
        select t.identity_column from syncjournal.tracked_relation t
        where t.relid = coalesce(pg_partition_root(key.confrelid), key.confrelid));
    width int := cardinality(key.conkey);
    given text;
    among_given text;
    all_keys text;
    aggregated text;
    columns record;
    uncounted text := ' and %s.%I operator(pg_catalog.<>) all ($' || width + 2 || '::uuid[])';
begin
    select string_agg(', pg_catalog.unnest($' || n + 1 || '::text[])', ''), string_agg(format(', k%s', n), ''),
        string_agg(format('k.k%s', n), ', '),
        string_agg(format(', pg_catalog.array_agg(k.k%s)::text', n), '')
    into given, among_given, all_keys, aggregated
    from generate_series(1, width) n;
    given := format('rows from (pg_catalog.unnest($1::uuid[])%s) as k (id%s)', given, among_given);
    select string_agg(format(', pg_catalog.array_agg(c.%I::text)::text', f.child), ''
            order by f.place) as texts,
        string_agg(format('c.%I is null', f.child), ' and ' order by f.place) as all_null,
        string_agg(format('c.%I is null', f.child), ' or ' order by f.place) as any_null,
        string_agg(f.referred, ' and ' order by f.place) as referred,
        string_agg(f.replaced, ' and ' order by f.place) as replaced,
        string_agg(f.used, ' and ' order by f.place) as used
    into columns
    from syncjournal.foreign_key_columns(key.oid) f;
    if parent_identity is not null then
        columns.referred := columns.referred || format(uncounted, 'p', parent_identity);
        columns.replaced := columns.replaced || format(uncounted, 'p', parent_identity);
    end if;
    if child_identity is not null then
        columns.used := columns.used || format(uncounted, 'c', child_identity);
        keys := format('select pg_catalog.array_agg(r.id)::text%s'
            ' from pg_catalog.unnest($1::uuid[]) as r (id) join %s c'
            ' on c.%I operator(pg_catalog.=) r.id where not (%s)',
            columns.texts, child, child_identity, columns.any_null);
        mixed := format('select r.id, null from pg_catalog.unnest($1::uuid[]) as r (id) join %s c'
            ' on c.%I operator(pg_catalog.=) r.id where (%s) and not (%s)',
            child, child_identity, columns.any_null, columns.all_null);
    end if;
    orphans := format('select k.id, pg_catalog.concat_ws('', '', %s) from %s where not exists ('
        'select from %s p where %s for key share of p)', all_keys, given, parent, columns.referred);
    absent := format('select pg_catalog.array_agg(k.id)::text%s from %s where not exists ('
        'select from %s p where %s for key share of p)',
        aggregated, given, parent, columns.replaced);
    used := format('select k.id, pg_catalog.concat_ws('', '', %s) from %s where exists ('
        'select from %s c where %s)', all_keys, given, child, columns.used);
    if key.confmatchtype <> 'f' or width = 1 then
        mixed := null;
    end if;
end
$$;

-- The foreign keys that a table (not a partitioned one: a leaf) refers by, and is referred to by.
-- Those of a partition that are its root's are the root's. One whose triggers somebody has
-- disabled is not enforced by Postgres either.
create function syncjournal.foreign_keys_of(leaf regclass)
returns table (
    constraint_id oid, constraint_name name, is_child boolean, columns text,
    own_columns text, child_name name, parent_name name, child_owner oid, parent_owner oid,
    child_relation int4, parent_relation int4,
    keys text, mixed text, orphans text, absent text, used text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with lineage as (
        select leaf::oid as relid union select relid::oid from pg_partition_ancestors(leaf)),
    sides as (
        select c as key, true as is_child from pg_constraint c
        where c.contype = 'f' and c.conparentid = 0 and c.conrelid in (select relid from lineage)
        union all
        select c, false from pg_constraint c
        where c.contype = 'f' and c.conparentid = 0 and c.confrelid in (select relid from lineage))
    select (s.key).oid, (s.key).conname, s.is_child, n.columns, n.own_columns,
        child.relname, parent.relname, child.relowner, parent.relowner,
        (select t.relation_id from syncjournal.tracked_relation t
         where t.relid = coalesce(pg_partition_root(child.oid), child.oid)),
        (select t.relation_id from syncjournal.tracked_relation t
         where t.relid = coalesce(pg_partition_root(parent.oid), parent.oid)),
        q.*
    from sides s
        join pg_class child on child.oid = (s.key).conrelid
        join pg_class parent on parent.oid = (s.key).confrelid
        cross join lateral syncjournal.foreign_key_queries(s.key) q
        cross join lateral (
            select string_agg(case when s.is_child then f.child else f.parent end, ', '
                    order by f.place) as columns,
                string_agg(case when s.is_child then f.child else f.parent end, e'\x01'
                    order by f.place) as own_columns
            from syncjournal.foreign_key_columns((s.key).oid) f) n
    where not exists (
        select from pg_trigger g where g.tgconstraint = (s.key).oid and g.tgenabled = 'D')
$$;
