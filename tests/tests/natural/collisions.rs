//! `on_key_collision`: a natural key that is met under another identity.

use syncjournal_tests::{Db, assert_same_rows, carry, introduce, pair, triple};

use super::{conflicts, exchange};

const TABLES: &str = "create table item (
        id uuid primary key default gen_random_uuid(), email text not null unique, note text);
    create table visit (id uuid primary key default gen_random_uuid(),
        item_id uuid not null references item, day int)";

fn furnish(nodes: &[(&Db, &str)], policy: &str) {
    introduce(nodes);
    for (db, _) in nodes {
        db.exec(TABLES);
        db.exec(&format!(
            "select syncjournal.track('item', natural_key => '{{email}}',
                 on_key_collision => '{policy}');
             select syncjournal.track('visit')"
        ));
    }
}

/// Two nodes that have both made a@x, each with a visit, and each something of its own.
fn offices(policy: &str) -> (Db, Db) {
    let (hq, branch) = pair();
    furnish(&[(&hq, "hq"), (&branch, "branch")], policy);
    hq.exec(
        "insert into item values ('11111111-1111-4111-8111-111111111111', 'a@x', 'hq'),
            (gen_random_uuid(), 'hq@x', 'hq');
         insert into visit (item_id, day) values ('11111111-1111-4111-8111-111111111111', 1)",
    );
    branch.exec(
        "insert into item values ('22222222-2222-4222-8222-222222222222', 'a@x', 'branch'),
            (gen_random_uuid(), 'branch@x', 'branch');
         insert into visit (item_id, day) values ('22222222-2222-4222-8222-222222222222', 2)",
    );
    (hq, branch)
}

fn items(db: &Db) -> Vec<String> {
    db.column("select email || ' ' || coalesce(note, '-') from item order by 1")
}

fn assert_equal(nodes: &[&Db]) {
    for other in &nodes[1..] {
        for table in ["item", "visit"] {
            assert_same_rows(nodes[0], other, table);
        }
    }
    for db in nodes {
        let stray = "select count(*) from visit v where not exists (
            select from item i where i.id = v.item_id)";
        assert_eq!(db.query_one::<i64>(stray), 0, "every child has its parent");
        assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.quarantine"), 0);
    }
}

#[test]
fn it_waits_in_quarantine_by_default_and_goes_as_a_person_decides() {
    let (hq, branch) = offices("quarantine");
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.quarantined, done.conflicts), (1, 1), "{done:?}");
    assert_eq!(items(&branch), ["a@x branch", "branch@x branch", "hq@x hq"]);
    assert_eq!(conflicts(&branch), ["insert_exists last_update_wins pending"]);
    branch.exec("select syncjournal.alter_tracking('item', on_key_collision => 'rename')");
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_quarantine()"), 1);
    assert_eq!(
        items(&branch),
        [
            "a@x (22222222-2222-4222-8222-222222222222) branch",
            "a@x hq",
            "branch@x branch",
            "hq@x hq"
        ]
    );
    assert_eq!(conflicts(&branch), ["insert_exists rename resolved merged"]);
    exchange(&branch, &hq);
    assert_equal(&[&hq, &branch]);
}

#[test]
fn skip_keeps_the_row_that_is_here_and_says_so() {
    let (hq, branch) = offices("skip");
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.skipped, done.quarantined, done.conflicts), (1, 0, 1), "{done:?}");
    assert_eq!(conflicts(&branch), ["insert_exists skip resolved local"]);
    let sides = branch.text(
        "select (local ->> 'note') || ' ' || (remote ->> 'note')
        from syncjournal.conflict",
    );
    assert_eq!(sides, "branch hq");
    // What comes later of the row is measured anew: it comes in once its key is free.
    hq.exec("update item set note = 'again' where email = 'a@x'");
    let again = carry(&hq, &branch, "changes");
    assert_eq!((again.updated + again.inserted, again.quarantined), (0, 0), "{again:?}");
    hq.exec("update item set email = 'free@x' where email = 'a@x'");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), ["a@x branch", "branch@x branch", "free@x again", "hq@x hq"]);
    exchange(&branch, &hq);
    assert_equal(&[&hq, &branch]);
}

#[test]
fn adopt_makes_one_row_of_both_and_children_follow() {
    for first_from_hq in [true, false] {
        let (hq, branch) = offices("adopt");
        let (one, other) = if first_from_hq { (&hq, &branch) } else { (&branch, &hq) };
        exchange(one, other);
        assert_equal(&[&hq, &branch]);
        assert_eq!(items(&hq), ["a@x hq", "branch@x branch", "hq@x hq"]);
        let days = "select array_agg(day order by day) from visit v join item i on i.id = item_id
            where email = 'a@x'";
        assert_eq!(branch.query_one::<Vec<i32>>(days), [1, 2]);
        let told = if first_from_hq { "remote" } else { "local" };
        let told = format!("insert_exists adopt resolved {told}");
        assert!(conflicts(other).contains(&told), "{:?}", conflicts(other));
        // What was set aside can be read, and the row goes on as one.
        let aside = other.text(
            "select coalesce(local ->> 'note', '') || (remote ->> 'note')
            from syncjournal.conflict where policy = 'adopt'",
        );
        assert!(aside.contains("hq") && aside.contains("branch"));
        branch.exec("update item set note = 'both' where email = 'a@x'");
        exchange(one, other);
        assert_equal(&[&hq, &branch]);
        assert!(items(&hq).contains(&"a@x both".to_owned()));
    }
}

#[test]
fn both_sides_at_once_do_not_lose_both_rows() {
    for policy in ["adopt", "rename"] {
        let (hq, branch) = offices(policy);
        // Neither has seen what the other makes of it when its own set leaves.
        let to_branch = syncjournal_tests::prepare_set(&hq, &branch, "changes");
        let to_hq = syncjournal_tests::prepare_set(&branch, &hq, "changes");
        for (db, parts) in [(&branch, &to_branch), (&hq, &to_hq)] {
            let done = syncjournal_tests::apply_set(db, parts);
            assert_eq!((done.quarantined, done.conflicts), (0, 1), "{policy}: {done:?}");
        }
        exchange(&hq, &branch);
        assert_equal(&[&hq, &branch]);
        let kept = if policy == "adopt" { 3 } else { 4 };
        assert_eq!(items(&hq).len(), kept, "{policy}");
    }
}

#[test]
fn rename_keeps_both_under_names_of_their_own() {
    let (hq, branch) = offices("rename");
    exchange(&hq, &branch);
    assert_equal(&[&hq, &branch]);
    assert_eq!(
        items(&hq),
        [
            "a@x (22222222-2222-4222-8222-222222222222) branch",
            "a@x hq",
            "branch@x branch",
            "hq@x hq"
        ]
    );
    assert_eq!(conflicts(&branch), ["insert_exists rename resolved merged"]);
    assert_eq!(conflicts(&hq), Vec::<String>::new(), "it came with the name that it has");
    let own = "select op || ' ' || coalesce(node, 'the rule') from syncjournal.change
        where relation = 'public.item' and row_id = '22222222-2222-4222-8222-222222222222'
        order by version";
    assert_eq!(hq.column::<String>(own), ["INSERT branch", "UPDATE the rule"]);
    // A name of a person's own replaces it.
    branch.exec("update item set email = 'b@x' where email like 'a@x (%'");
    exchange(&hq, &branch);
    assert_equal(&[&hq, &branch]);
}

#[test]
fn three_nodes_that_all_made_it_end_equal() {
    for policy in ["adopt", "rename"] {
        let (a, b, c) = triple();
        furnish(&[(&a, "a"), (&b, "b"), (&c, "c")], policy);
        for (db, note) in [(&a, "a"), (&b, "b"), (&c, "c")] {
            db.exec(&format!("insert into item (email, note) values ('x@x', '{note}')"));
            db.exec("insert into visit (item_id, day) select id, 1 from item");
        }
        for _ in 0..3 {
            for (from, to) in [(&a, &b), (&c, &a), (&b, &c), (&b, &a), (&a, &c), (&c, &b)] {
                carry(from, to, "changes");
            }
        }
        assert_equal(&[&a, &b, &c]);
        let kept = if policy == "adopt" { 1 } else { 3 };
        assert_eq!(items(&a).len(), kept, "{policy}: {:?}", items(&a));
        assert_eq!(a.query_one::<i64>("select count(*) from visit"), 3);
    }
}

#[test]
fn from_a_peer_that_takes_nothing_the_identity_is_taken_over() {
    let (hq, branch) = offices("adopt");
    // What hq has is the smaller identity, and gives way nevertheless.
    hq.exec("select syncjournal.alter_peer('branch', direction => 'receive')");
    let done = carry(&branch, &hq, "changes");
    assert_eq!((done.quarantined, done.conflicts), (0, 1), "{done:?}");
    assert_eq!(items(&hq), ["a@x branch", "branch@x branch", "hq@x hq"]);
    let parents: i64 = hq.query_one("select count(*) from visit v join item i on i.id = item_id");
    assert_eq!(parents, 2, "the child of the row that gave way has followed");
    assert_eq!(conflicts(&hq), ["insert_exists adopt resolved remote"]);
}

#[test]
fn a_first_copy_meets_collisions_too() {
    let (hq, branch) = offices("adopt");
    let done = carry(&hq, &branch, "full");
    assert_eq!((done.quarantined, done.conflicts), (0, 1), "{done:?}");
    assert_eq!(items(&branch), ["a@x hq", "branch@x branch", "hq@x hq"]);
    carry(&branch, &hq, "full");
    exchange(&hq, &branch);
    assert_equal(&[&hq, &branch]);
}

#[test]
fn two_rows_that_were_both_here_are_not_made_one() {
    let (hq, branch) = pair();
    furnish(&[(&hq, "hq"), (&branch, "branch")], "adopt");
    hq.exec("insert into item (email, note) values ('a@x', 'a'), ('b@x', 'b')");
    exchange(&hq, &branch);
    hq.exec("delete from item where email = 'a@x'; update item set email = 'a@x'");
    branch.exec("update item set note = 'still here' where email = 'a@x'");
    let done = carry(&hq, &branch, "changes");
    assert_eq!(done.quarantined, 1, "{done:?}");
    assert_eq!(items(&branch), ["a@x still here", "b@x b"]);
}

#[test]
fn a_name_that_does_not_fit_waits() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for (db, id) in [(&hq, 1), (&branch, 2)] {
        db.exec(&format!(
            "create table t (id uuid primary key, code varchar(8) unique, n int default 0);
             select syncjournal.track('t', natural_key => '{{code}}', on_key_collision => 'rename');
             insert into t values ('{id}1111111-1111-4111-8111-111111111111', 'x')"
        ));
    }
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.inserted, done.quarantined), (0, 1), "{done:?}");
    assert_eq!(branch.text("select sqlstate from syncjournal.quarantine"), "22001");
    assert_eq!(branch.query_one::<i64>("select count(*) from t"), 1);
}
