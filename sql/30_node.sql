-- Naming this database, and giving a copy of one a name of its own.

-- The part of a node's id that goes into its versions.
create function syncjournal.tag_of(node_id uuid) returns int4
language sql immutable strict set search_path = pg_catalog, pg_temp
as $$
    select ('x' || left(node_id::text, 8))::bit(32)::int4 & x'7fffffff'::int4
$$;

-- The tags that a node goes on under when it is restored from a backup, one time after the other.
-- They follow from its id, so that whoever ranks nodes (policy node_priority) knows them all.
create function syncjournal.later_tag(node_id uuid, restored int4) returns int4
language sql immutable strict set search_path = pg_catalog, pg_temp
as $$
    select ('x' || left(md5(node_id::text || restored), 8))::bit(32)::int4 & x'7fffffff'::int4
$$;

-- Every tag that a node may write under, as far as anybody will ever restore it.
create function syncjournal.all_tags(node_id uuid) returns setof int4
language sql immutable strict set search_path = pg_catalog, pg_temp
as $$
    select syncjournal.tag_of(node_id)
    union all select syncjournal.later_tag(node_id, n) from generate_series(1, 20) n
$$;

-- Whether this database is a copy of the one that took the identity up: createdb -T makes another
-- database, pg_upgrade another cluster. A base backup cannot be told from its original: that shows
-- when the two meet.
create function syncjournal.is_copy() returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from syncjournal.local_node l, pg_control_system() s, pg_database d
        where d.datname = current_database()
            and (l.system_identifier <> s.system_identifier or l.database_oid <> d.oid))
$$;

-- Makes `name` this database's node. A tag is 31 random bits: it is tried against all known nodes
-- here, and peers refuse each other when theirs are equal nevertheless.
create function syncjournal.take_identity(name text, owner text, contact text, url text)
returns uuid
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    new_id uuid;
    tag int4;
begin
    if coalesce(trim(name), '') = '' then
        raise exception 'a node needs a name' using errcode = 'invalid_parameter_value',
            hint = 'Give one that no other node of the network has.';
    end if;
    loop
        new_id := gen_random_uuid();
        tag := syncjournal.tag_of(new_id);
        exit when tag > 0
            and not exists (select from syncjournal.known_node k where k.node_tag = tag);
    end loop;
    insert into syncjournal.known_node (node_id, node_tag, node_name, owner, contact, url)
    values (new_id, tag, name, owner, contact, url);
    insert into syncjournal.local_node (node_id, system_identifier, database_oid)
    select new_id, s.system_identifier, d.oid
    from pg_control_system() s, pg_database d where d.datname = current_database();
    perform syncjournal.identity_changed();
    return new_id;
end
$$;

create function syncjournal.create_node(
    name text, owner text default null, contact text default null, url text default null)
returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    present text;
begin
    lock table syncjournal.local_node in share row exclusive mode;
    select k.node_name into present
    from syncjournal.local_node join syncjournal.known_node k using (node_id);
    if found then
        raise exception 'this database is already node "%"', present
            using errcode = 'duplicate_object',
                hint = 'A copy of another node''s database takes a new identity by'
                    ' syncjournal.adopt_clone(name).';
    end if;
    if exists (select from syncjournal.journal) then
        raise exception 'this database holds the journal of another node'
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'It was restored from that node''s dump: take a new identity by'
                    ' syncjournal.adopt_clone(name).';
    end if;
    perform syncjournal.open_segment();
    return syncjournal.take_identity(name, owner, contact, url);
end
$$;

-- The rows and their histories stay. What others had confirmed to the original says nothing about
-- this database, and xids of another cluster would lie in this one's future.
create function syncjournal.adopt_clone(name text) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    lock table syncjournal.local_node in share row exclusive mode;
    if exists (select from syncjournal.known_node k where k.node_name = adopt_clone.name) then
        raise exception 'there is a node "%" already', name
            using errcode = 'duplicate_object',
                hint = 'Give the copy a name that no node of the network has.';
    end if;
    if not exists (select from syncjournal.known_node) then
        raise exception 'this database is not a copy of a node'
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Name it by syncjournal.create_node(name).';
    end if;
    delete from syncjournal.local_node;
    update syncjournal.registered_peer set confirmed = null, has_said = null, resend_before = '0';
    -- Every peer begins anew.
    delete from syncjournal.slice_past;
    update syncjournal.slice set locked_by = pg_current_xact_id(), locked_for = '{}'
    where not allow_sync;
    update syncjournal.journal set xid = pg_current_xact_id() where xid > pg_current_xact_id();
    update syncjournal.pruned set snapshot = pg_current_snapshot()
    where pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot());
    if not exists (
        select from pg_inherits where inhparent = 'syncjournal.journal'::regclass) then
        perform syncjournal.open_segment();
    end if;
    -- A dump does not say what belongs to the extension.
    perform syncjournal.own_added_columns(relid) from syncjournal.tracked_relation;
    if exists (select from syncjournal.sequence_stripe) then
        raise warning 'the sequences still give out the numbers of the original'
            using hint = 'Choose a stripe of its own: syncjournal.stripe_sequences(position, of).';
    end if;
    return syncjournal.take_identity(name, null, null, null);
end
$$;

-- The database has moved and its original is no more: what pg_upgrade leaves, or a rename after
-- createdb -T. It goes on as the same node.
create function syncjournal.keep_identity() returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    was syncjournal.local_node;
    original name;
begin
    select * into was from syncjournal.local_node for update;
    if not found then
        raise exception 'this database has no name among the nodes yet'
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'A restored dump takes a name of its own: syncjournal.adopt_clone(name).';
    end if;
    select d.datname into original from pg_database d, pg_control_system() s
    where d.oid = was.database_oid and d.datname <> current_database()
        and was.system_identifier = s.system_identifier;
    if found then
        raise exception 'the original, database "%", is still there', original
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Give the copy a name of its own: syncjournal.adopt_clone(name).';
    end if;
    update syncjournal.local_node set system_identifier = s.system_identifier, database_oid = d.oid
    from pg_control_system() s, pg_database d where d.datname = current_database();
    perform syncjournal.identity_changed();
    return was.node_id;
end
$$;
