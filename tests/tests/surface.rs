//! The public surface: names and arguments that people and programs have written down somewhere. More may
//! come, at the end; none may go or be called otherwise.

use syncjournal_tests::{AgentCommand, Db, shared};

/// Functions with their arguments, of which more may follow.
const FUNCTIONS: [(&str, &str); 33] = [
    ("create_node", "name, owner, contact, url"),
    ("adopt_clone", "name"),
    (
        "track",
        "relation, keys, natural_key, conflict_policy, exclude_columns, counters, merge_function",
    ),
    ("track_all", "include, exclude, keys"),
    ("untrack", "relation, drop_columns"),
    (
        "alter_tracking",
        "relation, keys, natural_key, conflict_policy, exclude_columns, counters, merge_function",
    ),
    ("track_identity", "relation, natural_key"),
    ("untrack_identity", "relation, drop_columns"),
    ("create_slice", "name, relation, row_filter"),
    ("alter_slice", "name, row_filter"),
    ("drop_slice", "name"),
    ("slice_digest", "name"),
    ("add_peer", "name, node_id, include, exclude, slices, direction"),
    ("alter_peer", "name, node_id, include, exclude, slices, direction, active"),
    ("drop_peer", "name"),
    ("restrict_peer", "name, relation, operations, direction"),
    ("alter_node", "rank, owner, contact, url"),
    ("destination_ahead", "peer"),
    ("prep_sync", "peer, mode"),
    ("apply", "data, dry_run, allow_backward"),
    ("describe_set", "data"),
    ("confirm_sync", "set_id"),
    ("history", "relation, row_id"),
    ("resolve_conflict", "conflict_id, choice, row"),
    ("retry_quarantine", "quarantine_id"),
    ("discard_quarantine", "quarantine_id"),
    ("digest", "relation, depth, prefix"),
    ("prune", ""),
    ("stripe_sequences", "position, of"),
    ("export_pack", "roots, options"),
    ("import_pack", "pack, options, dry_run"),
    ("declare_pack_edge", "child, columns"),
    ("rejoin", ""),
];

/// What functions and views give back: columns that are among theirs, in any order.
const COLUMNS: [(&str, &str); 14] = [
    ("prep_sync", "set_id part parts data"),
    ("apply", "set_id source entries inserted updated deleted skipped conflicts quarantined"),
    ("import_pack", "relation row_id action reason"),
    ("node", "node_id name owner contact url is_local last_sync_at sync_count rank"),
    ("health", "check_name severity detail hint"),
    (
        "tracked_table",
        "relation identity_column keys conflict_policy exclude_columns counters live_entries",
    ),
    ("peer", "name node_id include exclude slices direction active allow_sync"),
    (
        "stat_peer",
        "name state entries_sent bytes_sent entries_applied bytes_applied lag_entries lag_seconds
         conflicts quarantined last_error last_sync_at",
    ),
    ("sync_set", "set_id peer from_snapshot to_snapshot entries made_at confirmed_at"),
    ("change", "version prev changed_at node xid relation row_id op old new"),
    (
        "conflict",
        "conflict_id detected_at relation row_id conflict_type policy base local remote winner
         status",
    ),
    ("quarantine", "quarantine_id since source relation row_id op sqlstate error new attempts"),
    ("waiting_reference", "relation row_id column_name referenced referenced_id since"),
    ("lost_reference", "relation row_id column_name referenced referenced_id is_null"),
];

#[test]
fn functions_are_there_with_their_arguments() {
    let db = Db::fresh(shared(0));
    for (name, arguments) in FUNCTIONS {
        let there: Vec<String> = db.column(&format!(
            "select coalesce(array_to_string(array(
                    select a from unnest(p.proargnames) with ordinality u(a, n)
                    where coalesce(p.proargmodes[n], 'i') in ('i', 'v') order by n), ', '), '')
             from pg_proc p where p.pronamespace = 'syncjournal'::regnamespace
                and p.proname = '{name}' and has_function_privilege('syncjournal_admin', p.oid, 'execute')"
        ));
        let fits = |all: &String| *all == arguments || all.starts_with(&format!("{arguments}, "));
        assert!(there.len() == 1 && (arguments.is_empty() || fits(&there[0])), "{name}: {there:?}");
    }
}

#[test]
fn what_is_given_back_has_its_columns() {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('here'), syncjournal.add_peer('there')");
    for (name, columns) in COLUMNS {
        let there: Vec<String> = db.column(&format!(
            "select attname::text from pg_attribute
             where attrelid = to_regclass('syncjournal.{name}') and attnum > 0
             union all
             select a from pg_proc p cross join unnest(p.proargnames) with ordinality u(a, n)
             where p.pronamespace = 'syncjournal'::regnamespace and p.proname = '{name}'
                and p.proargmodes[n] in ('t', 'o')"
        ));
        for column in columns.split_whitespace() {
            assert!(there.iter().any(|one| one == column), "{name}.{column}: {there:?}");
        }
    }
    let roles = "select count(*) from pg_roles
        where rolname in ('syncjournal_admin', 'syncjournal_agent', 'syncjournal_reader')";
    assert_eq!(db.text(roles), "3");
    for setting in ["capture", "retention", "max_clock_skew"] {
        db.text(&format!("select current_setting('syncjournal.{setting}')"));
    }
}

#[test]
fn the_agent_knows_its_commands() {
    let commands = [
        "run",
        "sync",
        "clone",
        "check",
        "status",
        "export",
        "import",
        "conflicts",
        "resolve",
        "prune",
    ];
    for command in commands {
        let helped = AgentCommand::new("").args(&[command, "--help"]).finish();
        assert_eq!(helped.code, Some(0), "{command}: {}", helped.stderr);
    }
    let unknown = AgentCommand::new("").arg("frobnicate").finish();
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
}

#[test]
fn the_example_configuration_is_one() {
    // Which certificates there are is the machine's affair.
    let example = include_str!("../../packaging/agent.toml").replace("?sslmode=verify-full", "");
    // As it is, and with all that it mentions.
    let optional = |line: &&str| {
        line.strip_prefix("# ")
            .is_some_and(|rest| rest.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')))
    };
    assert!(example.lines().filter(optional).count() > 6);
    let everything: String = example
        .lines()
        .map(|line| if optional(&line) { &line[2..] } else { line })
        .map(|line| line.replace("\"live\"", "\"plan\"").replace("\"both\"", "\"push\"") + "\n")
        .collect();
    for config in [&example, &everything] {
        let finished = AgentCommand::new(config).args(&["sync", "nowhere"]).finish();
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains("no link \"nowhere\""), "{}", finished.stderr);
    }
}
