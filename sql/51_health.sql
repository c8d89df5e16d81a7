-- What is wrong here, or may soon be, each with its remedy.

-- One line of view health: `finding` is null where all is well.
create function syncjournal.verdict(
    check_name text, severity text, finding text, remedy text, well text)
returns table (check_name text, severity text, detail text, hint text)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select $1, case when finding is null then 'ok' else $2 end, coalesce(finding, well),
        case when finding is not null then remedy end
$$;

create function syncjournal.check_server()
returns table (check_name text, severity text, detail text, hint text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v.* from pg_settings s
        cross join lateral syncjournal.verdict('wal_level', 'warning',
            case when s.setting <> 'logical' then format('wal_level is %s', s.setting) end,
            'Agents poll the journal and do not stream it: set wal_level = logical, and restart.',
            'wal_level is logical') v
    where s.name = 'wal_level'
    union all
    select v.* from pg_settings s
        cross join lateral syncjournal.verdict(s.name, 'warning',
            case when s.setting::int = 0 then format('%s is 0', s.name) end,
            format('Agents cannot stream the journal: raise %s, and restart.', s.name),
            format('%s is %s', s.name, s.setting)) v
    where s.name in ('max_wal_senders', 'max_replication_slots')
    union all
    select v.* from syncjournal.verdict('encoding', 'error',
        nullif('The database is encoded in ' || getdatabaseencoding() || '.',
            'The database is encoded in UTF8.'),
        'Move it to a database that is encoded in UTF8.', 'UTF8') v
    union all
    select v.* from syncjournal.verdict('roles', 'warning',
        (select 'There is no role ' || string_agg(r, ', ') || '.'
         from unnest('{syncjournal_admin,syncjournal_agent,syncjournal_reader}'::text[]) r
         where r not in (select rolname from pg_roles)),
        'Make it anew: create extension does, in any database.', 'all three are there') v
    union all
    select v.* from (
            select min(xact_start) as since from pg_stat_activity
            where datname = current_database() and backend_xid is not null) oldest
        cross join lateral syncjournal.verdict('long_transactions', 'warning',
            case when since < now() - interval '1 hour'
                then format('A transaction has been writing since %s.', since) end,
            'Peers wait for it, and so does a new stream: see pg_stat_activity.', 'none') v
    union all
    select v.* from (
            select min(prepared) as since from pg_prepared_xacts
            where database = current_database()) oldest
        cross join lateral syncjournal.verdict('prepared_transactions', 'warning',
            case when since < now() - interval '1 hour'
                then format('A transaction has been prepared since %s.', since) end,
            'Commit it or roll it back: see pg_prepared_xacts.', 'none') v
$$;

create function syncjournal.check_node()
returns table (check_name text, severity text, detail text, hint text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v.* from (
            select max(k.node_name) as name
            from syncjournal.local_node join syncjournal.known_node k using (node_id)) here
        cross join lateral syncjournal.verdict('node', 'error',
            case when name is null then 'This database has no name among the nodes yet.' end,
            'Name it: select syncjournal.create_node(''name''). A restored copy of another node:'
            ' syncjournal.adopt_clone(''name'').', 'this is node "' || name || '"') v
    union all
    select v.* from (select syncjournal.is_copy() as is_copy) this
        cross join lateral syncjournal.verdict('clone', 'error',
            case when is_copy then 'This database was copied from the one that was named.' end,
            'Two databases with one identity lose changes: syncjournal.adopt_clone(''name''); if the'
            ' original is no more: syncjournal.keep_identity().',
            'this is the database that was named') v
    union all
    select v.* from (
            select syncjournal.version_time((
                select frame from syncjournal.journal order by frame desc limit 1)) as newest
        ) journal
        cross join lateral syncjournal.verdict('clock', 'warning',
            case when newest > clock_timestamp() + interval '1 minute'
                then format('The journal''s newest entry is of %s.', newest) end,
            'This clock, or that of the node that wrote it, is wrong: synchronise both.',
            'no entry is from the future') v
$$;

-- Nodes that went back to an earlier state, this one among them.
create function syncjournal.check_restored()
returns table (check_name text, severity text, detail text, hint text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v.* from syncjournal.verdict('restored', 'warning',
        (select string_agg(format('Node "%s" was restored from a backup: noticed %s.',
            k.node_name, f.until), ' ' order by f.until)
         from syncjournal.former_tag f join syncjournal.known_node k using (node_id)
         where f.until > now() - interval '1 day'),
        'What its peers had from it comes back by itself; compare by syncjournal.digest(). What'
            ' nobody had is gone with the database.',
        'no node was restored from a backup of late') v
$$;

create function syncjournal.check_tables()
returns table (check_name text, severity text, detail text, hint text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v.* from syncjournal.verdict('triggers', 'error',
        (select 'Changes of ' || string_agg(t.relid::text, ', ') || ' are not journaled,'
             ' or not under every session_replication_role.'
         from syncjournal.tracked_relation t
         where 3 > (
            select count(*) from pg_trigger g
            where g.tgrelid = t.relid and g.tgenabled = 'A' and g.tgname in (
                '~syncjournal_version', 'syncjournal_capture', 'syncjournal_truncate'))
            or exists (
                select from pg_trigger g
                where g.tgrelid = t.relid and g.tgname = 'syncjournal_moved' and g.tgenabled <> 'A')),
        'Enable them (alter table ... enable always trigger ...), or untrack the table and'
            ' track it anew.',
        'all tracked tables have theirs') v
    union all
    select v.* from syncjournal.verdict('identity', 'error',
        (select 'The rows of ' || string_agg(p.relid::text, ', ') || ' have no unique identity.'
         from syncjournal.tracked_relation t
            cross join lateral (
                select t.relid where t.relid not in (select partrelid from pg_partitioned_table)
                union select relid from pg_partition_tree(t.relid) where isleaf) p
         where not exists (
            select from pg_index i join pg_attribute a on a.attrelid = p.relid
                and a.attname = t.identity_column and i.indkey[0] = a.attnum
            where i.indrelid = p.relid and i.indisunique and i.indisvalid and i.indnkeyatts = 1
                and i.indpred is null)),
        'Create a unique index on the identity column.', 'every row has one') v
    union all
    select v.* from syncjournal.verdict('natural_keys', 'warning',
        (select 'No unique index holds the natural key of ' || string_agg(t.relid::text, ', ') || '.'
         from syncjournal.tracked_relation t
         where not syncjournal.is_unique_key(t.relid, t.natural_key)),
        'Create a unique index on its columns, which is neither partial nor deferrable.',
        'all are unique') v
$$;

-- The rules by which conflicts are settled.
create function syncjournal.check_rules()
returns table (check_name text, severity text, detail text, hint text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v.* from syncjournal.verdict('one_way_policies', 'error',
        (select string_agg(format('Policy %s of %s meets peer "%s", which sends and receives.',
            policy, relation, peer), ' ') from syncjournal.two_way_tables()),
        'The two will not end equal: choose another policy, or let the peer go one way.', 'none') v
    union all
    select v.* from syncjournal.verdict('node_priority', 'warning',
        case when not exists (select from syncjournal.preferred_node)
            and exists (
                select from syncjournal.tracked_relation where conflict_policy = 'node_priority')
            then 'Tables have policy node_priority, and no node has one.'
        else (
            select 'Nodes that were never met: ' || string_agg(node_id::text, ', ' order by place)
            from syncjournal.preferred_node
            where node_id not in (select node_id from syncjournal.known_node)) end,
        'Set the order, alike on all nodes: syncjournal.set_node_priority(nodes).',
        'all named nodes are known') v
$$;

-- Keys that two nodes draw from sequences of their own.
create function syncjournal.check_sequences()
returns table (check_name text, severity text, detail text, hint text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v.* from syncjournal.verdict('sequences', 'warning',
        coalesce(
            (select 'The stripe of the sequences was chosen for another node: this is a copy.'
             from syncjournal.sequence_stripe b
             where b.node_id is distinct from (select node_id from syncjournal.local_node)),
            (select string_agg(distinct format('This node and peer "%s" both draw %s.%s.',
                s.peer, s.relation, s.column_name), ' ') from syncjournal.shared_sequences() s)),
        'Let them take turns: select syncjournal.stripe_sequences(1, 2) here, (2, 2) there; or'
            ' track the table with keys => ''local''.',
        'no two nodes give out the same numbers') v
$$;

-- Rows whose parent went elsewhere.
create function syncjournal.check_references()
returns table (check_name text, severity text, detail text, hint text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v.* from syncjournal.verdict('lost_references', 'warning',
        (select string_agg(format('Rows of %s refer by "%s" to rows of %s that were deleted: %s.',
            relation, column_name, referenced, number), ' ' order by relation::text, column_name)
         from (
            select relation, column_name, referenced, count(*) as number
            from syncjournal.lost_reference group by 1, 2, 3) by_column),
        'See view syncjournal.lost_reference. Delete those rows or let them refer to others, or insert'
            ' the deleted row again under its identity.',
        'none') v
$$;

create function syncjournal.check_peers()
returns table (check_name text, severity text, detail text, hint text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select v.* from syncjournal.verdict('stalled_peers', 'warning',
        (select 'Behind by more than a day: ' || string_agg(name, ', ')
         from syncjournal.stat_peer where state = 'behind' and lag_seconds > 86400),
        'Run the agent of its link, or set it aside: alter_peer(name, active => false).',
        'none') v
    union all
    select v.* from syncjournal.verdict('lost_peers', 'warning',
        (select 'The journal no longer holds what is missing at: ' || string_agg(name, ', ')
         from syncjournal.stat_peer where state = 'needs full set'),
        'Send it a full set: syncjournal.prep_sync(name, mode => ''full'').', 'none') v
    union all
    select v.* from syncjournal.verdict('locked_slices', 'warning',
        (select 'Locked for more than a day, so that the journal keeps all since: '
            || string_agg(slice_name, ', ' order by slice_name)
         from syncjournal.slice where locked_at < now() - interval '1 day' having count(*) > 0),
        'Open them: select syncjournal.unlock_slice(name).', 'none for long') v
    union all
    select v.* from syncjournal.verdict('retention_setting', 'error',
        case when syncjournal.retention() is null then format(
            'syncjournal.retention is "%s".', current_setting('syncjournal.retention')) end,
        'Nothing goes by age until it is an interval: alter system set syncjournal.retention ='
        ' ''7 days''; and reload.', 'it is an interval') v
    union all
    select v.* from (
            select min(opened_at) as since from syncjournal.journal_segment) oldest
        cross join lateral syncjournal.verdict('retention', 'warning',
            case when since < now() - 2 * syncjournal.retention()
                then format('The journal reaches back to %s.', since) end,
            'Prune it: select syncjournal.prune(), or run an agent, which does.',
            'the journal is pruned in time') v
    union all
    select v.* from syncjournal.verdict('conflicts', 'warning',
        (select format('%s conflicts wait for a decision.', count(*))
         from syncjournal.conflict_log where status = 'pending' having count(*) > 0),
        'See view syncjournal.conflict.', 'none pending') v
    union all
    select v.* from syncjournal.verdict('quarantine', 'warning',
        (select format('%s entries could not be applied.', count(*))
         from syncjournal.quarantined_entry having count(*) > 0),
        'See view syncjournal.quarantine.', 'empty') v
$$;

create function syncjournal.check_all()
returns table (check_name text, severity text, detail text, hint text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select * from syncjournal.check_node()
    union all select * from syncjournal.check_restored()
    union all select * from syncjournal.check_server()
    union all select * from syncjournal.check_tables()
    union all select * from syncjournal.check_rules()
    union all select * from syncjournal.check_sequences()
    union all select * from syncjournal.check_references()
    union all select * from syncjournal.check_peers()
$$;

create view syncjournal.health as select * from syncjournal.check_all();
