//! Retention: what goes, what stays because somebody may need it, and what is still known afterwards.

use syncjournal_tests::{Db, carry, introduce, pair, shared, triple};

const STONES: &str = "select count(*) from syncjournal.tombstone";

/// Names the databases as nodes that track the same empty table.
fn nodes(nodes: &[(&Db, &str)]) {
    introduce(nodes);
    for (db, _) in nodes {
        db.exec("create table t (id uuid primary key, n int); select syncjournal.track('t')");
    }
}

fn id(number: i32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Makes every segment old enough to be followed by a new one, or to be past its time.
fn age(db: &Db, by: &str) {
    db.exec(&format!(
        "update syncjournal.journal_segment set opened_at = opened_at - interval '{by}'"
    ));
}

fn prune(db: &Db) -> i64 {
    db.query_one("select syncjournal.prune()")
}

/// Closes the newest segment, which then holds all that was written.
fn close_segment(db: &Db) {
    age(db, "2 days");
    assert_eq!(prune(db), 0);
    db.outlive_others();
}

#[test]
fn a_tombstone_stays_until_every_peer_has_the_delete_and_has_said_so() {
    let (a, b, c) = triple();
    nodes(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    a.exec(&format!("insert into t values ('{}', 1), ('{}', 1)", id(1), id(2)));
    carry(&a, &b, "changes");
    carry(&a, &c, "changes");
    a.exec("delete from t");
    close_segment(&a);
    carry(&a, &b, "changes");
    carry(&b, &a, "changes");
    assert_eq!((prune(&a), a.query_one::<i64>(STONES)), (0, 2), "c is behind");
    carry(&a, &c, "changes");
    assert_eq!(
        (prune(&a), a.query_one::<i64>(STONES)),
        (0, 2),
        "c has it, and may send old frames"
    );
    carry(&c, &a, "changes");
    assert_eq!((prune(&a), a.query_one::<i64>(STONES)), (4, 0));
    // An identity that nobody remembers comes back, later than whatever was pruned.
    a.exec(&format!("insert into t values ('{}', 7)", id(1)));
    let later = "select sync_version > (select horizon from syncjournal.pruned) from t";
    assert!(a.query_one::<bool>(later));
    for other in [&b, &c] {
        carry(&a, other, "changes");
        syncjournal_tests::assert_same_rows(&a, other, "t");
    }
}

#[test]
fn a_row_that_was_pruned_does_not_rise_by_an_old_update() {
    let (a, b) = pair();
    nodes(&[(&a, "a"), (&b, "b")]);
    a.exec(&format!("insert into t values ('{}', 1)", id(1)));
    carry(&a, &b, "changes");
    b.exec("update t set n = 2");
    a.exec("delete from t");
    age(&a, "2 days");
    assert_eq!(prune(&a), 0);
    age(&a, "30 days");
    assert_eq!(prune(&a), 2, "retention is over, whoever lacks it");
    assert_eq!(a.query_one::<i64>(STONES), 0);
    carry(&b, &a, "changes");
    assert_eq!(a.query_one::<i64>("select count(*) from t"), 0);
    let logged = "select conflict_type || ' ' || status from syncjournal.conflict";
    assert_eq!(a.column::<String>(logged), ["update_missing pending"], "and somebody is told");
}

#[test]
fn an_old_frame_that_comes_back_finds_its_successors() {
    let (a, b, c) = triple();
    nodes(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    a.exec(&format!("insert into t values ('{}', 1)", id(1)));
    a.exec("update t set n = 2");
    close_segment(&a);
    // The same frames reach c by b first: c would send them on to a.
    carry(&a, &b, "changes");
    carry(&b, &c, "changes");
    carry(&a, &c, "changes");
    carry(&b, &a, "changes");
    assert_eq!(prune(&a), 0, "all have confirmed, and c has not shown what it holds");
    let back = carry(&c, &a, "changes");
    assert_eq!((back.entries, back.skipped), (2, 2));
    assert_eq!(prune(&a), 2);
    assert_eq!(carry(&c, &a, "changes").entries, 0, "nothing old is left to come");
    assert_eq!(a.text("select n::text from t"), "2");
    assert_eq!(a.query_one::<i64>("select count(*) from syncjournal.conflict"), 0);
}

#[test]
fn what_is_undecided_stays_whatever_its_age() {
    let db = Db::fresh(shared(0));
    nodes(&[(&db, "a")]);
    let segments = "select string_agg(segment::text, ',' order by segment)
        from syncjournal.journal_segment";
    for number in 1..=3 {
        db.exec(&format!("insert into t values ('{}', 1)", id(number)));
        age(&db, "2 days");
        assert_eq!(prune(&db), 0);
    }
    assert_eq!(db.text(segments), "1,2,3,4");
    db.exec(&format!(
        "insert into syncjournal.conflict_log (peer_id, schema_name, table_name, row_id,
             conflict_type, policy, local_version, status)
         select 1, 'public', 't', id, 'insert_exists', 'manual', sync_version, 'pending'
         from t where id = '{}'",
        id(2)
    ));
    age(&db, "30 days");
    assert_eq!(prune(&db), 2, "around it everything goes");
    assert_eq!(db.text(segments), "2,4");
    db.exec("update syncjournal.conflict_log set status = 'resolved'");
    assert_eq!(prune(&db), 1);
    assert_eq!(db.text(segments), "4");
}

#[test]
fn a_retention_that_is_no_interval_stops_nothing() {
    let db = Db::fresh(shared(0));
    nodes(&[(&db, "a")]);
    db.exec(&format!("insert into t values ('{}', 1)", id(1)));
    age(&db, "2 days");
    assert_eq!(prune(&db), 0);
    age(&db, "1000 days");
    db.exec("set syncjournal.retention = 'a while'");
    let health = "select severity || ' ' || detail from syncjournal.health
        where check_name = 'retention_setting'";
    assert_eq!(db.text(health), "error syncjournal.retention is \"a while\".");
    assert_eq!(prune(&db), 0, "nothing goes by an age that nobody knows");
    db.exec("reset syncjournal.retention");
    assert_eq!(db.text(health), "ok it is an interval");
    assert_eq!(prune(&db), 1);
}

#[test]
fn a_stream_s_position_says_what_had_come_from_others() {
    let (a, b) = pair();
    nodes(&[(&a, "a"), (&b, "b")]);
    let received = "select received::text from syncjournal.stream_position()";
    assert_eq!(b.text(received), "{}");
    a.exec(&format!("insert into t values ('{}', 1)", id(1)));
    carry(&a, &b, "changes");
    let sent = "select to_snapshot::text from syncjournal.sync_set";
    let node = "select node_id::text from syncjournal.node where is_local";
    assert_eq!(b.text(received), format!("{{\"{}\": \"{}\"}}", a.text(node), a.text(sent)));
}
