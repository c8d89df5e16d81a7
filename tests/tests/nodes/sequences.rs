//! `stripe_sequences`, and who warns where nodes give out the same numbers.

use syncjournal_tests::{AgentCommand, Db, carry, introduce, pair, shared};

const TABLES: &str = "create table item (id serial primary key, label text);
    create table big (id bigint generated always as identity primary key, n int);
    create table down (id int primary key default null);
    create sequence down_id increment -1 maxvalue 100 start 100;
    alter table down alter id set default nextval('down_id');
    create table free (id uuid primary key default gen_random_uuid(), serial_no serial)";

fn offices() -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(TABLES);
        db.exec("select syncjournal.track_all()");
    }
    (hq, branch)
}

fn severity(db: &Db) -> String {
    db.text("select severity from syncjournal.health where check_name = 'sequences'")
}

#[test]
fn two_nodes_take_turns() {
    let (hq, branch) = offices();
    hq.exec("insert into item (label) select 'early' from generate_series(1, 7)");
    hq.exec("insert into item values (20, 'by hand'); insert into big (n) values (1), (2)");
    carry(&hq, &branch, "full");
    let striped =
        hq.rows("select sequence, relation, next_value from syncjournal.stripe_sequences(1, 2)");
    let striped: Vec<String> = striped
        .into_iter()
        .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        striped,
        ["big_id_seq big 3", "down_id down 99", "free_serial_no_seq free 1", "item_id_seq item 21"]
    );
    branch.exec("select syncjournal.stripe_sequences(2, 2)");
    for db in [&hq, &branch] {
        db.exec(
            "insert into item (label) select 'x' from generate_series(1, 50);
             insert into big (n) select 1 from generate_series(1, 50);
             insert into down select from generate_series(1, 20)",
        );
    }
    for (from, to) in [(&hq, &branch), (&branch, &hq)] {
        let done = carry(from, to, "changes");
        assert_eq!((done.conflicts, done.quarantined), (0, 0), "{done:?}");
    }
    for (table, rows) in [("item", 108), ("big", 102), ("down", 40)] {
        for db in [&hq, &branch] {
            assert_eq!(db.query_one::<i64>(&format!("select count(*) from {table}")), rows);
        }
    }
    assert_eq!((severity(&hq), severity(&branch)), ("ok".into(), "ok".into()));
    // A table that is tracked later takes part; one of one gives every number again.
    hq.exec("create table late (id serial primary key); select syncjournal.track('late')");
    hq.exec("insert into late default values; insert into late default values");
    assert_eq!(hq.column::<i32>("select id from late order by 1"), [1, 3]);
    branch.exec("truncate item restart identity; insert into item (label) values ('first')");
    assert_eq!(branch.query_one::<i32>("select id from item"), 2);
    hq.exec("select syncjournal.stripe_sequences(1, 1)");
    hq.exec("insert into late default values");
    assert_eq!(hq.column::<i32>("select id from late order by 1"), [1, 3, 4]);
}

#[test]
fn health_warns_where_both_sides_insert_and_nothing_was_arranged() {
    let (hq, branch) = offices();
    hq.exec("insert into item (label) values ('a')");
    assert_eq!(severity(&hq), "ok", "one side alone");
    branch.exec("insert into item values (1000, 'b')");
    carry(&branch, &hq, "changes");
    let told = hq.rows(
        "select severity, detail, hint from syncjournal.health where check_name = 'sequences'",
    );
    let told: Vec<&str> = told[0].iter().flatten().map(String::as_str).collect();
    assert_eq!(told[0], "warning");
    assert!(told[1].contains("item.id") && told[1].contains("\"branch\""), "{told:?}");
    assert!(told[2].contains("stripe_sequences"), "{told:?}");
    hq.exec("select syncjournal.stripe_sequences(1, 2)");
    assert_eq!(severity(&hq), "ok");
    // A copy must not go on with the original's numbers.
    let copy = hq.createdb_copy();
    copy.exec("select syncjournal.adopt_clone('copy')");
    assert_eq!(severity(&copy), "warning");
    copy.exec("select syncjournal.stripe_sequences(2, 2)");
    assert_eq!(severity(&copy), "ok");
}

#[test]
fn check_compares_the_sequences_of_both_ends() {
    let (hq, branch) = offices();
    let config = format!(
        "[node.hq]\ndsn = \"{}\"\n[node.branch]\ndsn = \"{}\"\n[[link]]\nname = \"l\"\n\
         source = \"hq\"\ndestination = \"branch\"\ndirection = \"both\"\n",
        hq.dsn(),
        branch.dsn()
    );
    let told = || {
        let done = AgentCommand::new(&config).args(&["check", "--json"]).finish();
        let all: serde_json::Value = serde_json::from_str(&done.stdout).expect("it is JSON");
        let of = |one: &&serde_json::Value| {
            one["check"] == "sequences"
                && one["detail"].as_str().is_some_and(|d| d.contains("both ends"))
        };
        let found = all.as_array().expect("a list").iter().find(of).cloned().unwrap_or_default();
        format!("{} {}", found["severity"], found["detail"])
    };
    let warned = told();
    assert!(warned.starts_with("\"warning\"") && warned.contains("public.item.id"), "{warned}");
    assert!(!warned.contains("serial_no"), "that column is no key: {warned}");
    hq.exec("select syncjournal.stripe_sequences(1, 2)");
    branch.exec("select syncjournal.stripe_sequences(1, 2)");
    assert!(told().starts_with("\"warning\""), "both at one position");
    branch.exec("select syncjournal.stripe_sequences(2, 2)");
    assert!(told().starts_with("\"ok\""), "{}", told());
}

#[test]
fn a_stripe_that_cannot_be_is_refused() {
    let db = Db::fresh(shared(0));
    let unnamed = db.expect_error("select syncjournal.stripe_sequences(1, 2)");
    assert_eq!(unnamed.sqlstate, "55000");
    db.exec("select syncjournal.create_node('hq')");
    for arguments in ["0, 2", "3, 2", "1, 0", "null, 2", "1, null"] {
        let error = db.expect_error(&format!("select syncjournal.stripe_sequences({arguments})"));
        assert_eq!(error.sqlstate, "22023", "{arguments}");
        assert!(error.hint.contains("stripe_sequences(1, n)"));
    }
    db.exec(
        "create table tiny (id smallserial primary key); select syncjournal.track('tiny');
         insert into tiny values (32767)",
    );
    let full = db.expect_error("select syncjournal.stripe_sequences(1, 2)");
    assert_eq!(full.sqlstate, "2200H");
    assert!(full.message.contains("tiny_id_seq") && full.hint.contains("bigint"), "{full:?}");
    assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.sequence_stripe"), 0);
}
