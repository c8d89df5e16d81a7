//! Natural keys that are none, and rules that make no sense, are refused by name.

use syncjournal_tests::{AgentCommand, Db, pair, shared};

fn node() -> Db {
    let db = Db::fresh(shared(0));
    db.exec(
        "select syncjournal.create_node('hq');
         create table t (id int primary key, code text, label text, n int unique,
            doubled int generated always as (n * 2) stored unique);
         create unique index on t (code) where n > 0;
         insert into t values (1, 'a', 'x', 1), (2, 'b', 'x', 2), (3, null, 'z', 3)",
    );
    db
}

#[test]
fn bad_input_gets_an_error_that_names_it() {
    let db = node();
    for (options, sqlstate, told) in [
        ("natural_key => '{label}'", "23505", "apart"),
        ("natural_key => '{code}'", "22004", "public.t"),
        ("natural_key => '{id,label}'", "55000", "(id, label)"),
        ("natural_key => '{nothing}'", "42703", "nothing"),
        ("natural_key => '{n,n}'", "22023", "named twice"),
        ("natural_key => '{}'", "22023", "no columns"),
        ("natural_key => '{doubled}'", "22023", "doubled"),
        ("natural_key => '{n}', exclude_columns => '{n}'", "22023", "\"n\""),
        ("on_key_collision => 'skip'", "22023", "natural_key"),
        ("on_key_collision => 'guess'", "22023", "guess"),
        ("natural_key => '{n}', on_key_collision => 'rename'", "22023", "text column"),
    ] {
        let error = db.expect_error(&format!("select syncjournal.track('t', {options})"));
        assert_eq!(error.sqlstate, sqlstate, "{options}: {error:?}");
        assert!(error.message.contains(told), "{options}: {error:?}");
        assert!(!error.hint.is_empty(), "{options}: {error:?}");
    }
    let left = "select count(*) from pg_attribute where attrelid = 't'::regclass
        and attname like 'sync%'";
    assert_eq!(db.query_one::<i64>(left), 0, "nothing half done");
    db.exec("select syncjournal.track('t', natural_key => '{n}')");
    for (options, sqlstate) in [
        ("natural_key => '{id}'", "0A000"),
        ("exclude_columns => '{n}'", "22023"),
        ("on_key_collision => 'rename'", "22023"),
    ] {
        let error = db.expect_error(&format!("select syncjournal.alter_tracking('t', {options})"));
        assert_eq!(error.sqlstate, sqlstate, "{options}: {error:?}");
    }
    db.exec("select syncjournal.alter_tracking('t', on_key_collision => 'adopt')");
    assert_eq!(db.text("select on_key_collision from syncjournal.tracked_table"), "adopt");
}

#[test]
fn check_compares_the_natural_keys_of_both_ends() {
    let (hq, branch) = pair();
    for (db, name, key) in [(&hq, "hq", "{code}"), (&branch, "branch", "{label}")] {
        db.exec(&format!(
            "select syncjournal.create_node('{name}');
             create table t (id int primary key, code text unique, label text unique);
             select syncjournal.track('t', natural_key => '{key}')"
        ));
    }
    let config = format!(
        "[node.hq]\ndsn = \"{}\"\n[node.branch]\ndsn = \"{}\"\n[[link]]\nname = \"l\"\n\
         source = \"hq\"\ndestination = \"branch\"\ndirection = \"both\"\n",
        hq.dsn(),
        branch.dsn()
    );
    let done = AgentCommand::new(&config).arg("check").finish();
    assert_eq!(done.code, Some(3), "{}", done.stdout);
    assert!(
        done.stdout.contains("natural key {label} here, {code} at the source"),
        "{}",
        done.stdout
    );
}
