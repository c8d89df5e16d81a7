-- Registering the other ends.

create function syncjournal.peer_named(name text) returns syncjournal.registered_peer
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    found_peer syncjournal.registered_peer;
begin
    select * into found_peer from syncjournal.registered_peer p where p.peer_name = name;
    if not found then
        raise exception 'there is no peer "%"', name
            using errcode = 'undefined_object',
                hint = format('Register it: select syncjournal.add_peer(%L).', name);
    end if;
    return found_peer;
end
$$;

create function syncjournal.check_peer(
    node_id uuid, include text[], exclude text[], slices text[], direction text)
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if node_id = syncjournal.require_node() then
        raise exception 'a database is not its own peer'
            using errcode = 'invalid_parameter_value',
                hint = 'Give the node_id that the other database has in its view syncjournal.node.';
    elsif direction not in ('send', 'receive', 'both') then
        raise exception 'unknown direction "%"', direction
            using errcode = 'invalid_parameter_value', hint = 'Use send, receive or both.';
    end if;
    perform syncjournal.check_slices(slices);
    -- For the error that a misshapen pattern gives.
    perform syncjournal.relation_matches('', '', include, exclude);
end
$$;

-- How entries of a peer that cannot be applied are treated; nulls stand for what is set already.
create function syncjournal.check_peer_rules(constraints text, stop_on text[]) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
    wrong text;
begin
    if constraints not in ('trust', 'enforce') then
        raise exception 'unknown treatment of constraints "%"', constraints
            using errcode = 'invalid_parameter_value', hint = 'Use trust or enforce.';
    end if;
    select coalesce(code, 'null') into wrong
    from unnest(stop_on) code
    where code is null or code !~ '^[0-9A-Z]{2}([0-9A-Z]{3})?$'
    limit 1;
    if found then
        raise exception 'invalid SQLSTATE "%"', wrong
            using errcode = 'invalid_parameter_value',
                hint = 'Each element of stop_on is a code of five characters, such as 23505, '
                    'or a class of two, such as 23.';
    end if;
end
$$;

create function syncjournal.insert_peer(
    name text, node_id uuid, include text[], exclude text[], direction text, by_link boolean,
    constraints text, stop_on text[])
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    new_peer int2;
begin
    insert into syncjournal.registered_peer (
        peer_name, node_id, include, exclude, direction, by_link, constraints, stop_on)
    values (
        name, node_id, include, exclude, direction, by_link,
        coalesce(constraints, 'trust'), coalesce(stop_on, '{}'))
    returning peer_id into new_peer;
    insert into syncjournal.peer_activity (peer_id) values (new_peer);
    perform syncjournal.refuse_two_ways();
exception when unique_violation then
    raise exception 'peer "%" or its node is registered already', name
        using errcode = 'duplicate_object', hint = 'Change it by syncjournal.alter_peer().';
end
$$;

create function syncjournal.add_peer(
    name text,
    node_id uuid default null,
    include text[] default '{*.*}',
    exclude text[] default '{}',
    slices text[] default '{}',
    direction text default 'both',
    constraints text default 'trust',
    stop_on text[] default '{}')
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform syncjournal.check_peer(node_id, include, exclude, slices, direction);
    perform syncjournal.check_peer_rules(constraints, stop_on);
    perform syncjournal.insert_peer(
        name, node_id, include, exclude, direction, false, constraints, stop_on);
    update syncjournal.registered_peer p set slices = coalesce(add_peer.slices, '{}')
    where p.peer_name = name;
end
$$;

-- Nulls leave as it was what they stand for.
create function syncjournal.alter_peer(
    name text,
    node_id uuid default null,
    include text[] default null,
    exclude text[] default null,
    slices text[] default null,
    direction text default null,
    active boolean default null,
    constraints text default null,
    stop_on text[] default null)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    was syncjournal.registered_peer := syncjournal.peer_named(name);
    now_is syncjournal.registered_peer := was;
begin
    perform syncjournal.check_peer(
        coalesce(node_id, was.node_id), coalesce(include, was.include),
        coalesce(exclude, was.exclude), coalesce(slices, was.slices),
        coalesce(direction, was.direction));
    perform syncjournal.check_peer_rules(constraints, stop_on);
    now_is.include := coalesce(include, was.include);
    now_is.exclude := coalesce(exclude, was.exclude);
    now_is.slices := coalesce(slices, was.slices);
    perform syncjournal.lock_changed_tables(was, now_is);
    update syncjournal.registered_peer p
    set node_id = coalesce(alter_peer.node_id, p.node_id),
        direction = coalesce(alter_peer.direction, p.direction),
        active = coalesce(alter_peer.active, p.active),
        constraints = coalesce(alter_peer.constraints, p.constraints),
        stop_on = coalesce(alter_peer.stop_on, p.stop_on),
        by_link = false
    where p.peer_id = was.peer_id;
    if active <> was.active then
        perform syncjournal.note_activity(
            name, case when active then 'switched_on' else 'switched_off' end, 'here');
    end if;
    perform syncjournal.change_lists(was, now_is);
    perform syncjournal.refuse_two_ways();
end
$$;

create function syncjournal.drop_peer(name text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from syncjournal.registered_peer
    where peer_id = (syncjournal.peer_named(name)).peer_id;
end
$$;

-- An agent's link makes itself known, and learns the name by which its other end goes here. The
-- node is null where the other end is not at hand (a set that leaves as a file).
-- What a person has said of the peer's direction is never widened; of constraints and stop_on the
-- link's own word counts where it has one (not null), since its configuration is a person's too; of
-- slices where it is another than before, so that what alter_peer says since then holds.
create function syncjournal.register_link(
    peer_name text,
    peer_node uuid,
    direction text,
    constraints text default null,
    stop_on text[] default null,
    slices text[] default null)
returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.registered_peer;
    now_is syncjournal.registered_peer;
begin
    perform syncjournal.check_peer(peer_node, '{}', '{}', coalesce(slices, '{}'), direction);
    perform syncjournal.check_peer_rules(constraints, stop_on);
    select * into known from syncjournal.registered_peer p
    where p.node_id = peer_node or p.peer_name = register_link.peer_name
    order by p.node_id = peer_node desc nulls last
    limit 1;
    if not found then
        perform syncjournal.insert_peer(
            peer_name, peer_node, '{*.*}', '{}', direction, true, constraints, stop_on);
        update syncjournal.registered_peer p
        set slices = coalesce(register_link.slices, '{}'), link_slices = register_link.slices
        where p.peer_name = register_link.peer_name;
        return peer_name;
    elsif known.node_id <> peer_node then
        raise exception 'peer "%" is another node', peer_name
            using errcode = 'duplicate_object',
                detail = format('It is registered as node %s, and the link leads to %s.',
                    known.node_id, peer_node),
                hint = 'Register the node under a name of its own by syncjournal.add_peer().';
    elsif known.direction not in ('both', direction) and not known.by_link then
        raise exception 'peer "%" is registered for direction "%" only',
            known.peer_name, known.direction
            using errcode = 'object_not_in_prerequisite_state',
                hint = format('Allow it: select syncjournal.alter_peer(%L, direction => ''both'').',
                    known.peer_name);
    end if;
    now_is := known;
    if slices is distinct from known.link_slices then
        now_is.slices := coalesce(slices, known.slices);
        perform syncjournal.lock_changed_tables(known, now_is);
    end if;
    -- Two sessions of an agent may come at once: the second has nothing to change then.
    perform from syncjournal.registered_peer p where p.peer_id = known.peer_id for update;
    if exists (
        select from syncjournal.registered_peer p
        where p.peer_id = known.peer_id
            and p.link_slices is not distinct from register_link.slices) then
        now_is.slices := known.slices;
    end if;
    update syncjournal.registered_peer p
    set node_id = coalesce(p.node_id, peer_node),
        direction = case when p.direction in ('both', register_link.direction)
            then p.direction else 'both' end,
        constraints = coalesce(register_link.constraints, p.constraints),
        stop_on = coalesce(register_link.stop_on, p.stop_on)
    where p.peer_id = known.peer_id
        and (p.node_id is null or p.direction not in ('both', register_link.direction)
            or p.constraints <> register_link.constraints
            or p.stop_on <> register_link.stop_on);
    if slices is distinct from known.link_slices and slices is not null then
        update syncjournal.registered_peer p set link_slices = register_link.slices
        where p.peer_id = known.peer_id;
    end if;
    perform syncjournal.change_lists(known, now_is);
    perform syncjournal.refuse_two_ways();
    return known.peer_name;
end
$$;

-- What the links to a peer select, of what it may have. It is kept, so that what they select anew is
-- brought when they change.
create function syncjournal.link_selects(peer text, include text[], exclude text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    was syncjournal.registered_peer := syncjournal.peer_named(peer);
    now_is syncjournal.registered_peer := was;
begin
    perform syncjournal.relation_matches('', '', include, exclude);
    now_is.link_include := include;
    now_is.link_exclude := exclude;
    perform syncjournal.change_lists(was, now_is);
end
$$;

create function syncjournal.peer_filter(
    peer text,
    out include text[], out exclude text[], out active boolean, out direction text,
    out peer_id int2, out slices text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    found_peer syncjournal.registered_peer := syncjournal.peer_named(peer);
begin
    include := found_peer.include;
    exclude := found_peer.exclude;
    active := found_peer.active;
    direction := found_peer.direction;
    peer_id := found_peer.peer_id;
    slices := (
        select coalesce(string_agg(format('%s %s %s %s', s.slice_id, s.on_leave, s.locked_by,
                (select max(o.opened_by) from syncjournal.slice_past o
                where o.slice_id = s.slice_id)), ',' order by s.slice_id), '')
        from syncjournal.slice s where s.slice_name = any (found_peer.slices));
end
$$;

-- Tables that go to the peer by slices.
create function syncjournal.sliced_tables(peer text) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select t.relid from syncjournal.registered_peer p
        join syncjournal.slice s on s.slice_name = any (p.slices)
        join syncjournal.tracked_relation t using (relation_id)
    where p.peer_name = peer
$$;

-- The slices by which the peer has the table of a layout; none where it has it by its lists.
create function syncjournal.layout_slices(
    peer text, layout_id int4, out slice_id int4, out on_leave text, out locks text[])
returns setof record
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select s.slice_id, s.on_leave, array(select syncjournal.slice_locks(array[s.slice_name]))
    from syncjournal.registered_peer p
        join syncjournal.slice s on s.slice_name = any (p.slices)
        join syncjournal.relation_layout y on y.relation_id = s.relation_id
    where p.peer_name = peer and y.layout_id = layout_slices.layout_id
$$;

-- The tracked tables that both the peer's lists and the link's select.
create function syncjournal.exported_tables(
    peer text, include text[] default null, exclude text[] default null)
returns setof text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    offer record := syncjournal.peer_filter(peer);
begin
    return query
        select format('%I.%I', n.nspname, c.relname)
        from syncjournal.select_tables(
                coalesce(include, '{*.*}'), coalesce(exclude, '{}'),
                array(select relid from syncjournal.tracked_relation)) wanted
            join pg_class c on c.oid = wanted
            join pg_namespace n on n.oid = c.relnamespace
        where syncjournal.relation_matches(
            n.nspname, c.relname,
            case when c.oid in (select syncjournal.sliced_tables(peer)) then '{*.*}'
                else offer.include end,
            offer.exclude)
        order by 1;
end
$$;
