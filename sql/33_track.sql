-- Taking tables under the journal and out of it.

-- What track() does to one table, but for its references, which may be to tables still to come.
create function syncjournal.put_under_journal(
    relation regclass, keys text, natural_key text[], conflict_policy text, exclude_columns text[],
    counters text[], merge_function regproc, run_triggers boolean, on_key_collision text)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    policy text := syncjournal.check_policy(conflict_policy);
    function_name text := syncjournal.check_merge_function(relation, policy, merge_function);
    own_key name;
    locked oid[];
begin
    perform syncjournal.require_node();
    perform syncjournal.check_trackable(relation);
    perform syncjournal.check_keys(keys);
    locked := array(
        select f from syncjournal.family(relation) f where syncjournal.take_exclusive_lock(f));
    perform syncjournal.check_exclusion(relation, exclude_columns);
    perform syncjournal.check_natural_key(relation, natural_key, exclude_columns);
    perform syncjournal.check_key_collision(
        relation, natural_key, coalesce(on_key_collision, 'quarantine'), keys);
    perform syncjournal.check_counters(relation, counters, exclude_columns, natural_key);
    own_key := syncjournal.own_uuid_key(relation);
    perform syncjournal.add_column(relation, 'sync_version');
    if own_key is null then
        perform syncjournal.add_column(relation, 'sync_id');
    end if;
    -- Only the new columns need so strong a lock; filling one takes as long as the table is large.
    perform syncjournal.let_readers_pass(member) from unnest(locked) member;
    if own_key is null then
        perform syncjournal.fill_identity(
            relation, coalesce(natural_key::name[], syncjournal.primary_key(relation)));
        perform syncjournal.index_identity(relation);
        perform syncjournal.check_identity_across(relation) where natural_key is not null;
    end if;
    -- After the rows: what stands against an index is told first.
    perform syncjournal.require_unique(relation, natural_key);
    perform syncjournal.create_triggers(relation);
    -- Last: from here on every change to the table is followed.
    insert into syncjournal.tracked_relation (
        relid, identity_column, identity_added, keys, natural_key, conflict_policy,
        exclude_columns, counters, merge_function, run_triggers, on_key_collision)
    values (
        relation, coalesce(own_key, 'sync_id'), own_key is null, keys, natural_key, policy,
        coalesce(exclude_columns, '{}'), coalesce(counters, '{}'), function_name,
        coalesce(run_triggers, true), coalesce(on_key_collision, 'quarantine'));
    -- It may have had identities alone so far; what refers to it never finds it without any.
    perform syncjournal.forget_identity(relation);
    perform syncjournal.own_added_columns(relation);
end
$$;

-- The tables are under the journal: what refers to what, and whether that can travel.
create function syncjournal.finish_tracking(relations regclass[], on_untracked_reference text)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    one syncjournal.tracked_relation;
begin
    insert into syncjournal.relation_key (relation_id, kept, on_untracked_reference)
    select t.relation_id, '{}', finish_tracking.on_untracked_reference
    from syncjournal.tracked_relation t where t.relid = any (relations) and t.keys = 'local'
    on conflict (relation_id) do update set on_untracked_reference = excluded.on_untracked_reference;
    perform syncjournal.refuse_two_ways();
    perform syncjournal.follow_keys();
    for one in select * from syncjournal.tracked_relation t where t.relid = any (relations) loop
        if one.keys = 'local' then
            perform syncjournal.check_own_key(one.relid);
        end if;
        perform syncjournal.refresh_layout(one.relid);
        perform syncjournal.stripe_tables(one.relid);
    end loop;
end
$$;

create function syncjournal.track(
    relation regclass,
    keys text default 'global',
    natural_key text[] default null,
    conflict_policy text default 'last_update_wins',
    exclude_columns text[] default '{}',
    counters text[] default '{}',
    merge_function regproc default null,
    run_triggers boolean default true,
    on_key_collision text default 'quarantine',
    on_untracked_reference text default 'refuse')
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform syncjournal.check_untracked_choice(on_untracked_reference);
    perform syncjournal.put_under_journal(relation, keys, natural_key, conflict_policy,
        exclude_columns, counters, merge_function, run_triggers, on_key_collision);
    perform syncjournal.finish_tracking(array[relation], on_untracked_reference);
end
$$;

-- Every table that matches and is not tracked yet; tables of other extensions are theirs.
create function syncjournal.track_all(
    include text[] default '{public.*}', exclude text[] default '{}', keys text default 'global',
    on_untracked_reference text default 'refuse')
returns setof regclass
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    trackable regclass[] := array(
        select c.oid from pg_class c
        where c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition
            and c.oid >= 16384 and c.relnamespace <> 'syncjournal'::regnamespace
            and not exists (
                select from pg_depend d where d.classid = 'pg_class'::regclass
                    and d.objid = c.oid and d.objsubid = 0 and d.deptype = 'e'));
    chosen regclass[];
    wanted regclass;
begin
    perform syncjournal.require_node();
    perform syncjournal.check_keys(keys);
    perform syncjournal.check_untracked_choice(on_untracked_reference);
    chosen := array(
        select s from syncjournal.select_tables(include, exclude, trackable) s
        where s not in (select relid from syncjournal.tracked_relation)
            and s not in (select relid from syncjournal.identity_relation));
    if keys = 'local' then
        -- A full set brings tables in this order.
        chosen := syncjournal.parents_first(chosen);
    end if;
    foreach wanted in array chosen loop
        perform syncjournal.put_under_journal(wanted, syncjournal.keys_for(wanted, keys), null,
            'last_update_wins', '{}', '{}', null, true, 'quarantine');
    end loop;
    perform syncjournal.finish_tracking(chosen, on_untracked_reference);
    return query select unnest(chosen);
end
$$;

-- Nulls leave as it was what they stand for.
create function syncjournal.alter_tracking(
    relation regclass,
    keys text default null,
    natural_key text[] default null,
    conflict_policy text default null,
    exclude_columns text[] default null,
    counters text[] default null,
    merge_function regproc default null,
    run_triggers boolean default null,
    on_key_collision text default null,
    on_untracked_reference text default null)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    now_tracked syncjournal.tracked_relation := syncjournal.tracked(relation);
    policy text := syncjournal.check_policy(coalesce(conflict_policy, now_tracked.conflict_policy));
    function_name text := syncjournal.check_merge_function(relation, policy, coalesce(
        merge_function,
        case policy when 'custom' then to_regprocedure(now_tracked.merge_function) end));
begin
    perform syncjournal.check_keys(coalesce(keys, now_tracked.keys));
    perform syncjournal.check_untracked_choice(coalesce(on_untracked_reference, 'refuse'));
    if keys <> now_tracked.keys then
        raise exception 'the keys of table "%" cannot become %', relation, keys
            using errcode = 'feature_not_supported',
                hint = 'What was written so far carries the others: untrack the table and track it'
                    ' anew, on every node.';
    end if;
    if natural_key::name[] <> coalesce(now_tracked.natural_key, '{}') then
        raise exception 'the natural key of table "%" cannot be changed', relation
            using errcode = 'feature_not_supported',
                hint = 'Rows have their identity from it: untrack with drop_columns, and track.';
    end if;
    if exclude_columns is not null then
        perform syncjournal.check_exclusion(relation, exclude_columns);
        perform syncjournal.check_natural_key(
            relation, now_tracked.natural_key::text[], exclude_columns);
    end if;
    perform syncjournal.check_key_collision(
        relation, now_tracked.natural_key::text[],
        coalesce(on_key_collision, now_tracked.on_key_collision),
        coalesce(keys, now_tracked.keys));
    perform syncjournal.check_counters(
        relation, coalesce(counters, now_tracked.counters::text[]),
        coalesce(exclude_columns, now_tracked.exclude_columns::text[]),
        now_tracked.natural_key::text[]);
    update syncjournal.tracked_relation t
    set conflict_policy = policy,
        exclude_columns = coalesce(alter_tracking.exclude_columns, t.exclude_columns),
        counters = coalesce(alter_tracking.counters, t.counters),
        merge_function = function_name,
        run_triggers = coalesce(alter_tracking.run_triggers, t.run_triggers),
        on_key_collision = coalesce(alter_tracking.on_key_collision, t.on_key_collision)
    where t.relid = relation;
    update syncjournal.relation_key k
    set on_untracked_reference = alter_tracking.on_untracked_reference
    where k.relation_id = now_tracked.relation_id
        and k.on_untracked_reference <> alter_tracking.on_untracked_reference;
    perform syncjournal.refuse_two_ways();
    perform syncjournal.follow_keys();
    perform syncjournal.refresh_layout(relation);
    perform syncjournal.tell_pending(now_tracked) where policy <> now_tracked.conflict_policy;
end
$$;

-- A column that is inherited from a tracked parent too stays until it goes with the parent's; only
-- the table's own claim to it is given up, for which there is no ALTER TABLE.
create function syncjournal.drop_added_column(relation regclass, column_name name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    added pg_attribute := (
        select a from pg_attribute a where a.attrelid = relation and a.attname = column_name);
    own_index regclass;
begin
    if added.attinhcount = 0 then
        execute format('alter table %s drop column %I', relation, column_name);
        return;
    end if;
    update pg_attribute set attislocal = false
    where attrelid = relation and attname = column_name;
    for own_index in
        select indexrelid from pg_index
        where indrelid = relation and indnatts = 1 and indkey[0] = added.attnum
    loop
        execute format('drop index %s', own_index);
    end loop;
end
$$;

create function syncjournal.untrack(relation regclass, drop_columns boolean default false)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    was_tracked syncjournal.tracked_relation := syncjournal.tracked(relation);
begin
    execute format('lock table %s in access exclusive mode', relation);
    if drop_columns and exists (
        select from syncjournal.family(relation) f
            join syncjournal.tracked_relation t on t.relid = f where f <> relation) then
        raise exception 'tables that inherit from "%" are tracked by its columns', relation
            using errcode = 'dependent_objects_still_exist', hint = 'Untrack them first.';
    end if;
    if exists (select from syncjournal.slice where relation_id = was_tracked.relation_id) then
        raise exception 'table "%" has slices', relation
            using errcode = 'dependent_objects_still_exist',
                hint = 'Drop them first: syncjournal.drop_slice(name), see view syncjournal.slices.';
    end if;
    delete from syncjournal.tracked_relation where relation_id = was_tracked.relation_id;
    delete from syncjournal.tombstone where relation_id = was_tracked.relation_id;
    delete from syncjournal.truncation where relation_id = was_tracked.relation_id;
    delete from syncjournal.skipped_state where relation_id = was_tracked.relation_id;
    delete from syncjournal.left_row where relation_id = was_tracked.relation_id;
    delete from syncjournal.inbox where relation_id = was_tracked.relation_id;
    perform syncjournal.drop_triggers(relation);
    perform syncjournal.follow_keys();
    -- A version says nothing once changes go unrecorded; the identity may serve another tracking.
    perform syncjournal.drop_added_column(relation, 'sync_version');
    if drop_columns and was_tracked.identity_added then
        perform syncjournal.drop_added_column(relation, 'sync_id');
    end if;
end
$$;
