-- Slices: named row filters of tracked tables, by which peers may have a part of a table.

-- Native code (slice/mod.rs) reads this by its columns' numbers: new ones go to the end.
create table syncjournal.slice (
    slice_id int4 generated always as identity primary key,
    slice_name text not null unique check (slice_name <> ''),
    relation_id int4 not null references syncjournal.tracked_relation on delete cascade,
    -- Every name in full: it means the same under any search path.
    row_filter text not null,
    -- What becomes of a row at a peer when it leaves the slice.
    on_leave text not null check (on_leave in ('delete', 'keep')),
    allow_sync boolean not null default true,
    created_at timestamptz not null default pg_catalog.now(),
    -- While it is locked: since when, by which transaction, and the peers that had it then.
    locked_at timestamptz,
    locked_by xid8,
    locked_for int2[]
);

create index slice_relation_id on syncjournal.slice (relation_id);

select pg_catalog.pg_extension_config_dump('syncjournal.slice', '');
select pg_catalog.pg_extension_config_dump('syncjournal.slice_slice_id_seq', '');

create function syncjournal.check_row_filter(relation regclass, row_filter text) returns text
strict language c as 'MODULE_PATHNAME', 'check_row_filter_wrapper';

create function syncjournal.digest_slice(
    relation regclass, slice_id int4, out row_count int8, out hash text)
returns setof record
stable strict language c as 'MODULE_PATHNAME', 'digest_slice_wrapper';

create function syncjournal.journal_transition(
    relation regclass, shows text, hides text, slice_id int4, peer_id int2)
returns int8
language c as 'MODULE_PATHNAME', 'journal_transition_wrapper';

create function syncjournal.slice_named(name text) returns syncjournal.slice
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    found_slice syncjournal.slice;
begin
    select * into found_slice from syncjournal.slice s where s.slice_name = name;
    if not found then
        raise exception 'there is no slice "%"', name
            using errcode = 'undefined_object',
                hint = 'View syncjournal.slices lists those that there are; make one by'
                    ' syncjournal.create_slice().';
    end if;
    return found_slice;
end
$$;

-- The filter with every name in full. What the server says of a bad one is passed on, with a remedy.
create function syncjournal.row_filter_of(relation regclass, row_filter text) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    said text;
    remedy text;
begin
    return syncjournal.check_row_filter(relation, row_filter);
exception when others then
    get stacked diagnostics said = message_text, remedy = pg_exception_hint;
    if left(sqlstate, 2) not in ('0A', '22', '42') then
        raise;
    end if;
    raise exception '%', said using errcode = sqlstate,
        detail = format('In the row filter of table "%s": %s', relation, row_filter),
        hint = coalesce(nullif(remedy, ''), 'A row filter is one condition over the row''s own'
            ' columns, with immutable functions alone: no subqueries, aggregates, window or'
            ' set-returning functions.');
end
$$;

create function syncjournal.check_on_leave(on_leave text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
    if on_leave is null or on_leave not in ('delete', 'keep') then
        raise exception 'unknown treatment of rows that leave a slice "%"', on_leave
            using errcode = 'invalid_parameter_value',
                hint = 'Use on_leave => ''delete'' or on_leave => ''keep''.';
    end if;
end
$$;

-- From here on every change of the table says in which slices its row was and is. Writers are waited
-- for, and wait: no change is half before and half after.
create function syncjournal.create_slice(
    name text, relation regclass, row_filter text, on_leave text default 'delete')
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    of_table syncjournal.tracked_relation := syncjournal.tracked(relation);
    filter text := syncjournal.row_filter_of(relation, row_filter);
begin
    perform syncjournal.check_on_leave(on_leave);
    if coalesce(name, '') = '' or filter is null then
        raise exception 'a slice needs a name and a row filter'
            using errcode = 'invalid_parameter_value',
                hint = 'For example: syncjournal.create_slice(''north'', ''shop.item'','
                    ' ''region = $f$north$f$'').';
    end if;
    execute format('lock table %s in share row exclusive mode', relation);
    -- Each entry of the table says which of them its row was in and is in.
    if (select count(*) from syncjournal.slice s where s.relation_id = of_table.relation_id)
            >= 1000 then
        raise exception 'table "%" has 1000 slices, which is the most that are possible', relation
            using errcode = 'program_limit_exceeded',
                hint = 'Drop one by syncjournal.drop_slice(), or let one filter serve several peers.';
    end if;
    perform syncjournal.flush_capture();
    insert into syncjournal.slice (slice_name, relation_id, row_filter, on_leave)
    values (name, of_table.relation_id, filter, on_leave);
    perform syncjournal.refresh_layout(relation);
exception when unique_violation then
    raise exception 'slice "%" exists already', name
        using errcode = 'duplicate_object',
            hint = 'Choose another name, or change it by syncjournal.alter_slice().';
end
$$;

create function syncjournal.drop_slice(name text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    gone syncjournal.slice := syncjournal.slice_named(name);
    relation regclass := (
        select relid from syncjournal.tracked_relation t where t.relation_id = gone.relation_id);
    peer text := (
        select peer_name from syncjournal.registered_peer p
        where gone.slice_name = any (p.slices)
            or exists (
                select from syncjournal.peer_past o
                where o.peer_id = p.peer_id and gone.slice_name = any (o.slices)
                    and not syncjournal.snapshot_covers(p.confirmed, o.until))
        order by 1 limit 1);
begin
    if peer is not null then
        raise exception 'slice "%" is named for peer "%"', name, peer
            using errcode = 'dependent_objects_still_exist',
                detail = 'What the peer has not confirmed yet may go by it.',
                hint = 'Change what the peer may have, syncjournal.alter_peer(name, slices => ...), and'
                    ' bring it up to date.';
    end if;
    execute format('lock table %s in share row exclusive mode', relation);
    perform syncjournal.flush_capture();
    delete from syncjournal.slice s where s.slice_id = gone.slice_id;
    perform syncjournal.refresh_layout(relation);
end
$$;

-- Nulls leave as it was what they stand for. Peers with the slice get the rows that come in by the
-- new filter, and lose those that go out, as if each row had been changed.
create function syncjournal.alter_slice(
    name text, row_filter text default null, on_leave text default null)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    was syncjournal.slice := syncjournal.slice_named(name);
    relation regclass := (
        select relid from syncjournal.tracked_relation t where t.relation_id = was.relation_id);
    filter text := coalesce(syncjournal.row_filter_of(relation, row_filter), was.row_filter);
begin
    perform syncjournal.check_on_leave(coalesce(on_leave, was.on_leave));
    execute format('lock table %s in share row exclusive mode', relation);
    perform syncjournal.flush_capture();
    update syncjournal.slice s
    set row_filter = filter, on_leave = coalesce(alter_slice.on_leave, s.on_leave)
    where s.slice_id = was.slice_id;
    perform syncjournal.refresh_layout(relation);
    if filter <> was.row_filter then
        perform syncjournal.journal_transition(
            relation,
            format('(%s) and (%s) is not true', filter, was.row_filter),
            format('(%s) and (%s) is not true', was.row_filter, filter),
            was.slice_id, null);
    end if;
end
$$;

-- Rows of a slice, and a hash of who they are and at which version: equal on two nodes that have the
-- same slice, and the same rows in it, in whatever order.
create function syncjournal.slice_digest(name text, out row_count int8, out hash text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    s syncjournal.slice := syncjournal.slice_named(name);
begin
    select d.row_count, d.hash into slice_digest.row_count, slice_digest.hash
    from syncjournal.tracked_relation t,
        syncjournal.digest_slice(t.relid, s.slice_id) d
    where t.relation_id = s.relation_id;
end
$$;

-- Names of slices that a peer is to have must be slices.
create function syncjournal.check_slices(slices text[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if array_position(slices, null) is not null then
        raise exception 'a slice of the list is null' using errcode = 'null_value_not_allowed',
            hint = 'Name slices; an empty list stands for none.';
    end if;
    perform syncjournal.slice_named(wanted) from unnest(slices) wanted;
end
$$;

-- DDL may not take away what a filter reads or calls: users' writes would fail for it.
create function syncjournal.keep_slices() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    bad record;
begin
    for bad in
        select s.*, t.relid from syncjournal.slice s
            join syncjournal.tracked_relation t using (relation_id)
            join pg_class c on c.oid = t.relid
    loop
        begin
            perform syncjournal.check_row_filter(bad.relid, bad.row_filter);
        exception when others then
            raise exception 'slice "%" of table "%" needs what this would change',
                bad.slice_name, bad.relid using errcode = 'dependent_objects_still_exist',
                detail = sqlerrm,
                hint = 'Drop the slice first, or give it another filter:'
                    ' syncjournal.alter_slice().';
        end;
    end loop;
end
$$;

-- The condition under which a row of a table goes to who has these lists: by all slices, by those that
-- let rows stay, or by those that are not locked.
create function syncjournal.visible_rows(
    table_id int4, schema_name name, table_name name,
    include text[], exclude text[], slices text[],
    kept_only boolean default false, open_only boolean default false)
returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select case
        when syncjournal.relation_matches(schema_name, table_name, exclude, '{}') then 'false'
        when count(s.slice_id) > 0 then coalesce(
            string_agg(format('(%s)', s.row_filter), ' or ' order by s.slice_id)
                filter (where (not kept_only or s.on_leave = 'keep')
                    and (not open_only or s.allow_sync)), 'false')
        when syncjournal.relation_matches(schema_name, table_name, include, '{}') then 'true'
        else 'false' end
    from syncjournal.slice s
    where s.relation_id = table_id and s.slice_name = any (slices)
$$;

-- Tables of which other rows go to a peer when its lists and its links' are those of `after`.
create function syncjournal.changed_tables(
    was syncjournal.registered_peer, now_is syncjournal.registered_peer,
    out relation_id int4, out relid regclass, out was_selected boolean, out is_selected boolean,
    out before text, out after text, out kept text, out open_before text, out open_after text)
returns setof record
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select r.relation_id, r.relid, was_linked, is_linked, before.rows, after.rows, kept.rows,
        open_before.rows, open_after.rows
    from syncjournal.tracked_relation r
        join pg_class c on c.oid = r.relid
        join pg_namespace n on n.oid = c.relnamespace
        cross join syncjournal.relation_matches(n.nspname, c.relname,
            coalesce(was.link_include, '{*.*}'), coalesce(was.link_exclude, '{}')) was_linked
        cross join syncjournal.relation_matches(n.nspname, c.relname,
            coalesce(now_is.link_include, '{*.*}'), coalesce(now_is.link_exclude, '{}')) is_linked
        cross join syncjournal.visible_rows(r.relation_id, n.nspname, c.relname,
            was.include, was.exclude, was.slices) before(rows)
        cross join syncjournal.visible_rows(r.relation_id, n.nspname, c.relname,
            was.include, was.exclude, was.slices, kept_only => true) kept(rows)
        cross join syncjournal.visible_rows(r.relation_id, n.nspname, c.relname,
            was.include, was.exclude, was.slices, open_only => true) open_before(rows)
        cross join syncjournal.visible_rows(r.relation_id, n.nspname, c.relname,
            now_is.include, now_is.exclude, now_is.slices) after(rows)
        cross join syncjournal.visible_rows(r.relation_id, n.nspname, c.relname,
            now_is.include, now_is.exclude, now_is.slices, open_only => true) open_after(rows)
    where was_linked <> is_linked or before.rows <> after.rows
        or open_before.rows <> open_after.rows
    order by r.relation_id
$$;

-- Whether a peer may have rows of this database's: who has had nothing yet gets a full set first. One that
-- is on its way has the lists of before.
create function syncjournal.has_rows(peer syncjournal.registered_peer) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select peer.direction <> 'receive' and (peer.confirmed is not null or exists (
        select from syncjournal.set_log l
        where l.peer_id = peer.peer_id and l.direction = 'sent'))
$$;

-- Keeps writers off the tables of which other rows are to go: no change is half before and half after.
-- To be called before anything of the peer is written: who applies holds tables first, too.
create function syncjournal.lock_changed_tables(
    was syncjournal.registered_peer, now_is syncjournal.registered_peer)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    relation regclass;
begin
    for relation in
        select t.relid from syncjournal.changed_tables(was, now_is) t
        where t.is_selected and syncjournal.has_rows(was)
    loop
        execute format('lock table %s in share row exclusive mode', relation);
    end loop;
end
$$;

-- Gives a peer other lists. What comes into sight by that, and what leaves the slices by which the peer
-- had it, is journaled for this peer as it stands now, and travels in its place among all else; what
-- was written before goes by the lists of its time. Rows of a table that was had whole stay there, and
-- so do those of one that the peer's links select no longer. What a locked slice shows comes when it is
-- opened.
create function syncjournal.change_lists(
    was syncjournal.registered_peer, now_is syncjournal.registered_peer)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    t record;
    was_sliced boolean;
begin
    if (was.include, was.exclude, was.slices, was.link_include, was.link_exclude)
        is not distinct from (now_is.include, now_is.exclude, now_is.slices,
            now_is.link_include, now_is.link_exclude) then
        return;
    end if;
    perform syncjournal.lock_changed_tables(was, now_is);
    update syncjournal.registered_peer p
    set include = now_is.include, exclude = now_is.exclude, slices = now_is.slices,
        link_include = now_is.link_include, link_exclude = now_is.link_exclude
    where p.peer_id = was.peer_id;
    if not syncjournal.has_rows(was) then
        return;
    end if;
    perform syncjournal.flush_capture();
    for t in
        select * from syncjournal.changed_tables(was, now_is) c where c.is_selected
    loop
        was_sliced := t.was_selected and t.before not in ('true', 'false');
        if was_sliced then
            perform syncjournal.take_locked_slice(s, was.peer_id, t.after)
            from syncjournal.slice s
            where s.relation_id = t.relation_id and not s.allow_sync
                and s.slice_name = any (was.slices)
                and (s.slice_name <> all (now_is.slices) or t.after in ('true', 'false'));
        end if;
        perform syncjournal.journal_transition(
            t.relid,
            format('(%s) and (%s) is not true', t.open_after,
                case when t.was_selected then t.open_before else 'false' end),
            case when was_sliced then format(
                '(%s) and (%s) is not true and (%s) is not true', t.before, t.after, t.kept) end,
            null, was.peer_id);
    end loop;
    delete from syncjournal.peer_past o
    where o.peer_id = was.peer_id and syncjournal.snapshot_covers(was.confirmed, o.until);
    insert into syncjournal.peer_past (
        peer_id, until, include, exclude, slices, link_include, link_exclude)
    values (was.peer_id, pg_current_snapshot(), was.include, was.exclude, was.slices,
        was.link_include, was.link_exclude);
end
$$;
