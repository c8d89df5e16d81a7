//! Databases that both wrote before they met: a full set brings rows, and not what lies behind them.

use syncjournal_tests::{
    Db, Session, apply_set, carry, confirm_set, introduce, pair, prepare_set, wait_until,
};

use super::{ROW, assert_all_same, delete, row, set, spread};

/// Both have the row from before they tracked it, and each has changed it since.
fn apart(rules: &str) -> (Db, Db) {
    let (a, b) = pair();
    introduce(&[(&a, "a"), (&b, "b")]);
    for db in [&a, &b] {
        db.exec(
            "create table item (id uuid primary key, label text, n int default 0, price numeric)",
        );
        db.exec(&format!("insert into item values ('{ROW}', 'both', 10, 1)"));
        db.exec(&format!("select syncjournal.track('item'{rules})"));
    }
    (a, b)
}

/// The source's full set is here, while the row of this node has not gone there yet.
fn first_set(a: &Db, b: &Db) {
    let full = prepare_set(a, b, "full");
    apply_set(b, &full);
    confirm_set(a, &full);
}

#[track_caller]
fn assert_end(a: &Db, b: &Db, expected: &str) {
    spread(&[a, b]);
    for db in [a, b] {
        let waits: Vec<String> = db.column("select error from syncjournal.quarantine");
        assert_eq!(waits, Vec::<String>::new());
    }
    assert_all_same(&[a, b]);
    assert_eq!(row(b), expected);
}

#[test]
fn what_the_source_writes_on_top_of_a_row_that_was_not_followed_is_taken() {
    let (a, b) = apart("");
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    first_set(&a, &b);
    assert_eq!(row(&b), "b 10 1");
    // The source has not heard of b's row.
    set(&a, "n = 11");
    assert_end(&a, &b, "a 11 1");
}

#[test]
fn the_later_of_both_stays_where_the_source_wrote_before_it() {
    let (a, b) = apart("");
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    first_set(&a, &b);
    set(&a, "n = 11");
    set(&b, "n = 12");
    assert_end(&a, &b, "b 12 1");
}

#[test]
fn a_row_that_was_deleted_here_is_one_that_was_not_followed() {
    let (a, b) = apart("");
    set(&a, "label = 'a'");
    delete(&b);
    first_set(&a, &b);
    assert_eq!(row(&b), "");
    set(&a, "n = 11");
    assert_end(&a, &b, "a 11 1");
}

#[test]
fn a_full_set_frees_what_waits_for_the_row_behind_it() {
    let (a, b) = apart("");
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    first_set(&a, &b);
    b.exec("delete from syncjournal.skipped_state");
    set(&a, "n = 11");
    assert_eq!(carry(&a, &b, "changes").quarantined, 1);
    set(&b, "n = 12");
    carry(&a, &b, "full");
    assert_end(&a, &b, "b 12 1");
}

#[test]
fn what_was_not_followed_is_forgotten_once_the_source_has_heard_of_the_row_here() {
    let (a, b) = apart("");
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    first_set(&a, &b);
    let kept = |db: &Db| -> i64 { db.query_one("select count(*) from syncjournal.skipped_state") };
    b.exec("select syncjournal.prune()");
    assert_eq!(kept(&b), 1);
    spread(&[&a, &b]);
    b.outlive_others();
    set(&a, "n = 11");
    set(&b, "price = 2");
    spread(&[&a, &b]);
    b.exec("select syncjournal.prune()");
    assert_eq!(kept(&b), 0);
    set(&a, "n = 12");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    b.exec("select syncjournal.untrack('item')");
}

#[test]
fn sessions_may_meet_a_node_at_once() {
    let (a, b) = apart("");
    set(&a, "label = 'a'");
    let part = prepare_set(&a, &b, "changes").swap_remove(0);
    let gate = "select pg_advisory_lock(7)";
    for _ in 0..15 {
        // As if the node had never been met.
        b.exec(
            "delete from syncjournal.known_node k using syncjournal.local_node l
             where k.node_id <> l.node_id",
        );
        b.exec(gate);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (dsn, part) = (b.dsn(), &part);
                scope.spawn(move || {
                    let mut session = Session::connect(&dsn);
                    session.exec("select pg_advisory_lock_shared(7)");
                    let applied = "select entries from syncjournal.apply($1)";
                    let _: i64 = session.query_one_with(applied, &[part]);
                });
            }
            wait_until("all are ready", || {
                b.query_one::<bool>(
                    "select count(*) = 4 from pg_locks
                     where locktype = 'advisory' and objid = 7 and not granted
                         and database = (select oid from pg_database where datname = current_database())",
                )
            });
            b.exec("select pg_advisory_unlock(7)");
        });
    }
    let known: i64 = b.query_one("select count(*) from syncjournal.known_node");
    assert_eq!(known, 2);
    assert_eq!(row(&b), "a 10 1");
}
