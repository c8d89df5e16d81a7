-- Packs: what becomes of each row of an import, and with which keys.

-- Refuses what the caller may not read or write, before anything is written: all tables or none.
create function syncjournal.check_pack_rights(
    items syncjournal.pack_item[], options jsonb)
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    lacking text;
begin
    with table_used as (
        select t.relid, t.identity::text
        from (select distinct relid from unnest(items)) i
            cross join lateral syncjournal.pack_table(i.relid) t),
    used as (
        select distinct i.relid, key
        from unnest(items) i cross join jsonb_object_keys(i.given) key
        union
        select distinct i.relid, c
        from unnest(items) i
            join syncjournal.pack_references(array(select distinct relid from unnest(items))) r
                on r.child = i.relid and i.refs ? r.label
            cross join unnest(r.child_columns::text[]) c),
    needed as (
        select u.relid, u.key, p.privilege
        from used u cross join (values ('insert'), ('update')) p(privilege)
        union all
        select relid, identity, 'insert' from table_used
        union all
        select t.relid, c, 'select'
        from table_used t cross join unnest(array(
            select name::text from syncjournal.pack_columns(t.relid)
            where name <> all (syncjournal.pack_excluded(t.relid, options))) || t.identity || 'sync_version'::text) c),
    missing as (
        select distinct n.relid, n.privilege from needed n
        where not has_column_privilege(n.relid, n.key, n.privilege)
            and (n.privilege <> 'update' or exists (
                select from unnest(items) i where i.relid = n.relid and i.mode <> 'if_not_exists'))
        union
        select distinct i.relid, 'usage of its schema'
        from unnest(items) i join pg_class c on c.oid = i.relid
        where not has_schema_privilege(c.relnamespace, 'usage'))
    select string_agg(format('%s on %s', privileges, relid), '; ') into lacking
    from (
        select relid, string_agg(privilege, ', ' order by privilege) as privileges
        from missing group by relid order by relid::text) m;
    if lacking is not null then
        raise exception 'you may not import all of the pack' using
            errcode = 'insufficient_privilege', detail = format('Missing: %s.', lacking),
            hint = 'Nothing was imported. Get the rights, or leave tables out by option "exclude".';
    end if;
end
$$;

-- The tables whose rows share their identity because it refers from one to the other.
create function syncjournal.pack_kin(relation regclass) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with recursive link as (
        select child, parent from syncjournal.pack_references(null)
        where child_columns = array[child_identity] and parent_columns = array[parent_identity]),
    kin(relid) as (
        select relation
        union
        select case when k.relid = l.child then l.parent else l.child end
        from kin k join link l on k.relid in (l.child, l.parent))
    select relid from kin
$$;

-- Which of the rows stand in some other tracked table.
create function syncjournal.pack_strangers(relation regclass, row_ids uuid[])
returns table (row_id uuid, elsewhere regclass)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    other syncjournal.tracked_relation;
begin
    for other in
        select * from syncjournal.tracked_relation
        where relid not in (select syncjournal.pack_kin(relation))
    loop
        return query execute format(
            'select c.%1$I, $2::regclass from %2$s c where c.%1$I = any ($1)',
            other.identity_column, syncjournal.referring_table(other.relid))
        using row_ids, other.relid;
    end loop;
end
$$;

-- A uuid names one row of one table.
create function syncjournal.check_pack_identities(items syncjournal.pack_item[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    bad record;
begin
    select i.relid, i.row_id into bad from unnest(items) i
    group by i.relid, i.row_id having count(*) > 1 limit 1;
    if found then
        raise exception 'row % of table "%" is in the pack more than once', bad.row_id, bad.relid
            using errcode = 'cardinality_violation', hint = 'Keep one of them.';
    end if;
    select s.row_id, t.relid, s.elsewhere into bad
    from (select relid, array_agg(row_id) as ids from unnest(items) group by relid) t
        cross join lateral (
            select * from syncjournal.pack_strangers(t.relid, t.ids)
            union all
            select o.row_id, o.relid from unnest(items) o
            where o.row_id = any (t.ids) and o.relid <> t.relid
                and o.relid not in (select syncjournal.pack_kin(t.relid))) s
    limit 1;
    if found then
        raise exception 'row % of table "%" belongs to table "%"',
            bad.row_id, bad.relid, bad.elsewhere using errcode = 'integrity_constraint_violation',
            hint = 'Nothing was imported. A uuid names one row: give the new one a uuid of its own.';
    end if;
end
$$;

-- The items with their values as the table's types have them: what an import compares and writes.
create function syncjournal.pack_normalised(relation regclass, items syncjournal.pack_item[])
returns syncjournal.pack_item[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    read text := (
        select string_agg(format('%s as %I', syncjournal.pack_read(
            c.kind, c.type_name, '"~item".given', c.name), c.name), ', ' order by c.place)
        from syncjournal.pack_columns(relation) c);
    done syncjournal.pack_item[];
begin
    -- A column of the table may have any name: the item is to be taken for none.
    execute format('select array_agg(jsonb_populate_record("~item", jsonb_build_object(''given'', ('
        'select coalesce(jsonb_object_agg(e.key, e.value), ''{}'') from jsonb_each(%s) e'
        ' where "~item".given ? e.key)))) from unnest($1) "~item"'
        ' cross join lateral (select %s offset 0) v',
        syncjournal.pack_object(relation, 'v', '{}'), coalesce(read, 'null as nothing'))
    into done using items;
    return done;
exception when data_exception or integrity_constraint_violation or invalid_text_representation then
    perform syncjournal.name_pack_value(relation, items);
    raise;
end
$$;

-- Finds the value that cannot be read, and says where it is.
create function syncjournal.name_pack_value(
    relation regclass, items syncjournal.pack_item[])
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    item syncjournal.pack_item;
    c record;
begin
    foreach item in array items loop
        for c in select * from syncjournal.pack_columns(relation) where item.given ? name loop
            begin
                execute format('select %s', syncjournal.pack_read(
                    c.kind, c.type_name, '$1', c.name)) using item.given;
            exception when others then
                raise exception 'row % of table "%", column "%": %',
                    item.row_id, relation, c.name, sqlerrm
                    using errcode = sqlstate, hint = 'Nothing was imported. Correct the value.';
            end;
        end loop;
    end loop;
end
$$;

-- The items of a table with what stands here; rows that may be overwritten are held fast.
create function syncjournal.pack_beside(
    relation regclass, items syncjournal.pack_item[], excluded text[], is_locking boolean)
returns syncjournal.pack_item[]
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    t record;
    done syncjournal.pack_item[];
begin
    select * into t from syncjournal.pack_table(relation);
    execute format('with h as materialized (%s%s)'
        ' select array_agg(jsonb_populate_record(i, jsonb_build_object(''here'', h.columns ||'
        ' jsonb_build_object(%L, h.row_id), ''here_refs'', h.refs, ''here_version'', h.version,'
        ' ''known_version'', coalesce(m.source_version, h.version))))'
        ' from unnest($2) i left join h using (row_id) left join syncjournal.imported_row m'
        ' on m.relid = i.relid and m.row_id = i.row_id and m.version = h.version',
        syncjournal.pack_query(relation, excluded),
        case when is_locking then ' for no key update of c' else '' end, t.identity)
    into done using array(select i.row_id from unnest(items) i), items;
    return done;
end
$$;

-- What is known of rows from the journal: when one that is gone went, and what a row that stands here
-- holds that its source cannot have known.
create function syncjournal.pack_past(items syncjournal.pack_item[])
returns table (relid regclass, row_id uuid, tombstone uuid, overwrites text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select i.relid, i.row_id, s.version,
        case when i.here_version is not null and i.here_version is distinct from i.version
                -- Not as an import left it.
                and i.known_version = i.here_version
                and (i.here_version > i.version or i.version is null
                    or syncjournal.version_node(i.here_version) = k.node_tag)
            then format('overwrites what was changed here%s at %s',
                coalesce(format(' by node "%s"', w.node_name), ''),
                syncjournal.version_time(i.here_version)) end
    from unnest(items) i
        join syncjournal.tracked_relation t on t.relid = i.relid
        left join syncjournal.tombstone s
            on s.relation_id = t.relation_id and s.row_id = i.row_id and i.here is null
        left join syncjournal.local_node l on true
        left join syncjournal.known_node k on k.node_id = l.node_id
        left join syncjournal.known_node w
            on w.node_tag = syncjournal.version_node(i.here_version)
$$;

-- The first word on each row, by its table's mode. A key of its own making that a row has here stays.
create function syncjournal.pack_verdicts(items syncjournal.pack_item[])
returns syncjournal.pack_item[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with k as materialized (
        select r.relid, t.identity, array(
            select c.name::text from syncjournal.pack_columns(r.relid) c
            where c.is_key and c.fresh is not null) as kept
        from (select distinct relid from unnest(items)) r
            cross join lateral syncjournal.pack_table(r.relid) t)
    select array_agg(jsonb_populate_record(i, jsonb_build_object('action', v.action,
        'given', i.given - o.own_key,
        'final', case v.action when 'created'
            then i.given || jsonb_build_object(o.identity, i.row_id)
            when 'updated' then i.here || (i.given - o.own_key) else i.here end,
        'reason', nullif(concat_ws('; ', v.reason,
            case when v.action = 'updated' then p.overwrites end,
            case when i.is_edited and v.action in ('created', 'updated')
                then 'edited since its export' end), ''))))
    from unnest(items) i
        join syncjournal.pack_past(items) p using (relid, row_id)
        join k using (relid)
        cross join lateral (
            select k.identity,
                case when i.here is null then '{}' else k.kept end as own_key) o
        cross join lateral (
            select i.here_refs @> i.refs and not exists (
                select from jsonb_each(i.given - o.own_key) e
                where i.here -> e.key is distinct from e.value) as is_same,
                coalesce(i.version, '00000000-0000-0000-0000-000000000000') as version,
                coalesce(i.known_version, p.tombstone,
                    '00000000-0000-0000-0000-000000000000') as known) s
        cross join lateral (
            select case
                when i.here is not null and i.mode = 'if_not_exists' then 'skipped_exists'
                when s.is_same then 'unchanged'
                when i.mode = 'if_newer' and (i.here is not null or p.tombstone is not null)
                    and not (s.version > s.known or s.version = s.known and i.is_edited)
                    then 'skipped_older'
                when i.here is null then 'created' else 'updated' end as action,
            case when p.tombstone is not null then format('deleted here at %s',
                syncjournal.version_time(p.tombstone)) end as reason) v
$$;
