-- Gates: who may send what to whom. An entry passes where the source offers it, the destination
-- accepts it, both have the other switched on, its operation is allowed and it goes not backward.

-- What happened to the gates, and what they did, one line each.
create table syncjournal.activity_log (
    activity_id int8 generated always as identity primary key,
    occurred_at timestamptz not null default pg_catalog.clock_timestamp(),
    peer_name text not null,
    event text not null check (event in ('switched_off', 'switched_on', 'extra_deleted')),
    detail text not null,
    by_role name not null default session_user,
    -- The transaction that did it: its entries in the journal are told from those of people.
    xid xid8 not null default pg_catalog.pg_current_xact_id()
);

-- Of the tables that the pattern matches, only these operations pass: to the peer (send), from it
-- (receive), or either way.
create table syncjournal.peer_restriction (
    peer_id int2 not null references syncjournal.registered_peer on delete cascade,
    pattern text not null,
    direction text not null check (direction in ('send', 'receive', 'both')),
    operations text[] not null,
    primary key (peer_id, pattern, direction)
);

-- What came and was not permitted: journaled, and not applied.
create table syncjournal.refused_operation (
    peer_id int2 not null references syncjournal.registered_peer on delete cascade,
    relation_id int4 not null,
    operation text not null,
    entries int8 not null,
    last_row_id uuid not null,
    last_version uuid not null,
    last_at timestamptz not null,
    primary key (peer_id, relation_id, operation)
);

select pg_catalog.pg_extension_config_dump('syncjournal.activity_log', '');
select pg_catalog.pg_extension_config_dump('syncjournal.activity_log_activity_id_seq', '');
select pg_catalog.pg_extension_config_dump('syncjournal.peer_restriction', '');
select pg_catalog.pg_extension_config_dump('syncjournal.refused_operation', '');

create function syncjournal.note_activity(peer text, event text, detail text) returns void
language sql volatile set search_path = pg_catalog, pg_temp
as $$
    insert into syncjournal.activity_log (peer_name, event, detail)
    values (peer, event, detail)
$$;

-- A source that switched this database off says so in a set: its peer here goes off, too. Nothing
-- of a source ever switches a peer on.
create function syncjournal.switch_off_as_source(peer_id int2) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    switched text;
begin
    update syncjournal.registered_peer p set active = false
    where p.peer_id = switch_off_as_source.peer_id and p.active
    returning p.peer_name into switched;
    if found then
        perform syncjournal.note_activity(switched, 'switched_off', 'by the source itself');
    end if;
end
$$;

create function syncjournal.restrict_peer(
    name text, relation text, operations text[], direction text default 'both')
returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    known syncjournal.registered_peer := syncjournal.peer_named(name);
    wrong text;
begin
    if direction not in ('send', 'receive', 'both') then
        raise exception 'unknown direction "%"', direction
            using errcode = 'invalid_parameter_value', hint = 'Use send, receive or both.';
    end if;
    select coalesce(o, 'null') into wrong from unnest(operations) o
    where o is null or o not in ('insert', 'update', 'delete', 'truncate') limit 1;
    if found then
        raise exception 'unknown operation "%"', wrong
            using errcode = 'invalid_parameter_value',
                hint = 'Operations are insert, update, delete and truncate.';
    end if;
    -- For the error that a misshapen pattern gives.
    perform syncjournal.relation_matches('', '', array[relation], '{}');
    delete from syncjournal.peer_restriction r
    where r.peer_id = known.peer_id and r.pattern = relation
        and r.direction = restrict_peer.direction;
    insert into syncjournal.peer_restriction (peer_id, pattern, direction, operations)
    select known.peer_id, relation, direction, array(select distinct unnest(operations) order by 1)
    where operations is not null;
end
$$;

-- What a set for the peer says beside its rows; a restriction as its operations and its pattern.
create function syncjournal.peer_terms(
    peer text, out rank int4, out restrictions text[])
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select (
            select k.rank
            from syncjournal.local_node join syncjournal.known_node k using (node_id)),
        coalesce(array_agg(array_to_string(r.operations, ',') || ' ' || r.pattern), '{}')
    from syncjournal.peer_restriction r join syncjournal.registered_peer p using (peer_id)
    where p.peer_name = peer and r.direction <> 'receive'
$$;

-- Says more of this database. Its rank is its place in the order in which changes are pushed:
-- nothing goes from a higher rank to a lower one unless it is asked for. Nulls leave what is there.
create function syncjournal.alter_node(
    rank int4 default null, owner text default null, contact text default null,
    url text default null)
returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    update syncjournal.known_node k
    set rank = coalesce(alter_node.rank, k.rank),
        owner = coalesce(alter_node.owner, k.owner),
        contact = coalesce(alter_node.contact, k.contact),
        url = coalesce(alter_node.url, k.url)
    where k.node_id = syncjournal.require_node();
end
$$;
