//! Users who write while entries are being applied.

use syncjournal_tests::{Db, Session, apply_set, carry, prepare_set, wait_until};

use super::{ROW, assert_all_same, conflicts, row, set, spread, three, two};

const APPLIED: &str = "select array[updated, skipped, quarantined] from syncjournal.apply($1)";

/// Runs `waiting` in a session of its own and, once it waits for a lock, `meanwhile`.
#[track_caller]
fn while_waiting<R: Send>(
    db: &Db,
    waiting: impl FnOnce(Session) -> R + Send,
    meanwhile: impl FnOnce(),
) -> R {
    std::thread::scope(|scope| {
        let to = db.dsn();
        let done = scope.spawn(move || waiting(Session::connect(&to)));
        wait_until("one session waits for the other", || {
            db.query_one::<bool>(
                "select exists (select from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock')",
            )
        });
        meanwhile();
        done.join().expect("it ends well")
    })
}

#[track_caller]
fn applied_while_waiting(db: &Db, part: &Vec<u8>, meanwhile: impl FnOnce()) -> Vec<i64> {
    while_waiting(db, |mut session| session.query_one_with(APPLIED, &[part]), meanwhile)
}

#[test]
fn a_row_that_is_deleted_while_a_set_is_applied_does_not_come_back() {
    const OTHER: &str = "00000000-0000-4000-8000-000000000002";
    let (a, b) = two("conflict_policy => 'last_update_wins'");
    a.exec(&format!("insert into item values ('{OTHER}', 'other')"));
    carry(&a, &b, "changes");
    a.exec(&format!("update item set n = 20 where id = '{OTHER}'"));
    set(&a, "n = 11");
    a.exec(&format!("update item set n = 21 where id = '{OTHER}'"));
    set(&a, "n = 12");
    let parts = prepare_set(&a, &b, "changes");

    let mut user = b.session();
    user.exec(&format!("begin; select from item where id = '{OTHER}' for update"));
    // The set's first entry waits for the lock; the table is known to have no deleted row by then.
    applied_while_waiting(&b, &parts[0], || {
        b.exec(&format!("delete from item where id = '{ROW}'"));
        user.exec("commit");
    });
    assert_eq!(row(&b), "", "the delete is the later write");
    assert_eq!(conflicts(&b).first().map(String::as_str), Some("update_deleted local resolved"));
    apply_set(&a, &prepare_set(&b, &a, "changes"));
    assert_all_same(&[&a, &b]);
}

#[test]
fn two_peers_that_bring_the_same_frame_at_once_do_not_fail() {
    let (a, b, c) = three("conflict_policy => 'last_update_wins'");
    set(&a, "n = 11");
    apply_set(&c, &prepare_set(&a, &c, "changes"));
    let (of_a, of_c) = (prepare_set(&a, &b, "changes"), prepare_set(&c, &b, "changes"));

    let mut first = b.session();
    first.exec("begin");
    let counts: Vec<i64> = first.query_one_with(APPLIED, &[&of_a[0]]);
    assert_eq!(counts, [1, 0, 0]);
    let counts = applied_while_waiting(&b, &of_c[0], || first.exec("commit"));
    assert_eq!(counts, [0, 1, 0]);
    spread(&[&a, &b, &c]);
    assert_all_same(&[&a, &b, &c]);
}

/// A row that is gone on both nodes, and deleted once more at the first.
fn deleted_twice() -> (Db, Db, Vec<Vec<u8>>) {
    let (a, b) = two("conflict_policy => 'last_update_wins'");
    b.exec(&format!("delete from item where id = '{ROW}'"));
    a.exec(&format!("delete from item where id = '{ROW}'"));
    let parts = prepare_set(&a, &b, "changes");
    (a, b, parts)
}

#[test]
fn a_row_is_inserted_again_while_another_delete_of_it_arrives() {
    let (a, b, parts) = deleted_twice();
    let mut user = b.session();
    user.exec("begin");
    user.exec(&format!("insert into item values ('{ROW}', 'again', 1, 1)"));
    applied_while_waiting(&b, &parts[0], || user.exec("commit"));
    assert_eq!(row(&b), "again 1 1", "the insert is the later write");
    assert_eq!(b.query_one::<i64>("select count(*) from syncjournal.tombstone"), 0);
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&a), "again 1 1");
}

#[test]
fn an_insert_waits_for_the_delete_that_arrives_and_knows_of_it() {
    let (a, b, parts) = deleted_twice();
    let mut applying = b.session();
    applying.exec("begin");
    let _: Vec<i64> = applying.query_one_with(APPLIED, &[&parts[0]]);
    while_waiting(
        &b,
        |mut session| session.exec(&format!("insert into item values ('{ROW}', 'again', 1, 1)")),
        || applying.exec("commit"),
    );
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&a), "again 1 1");
}
