-- How a table's conflicts are settled: its policy, its counters, its function; who goes first.

-- The policy by its proper name.
create function syncjournal.check_policy(policy text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
    known constant text[] := '{last_update_wins,first_update_wins,keep_local,apply_remote,'
        'merge_columns,node_priority,custom,manual}';
begin
    if policy = 'last_write_wins' then
        return 'last_update_wins';
    elsif policy = any (known) then
        return policy;
    end if;
    raise exception 'unknown conflict policy "%"', policy
        using errcode = 'invalid_parameter_value',
            hint = format('The policies are %s.', array_to_string(known, ', '));
end
$$;

-- Concurrent differences of these columns are added: what cannot be added, or does not travel, or
-- says which row it is, is no counter.
create function syncjournal.check_counters(
    relation regclass, counters text[], excluded text[], natural_key text[])
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    numbers constant regtype[] := '{int2,int4,int8,numeric,float4,float8}';
    keys name[] := syncjournal.primary_key(relation) || natural_key::name[];
    bad pg_attribute;
    reason text;
begin
    perform syncjournal.check_columns(relation, 'counters', counters);
    for bad in
        select a.* from pg_attribute a where a.attrelid = relation and a.attname = any (counters)
    loop
        reason := case
            when bad.atttypid <> all (numbers)
                then format('is of type %s', bad.atttypid::regtype)
            when bad.attname = any (keys) then 'belongs to the rows'' key'
            when bad.attname = any (excluded) then 'is excluded and does not travel'
            when bad.attgenerated <> '' then 'is generated and does not travel' end;
        if reason is not null then
            raise exception 'column "%" of table "%" cannot be a counter: it %',
                bad.attname, relation, reason using errcode = 'invalid_parameter_value',
                hint = 'Counters are columns of type smallint, integer, bigint, numeric, real or'
                    ' double precision, outside the key, that travel.';
        end if;
    end loop;
end
$$;

-- The full name of a policy's function; null where the policy needs none. It runs with the rights
-- of the table's owner, so it must belong to somebody who has those anyway.
create function syncjournal.check_merge_function(
    relation regclass, policy text, merge_function regproc)
returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    f pg_proc := (select f from pg_proc f where f.oid = merge_function);
    owner regrole := (select relowner from pg_class where oid = relation);
    shown regprocedure := f.oid;
begin
    if (policy = 'custom') <> (f.oid is not null) then
        raise exception '%', case policy when 'custom'
            then 'policy "custom" needs a merge function'
            else format('policy "%s" has no use for a merge function', policy) end
            using errcode = 'invalid_parameter_value',
                hint = 'conflict_policy => ''custom'' and merge_function go together.';
    elsif f.oid is null then
        return null;
    elsif f.prokind <> 'f' or f.proretset or f.prorettype <> 'jsonb'::regtype
        or f.proargtypes::text <> format('%1$s %1$s %1$s', 'jsonb'::regtype::oid) then
        raise exception 'function % cannot merge rows', shown
            using errcode = 'invalid_function_definition',
                hint = 'Declare it as name(base jsonb, local jsonb, remote jsonb) returns jsonb.';
    elsif f.proisstrict then
        raise exception 'function % is strict', shown
            using errcode = 'invalid_function_definition',
                detail = 'A row that one side has deleted, or that has no base, is passed as null.',
                hint = 'Declare it called on null input; a null result deletes the row.';
    elsif not pg_has_role(f.proowner, owner, 'usage') then
        raise exception 'function % does not belong to the owner of table "%"', shown, relation
            using errcode = 'insufficient_privilege',
                detail = format('It would run with the rights of role "%s".', owner),
                hint = format('Let it be owned by that role: alter function %s owner to %s.',
                    shown, owner);
    elsif not has_function_privilege(owner, f.oid, 'execute') then
        raise exception 'the owner of table "%" may not execute function %', relation, shown
            using errcode = 'insufficient_privilege',
                hint = format('Allow it: grant execute on function %s to %s.', shown, owner);
    end if;
    return format('%I.%I(jsonb,jsonb,jsonb)',
        (select nspname from pg_namespace n where n.oid = f.pronamespace), f.proname);
end
$$;

-- A function that settles conflicts stays as long as it does.
create function syncjournal.keep_merge_functions() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    bereft syncjournal.tracked_relation;
begin
    select * into bereft from syncjournal.tracked_relation
    where merge_function is not null and to_regprocedure(merge_function) is null limit 1;
    if found then
        raise exception 'function % settles the conflicts of tracked table "%"',
            bereft.merge_function, bereft.relid
            using errcode = 'dependent_objects_still_exist',
                hint = 'Give the table another function or policy first:'
                    ' syncjournal.alter_tracking().';
    end if;
end
$$;

-- Counters keep in step with the table: renamed with their column, gone with it.
create function syncjournal.follow_counters(
    now_tracked syncjournal.tracked_relation, columns name[], renamed name)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    kept name[] := array(
        select case when c = any (columns) then c else renamed end
        from unnest(now_tracked.counters) c where c = any (columns) or renamed is not null);
begin
    update syncjournal.tracked_relation t set counters = kept
    where t.relation_id = now_tracked.relation_id and t.counters <> kept;
    -- Its type may be another.
    perform syncjournal.check_counters(now_tracked.relid, kept::text[], '{}', '{}');
end
$$;

-- Tables whose policy converges on one-way links only, and the peers that both send and receive
-- them.
create function syncjournal.two_way_tables()
returns table (relation regclass, policy text, peer text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select t.relid, t.conflict_policy, p.peer_name
    from syncjournal.tracked_relation t
        join pg_class c on c.oid = t.relid
        join pg_namespace n on n.oid = c.relnamespace
        join syncjournal.registered_peer p on p.active and p.direction = 'both'
    where t.conflict_policy in ('keep_local', 'apply_remote')
        and syncjournal.relation_matches(n.nspname, c.relname, p.include, p.exclude)
    order by t.relid::text, p.peer_name
$$;

create function syncjournal.refuse_two_ways() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    bad record;
begin
    select * into bad from syncjournal.two_way_tables() limit 1;
    if found then
        raise exception 'policy "%" of table "%" is for links that go one way', bad.policy,
            bad.relation using errcode = 'object_not_in_prerequisite_state',
            detail = format('Peer "%s" both sends and receives the table: the two would not end'
                ' equal.', bad.peer),
            hint = 'Let the peer''s direction be send or receive, exclude the table from it, or'
                ' choose another policy: merge_columns, node_priority, manual.';
    end if;
end
$$;

-- Says what a change of policy leaves as it is.
create function syncjournal.tell_pending(was syncjournal.tracked_relation) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    waiting int8 := (
        select count(*) from syncjournal.conflict_log l
            join pg_class c on c.oid = was.relid
            join pg_namespace n on n.oid = c.relnamespace
        where l.status = 'pending' and l.schema_name = n.nspname and l.table_name = c.relname);
begin
    if waiting > 0 then
        raise notice '% conflicts of table "%" still wait for a decision', waiting, was.relid
            using hint = 'The new policy settles what comes from now on. Decide the earlier ones'
                ' by syncjournal.resolve_conflict().';
    end if;
end
$$;

-- The node that a name or an id means, here or yet to be met.
create function syncjournal.node_meant(node text, out node_id uuid, out node_tag int4)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    select k.node_id, k.node_tag into strict node_id, node_tag
    from syncjournal.known_node k where k.node_name = node or k.node_id::text = lower(node);
exception
    when too_many_rows then
        raise exception 'several nodes are called "%"', node
            using errcode = 'ambiguous_alias', hint = 'Give the id: see view syncjournal.node.';
    when no_data_found then
        if node ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
            node_id := node;
            node_tag := syncjournal.tag_of(node_id);
            return;
        end if;
        raise exception 'there is no node "%"', node using errcode = 'undefined_object',
            hint = 'View syncjournal.node has those that were met; of others give the id.';
end
$$;

-- Who wins under policy node_priority, first to last; nodes that are not named come after all that
-- are. The order must be the same on every node.
create function syncjournal.set_node_priority(nodes text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform syncjournal.require_node();
    if nodes is null or array_position(nodes, null) is not null then
        raise exception 'a node of the list is null' using errcode = 'null_value_not_allowed',
            hint = 'Give names or ids of nodes; an empty list takes all priorities away.';
    end if;
    lock table syncjournal.preferred_node in share row exclusive mode;
    delete from syncjournal.preferred_node;
    insert into syncjournal.preferred_node (place, node_id, node_tag)
    select n.place, m.node_id, m.node_tag
    from unnest(nodes) with ordinality n(node, place) cross join syncjournal.node_meant(n.node) m;
exception when unique_violation then
    raise exception 'a node is named twice' using errcode = 'invalid_parameter_value',
        hint = 'Name each node once; a name and an id may mean the same node.';
end
$$;
