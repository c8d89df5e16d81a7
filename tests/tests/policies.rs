//! The rules of a table: which policies, counters and merge functions are taken, and which not.

use syncjournal_tests::{Db, shared};

const OTHER: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
const THIRD: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";

/// A node with one table, not tracked yet, and functions of every kind.
fn node() -> Db {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq')");
    db.exec(
        "create table t (id int primary key, n int, big numeric, label text,
             twice int generated always as (n * 2) stored, hidden int);
         create schema \"My rules\";
         create function \"My rules\".mine(jsonb, jsonb, jsonb) returns jsonb
             language sql as 'select coalesce($3, $2)';
         create function strict_one(jsonb, jsonb, jsonb) returns jsonb strict
             language sql as 'select $1';
         create function too_few(jsonb, jsonb) returns jsonb language sql as 'select $1';
         create function gives_many(jsonb, jsonb, jsonb) returns setof jsonb
             language sql as 'select $1';
         create function gives_text(jsonb, jsonb, jsonb) returns text
             language sql as 'select $1::text'",
    );
    db
}

fn rules(db: &Db) -> Vec<Option<String>> {
    let rules = "select conflict_policy, counters::text, merge_function::text
        from syncjournal.tracked_table where relation = 't'::regclass";
    db.rows(rules).remove(0)
}

fn some(texts: [&str; 3]) -> [Option<String>; 3] {
    texts.map(|text| (!text.is_empty()).then(|| text.to_owned()))
}

#[test]
fn every_policy_is_taken_and_shown() {
    let db = node();
    db.exec("select syncjournal.track('t', conflict_policy => 'last_write_wins')");
    assert_eq!(rules(&db), some(["last_update_wins", "{}", ""]));
    for policy in [
        "last_update_wins",
        "first_update_wins",
        "merge_columns",
        "node_priority",
        "manual",
        "keep_local",
        "apply_remote",
    ] {
        db.exec(&format!("select syncjournal.alter_tracking('t', conflict_policy => '{policy}')"));
        assert_eq!(rules(&db), some([policy, "{}", ""]));
    }
    db.exec(
        "select syncjournal.alter_tracking('t', conflict_policy => 'custom',
             merge_function => '\"My rules\".mine', counters => '{n,big}')",
    );
    let mine = "\"My rules\".mine(jsonb,jsonb,jsonb)";
    assert_eq!(rules(&db), some(["custom", "{n,big}", mine]));
    db.exec("select syncjournal.alter_tracking('t', exclude_columns => '{hidden}')");
    assert_eq!(rules(&db), some(["custom", "{n,big}", mine]), "nulls leave what they stand for");
    db.exec("select syncjournal.alter_tracking('t', conflict_policy => 'manual')");
    assert_eq!(rules(&db), some(["manual", "{n,big}", ""]), "the function goes with its policy");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_way_out() {
    let db = node();
    for (options, sqlstate) in [
        ("conflict_policy => 'loudest'", "22023"),
        ("conflict_policy => 'custom'", "22023"),
        ("merge_function => '\"My rules\".mine'", "22023"),
        ("conflict_policy => 'custom', merge_function => 'strict_one'", "42P13"),
        ("conflict_policy => 'custom', merge_function => 'too_few'", "42P13"),
        ("conflict_policy => 'custom', merge_function => 'gives_many'", "42P13"),
        ("conflict_policy => 'custom', merge_function => 'gives_text'", "42P13"),
        ("counters => '{id}'", "22023"),
        ("counters => '{n,label}'", "22023"),
        ("counters => '{twice}'", "22023"),
        ("counters => '{hidden}', exclude_columns => '{hidden}'", "22023"),
        ("counters => '{n}', natural_key => '{n}'", "22023"),
        ("counters => '{none}'", "42703"),
        ("counters => array[null]", "42703"),
    ] {
        let refused = db.expect_error(&format!("select syncjournal.track('t', {options})"));
        assert_eq!(refused.sqlstate, sqlstate, "{options}: {refused:?}");
        assert!(!refused.hint.is_empty(), "{options}");
    }
    db.exec("select syncjournal.track('t', counters => '{n}')");
    let excluded = "select syncjournal.alter_tracking('t', exclude_columns => '{n}')";
    assert_eq!(db.expect_error(excluded).sqlstate, "22023");
}

#[test]
fn a_merge_function_has_no_rights_that_its_owner_lacks() {
    let db = node();
    db.exec(
        "create role policies_owner; create role policies_other;
         create function other(jsonb, jsonb, jsonb) returns jsonb language sql as 'select $1';
         alter function other owner to policies_other;
         revoke execute on function strict_one from public;
         create function shut(jsonb, jsonb, jsonb) returns jsonb language sql as 'select $1';
         revoke execute on function shut from public;
         alter table t owner to policies_owner",
    );
    let track = |function: &str| {
        format!(
            "select syncjournal.track('t', conflict_policy => 'custom',
                     merge_function => '{function}')"
        )
    };
    let foreign = db.expect_error(&track("other"));
    assert_eq!(foreign.sqlstate, "42501");
    assert!(foreign.hint.contains("alter function public.other(jsonb,jsonb,jsonb)"));
    let shut = db.expect_error(&track("shut"));
    assert_eq!(shut.sqlstate, "42501");
    db.exec(&shut.hint.replace("Allow it: ", "").replace("policies_owner.", "policies_owner"));
    db.exec(&track("shut"));
}

#[test]
fn rules_follow_what_they_name() {
    let db = node();
    db.exec(
        "select syncjournal.track('t', conflict_policy => 'custom', counters => '{n,big}',
             merge_function => '\"My rules\".mine')",
    );
    for attempt in [
        "drop function \"My rules\".mine",
        "drop schema \"My rules\" cascade",
        "alter function \"My rules\".mine rename to yours",
        "alter function \"My rules\".mine set schema public",
        "alter schema \"My rules\" rename to others",
    ] {
        let refused = db.expect_error(attempt);
        assert_eq!(refused.sqlstate, "2BP01", "{attempt}");
        assert!(refused.message.contains("mine") && refused.hint.contains("alter_tracking"));
    }
    db.exec(
        "create or replace function \"My rules\".mine(jsonb, jsonb, jsonb) returns jsonb
        language sql as 'select $2'",
    );
    db.exec("alter table t rename n to amount");
    assert_eq!(rules(&db)[1].as_deref(), Some("{amount,big}"));
    let text = db.expect_error("alter table t alter big type text");
    assert!(text.message.contains("counter"), "{text:?}");
    db.exec("alter table t drop column amount cascade");
    assert_eq!(rules(&db)[1].as_deref(), Some("{big}"));
    db.exec("select syncjournal.untrack('t'); drop schema \"My rules\" cascade");
}

#[test]
fn policies_for_one_way_are_refused_where_a_peer_goes_both_ways() {
    let db = node();
    db.exec("select syncjournal.add_peer('branch')");
    let track = "select syncjournal.track('t', conflict_policy => 'keep_local')";
    let refused = db.expect_error(track);
    assert_eq!(refused.sqlstate, "55000");
    assert!(refused.detail.contains("branch") && !refused.hint.is_empty());
    db.exec("select syncjournal.alter_peer('branch', direction => 'receive')");
    db.exec(track);
    for attempt in [
        "select syncjournal.alter_peer('branch', direction => 'both')",
        "select syncjournal.add_peer('other')",
        &format!("select syncjournal.register_link('third', '{THIRD}', 'both')"),
    ] {
        assert_eq!(db.expect_error(attempt).sqlstate, "55000", "{attempt}");
    }
    db.exec("select syncjournal.add_peer('other', exclude => '{public.t}')");
    let include = "select syncjournal.alter_peer('other', exclude => '{}')";
    assert_eq!(db.expect_error(include).sqlstate, "55000");
    db.exec(&format!("select syncjournal.register_link('third', '{THIRD}', 'send')"));
    let widened = format!("select syncjournal.register_link('third', '{THIRD}', 'receive')");
    assert_eq!(db.expect_error(&widened).sqlstate, "55000", "a link's direction grows to both");

    db.exec("select syncjournal.alter_peer('other', active => false)");
    db.exec(include);
    let revived = "select syncjournal.alter_peer('other', active => true)";
    assert_eq!(db.expect_error(revived).sqlstate, "55000");
    let health = "select severity from syncjournal.health where check_name = 'one_way_policies'";
    assert_eq!(db.text(health), "ok");
    // Where a table only grows into a peer's lists, nobody stands in the way.
    db.exec(
        "create table away (id int primary key); create schema s;
         select syncjournal.alter_peer('other', exclude => '{public.*}', active => true);
         select syncjournal.track('away', conflict_policy => 'apply_remote');
         alter table away set schema s",
    );
    assert_eq!(db.text(health), "error");
}

#[test]
fn nodes_have_an_order_of_preference() {
    let db = node();
    let order = "select coalesce(name, node_id::text) from syncjournal.node_priority
        order by priority";
    let health = "select severity from syncjournal.health where check_name = 'node_priority'";
    db.exec("select syncjournal.track('t', conflict_policy => 'node_priority')");
    assert_eq!(db.text(health), "warning", "a policy without an order");
    db.exec(&format!("select syncjournal.set_node_priority('{{{OTHER},hq}}')"));
    assert_eq!(db.column::<String>(order), [OTHER, "hq"]);
    assert_eq!(db.text(health), "warning", "a node that was never met");
    let tags = "select array_agg(node_tag = syncjournal.tag_of(node_id))::text
        from syncjournal.preferred_node";
    assert_eq!(db.text(tags), "{t,t}");
    for (nodes, sqlstate) in [
        ("'{nobody}'", "42704"),
        ("'{hq,hq}'", "22023"),
        ("array['hq', (select node_id::text from syncjournal.node where is_local)]", "22023"),
        ("'{hq,null}'", "22004"),
        ("null", "22004"),
    ] {
        let refused = db.expect_error(&format!("select syncjournal.set_node_priority({nodes})"));
        assert_eq!(refused.sqlstate, sqlstate, "{nodes}: {refused:?}");
        assert!(!refused.hint.is_empty());
    }
    assert_eq!(db.column::<String>(order), [OTHER, "hq"], "what is refused changes nothing");
    db.exec("select syncjournal.set_node_priority('{hq}')");
    assert_eq!(db.text(health), "ok");
    db.exec("select syncjournal.adopt_clone('copy'); select syncjournal.set_node_priority('{hq}')");
    db.exec("select syncjournal.set_node_priority('{}')");
    assert_eq!(db.column::<String>(order), Vec::<String>::new());
}

#[test]
fn a_new_policy_says_that_earlier_conflicts_still_wait() {
    let db = node();
    db.exec("select syncjournal.track('t', conflict_policy => 'manual')");
    db.exec(
        "insert into syncjournal.conflict_log (peer_id, schema_name, table_name, row_id,
             conflict_type, policy, status)
         values (1, 'public', 't', gen_random_uuid(), 'insert_exists', 'manual', 'pending')",
    );
    let change = "select syncjournal.alter_tracking('t', conflict_policy => 'merge_columns')";
    let said = db.psql(change);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("still wait for a decision") && said.contains("resolve_conflict"));
}
