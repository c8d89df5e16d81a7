//! What arrives: parents that are there, that come later, and that never come.

use syncjournal_tests::{Db, apply_set, carry, confirm_set, introduce, pair, prepare_set};

use super::{SHOP, assert_equal, assert_settled, lines, meet, offices};

const TABLES: [&str; 3] = ["customer", "invoice", "line"];

/// As [`offices`], and `a` sends its tables apart from each other.
fn apart(schema: &str) -> (Db, Db) {
    offices(schema)
}

/// Carries one table alone, and what is not confirmed before.
pub fn carry_only(from: &Db, to: &Db, table: &str) -> syncjournal_tests::Applied {
    let peer = to.text("select name from syncjournal.node where is_local");
    let parts: Vec<Vec<u8>> = from.column(&format!(
        "select data from syncjournal.prep_sync('{peer}', mode => 'full', include => '{{public.{table}}}')
         order by part"
    ));
    apply_set(to, &parts)
}

#[test]
fn a_child_before_its_parent_in_one_set() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer (name) values ('old')");
    a.exec("insert into invoice (customer_id, total) values (1, 1)");
    // The frame of lines begins before that of invoices, and that of invoices before that of
    // customers, and each ends behind it.
    a.exec(
        "begin;
         insert into line (invoice_id, article) values (1, 'first');
         insert into invoice (customer_id, total) values (1, 2);
         insert into customer (name) values ('new');
         insert into invoice (customer_id, total) values (2, 3);
         insert into line (invoice_id, gift_for, article) values (3, 2, 'second');
         update line set article = 'Second' where article = 'second';
         insert into line (invoice_id, article) values (3, 'gone');
         delete from line where article = 'gone';
         commit",
    );
    let applied = carry(&a, &b, "changes");
    assert_eq!((applied.quarantined, applied.conflicts), (0, 0));
    assert_equal(&a, &b, &TABLES);
    assert_settled(&[&a, &b]);
    assert_eq!(lines(&b), ["Second 3 new new", "first 1 old"]);
}

#[test]
fn an_optional_reference_waits_as_null_and_is_filled() {
    let (a, b) = offices(
        "
        create table team (id serial primary key, name text);
        create table person (id serial primary key, team_id int references team, name text)",
    );
    a.exec("insert into team (name) values ('red'), ('blue')");
    a.exec("insert into person (team_id, name) values (1, 'ann'), (1, 'bob'), (2, 'cid')");
    let applied = carry_only(&a, &b, "person");
    assert_eq!((applied.inserted, applied.quarantined), (3, 0));
    let teams = "select string_agg(coalesce(t.name, '-'), ' ' order by p.name)
        from person p left join team t on t.id = p.team_id";
    assert_eq!(b.text(teams), "- - -");
    // It says the same as the source already, and passes that on.
    assert_equal(&a, &b, &["person"]);
    let version = "select string_agg(sync_version::text, ' ' order by name) from person";
    let before = b.text(version);
    // What somebody sets meanwhile stays, and other columns are theirs as well.
    b.exec("insert into team (name) values ('own')");
    b.exec("update person set team_id = 1 where name = 'bob'");
    b.exec("update person set name = 'Cid' where name = 'cid'");
    let own = b.text(version);
    let applied = carry_only(&a, &b, "team");
    assert_eq!((applied.inserted, applied.updated), (2, 0));
    assert_eq!(b.text(teams), "blue red own");
    assert_eq!(b.text(version), own);
    assert_ne!(before, own);
    assert_eq!(b.text("select count(*) from syncjournal.pending_reference"), "0");
    meet(&a, &b);
    assert_equal(&a, &b, &["team", "person"]);
    assert_settled(&[&a, &b]);
}

#[test]
fn a_required_reference_waits_in_quarantine() {
    let (a, b) = apart(SHOP);
    a.exec("insert into customer (name) values ('ann')");
    a.exec("insert into invoice (customer_id, total) values (1, 1)");
    a.exec("insert into line (invoice_id, gift_for, article) values (1, 1, 'x')");
    let applied = carry_only(&a, &b, "line");
    assert_eq!((applied.inserted, applied.quarantined), (0, 1));
    let invoice = a.text("select sync_id from invoice");
    let error = b.text("select sqlstate || ' ' || error from syncjournal.quarantine");
    assert!(error.starts_with("23503 ") && error.contains(&invoice), "{error}");
    assert!(error.contains("\"invoice_id\"") && error.contains("has not come yet"), "{error}");
    let applied = carry_only(&a, &b, "invoice");
    assert_eq!(applied.quarantined, 1);
    assert_eq!(b.text("select count(*) from syncjournal.quarantine"), "2");
    // The parent brings its child, and the child the grandchild.
    carry_only(&a, &b, "customer");
    carry(&a, &b, "changes");
    assert_equal(&a, &b, &TABLES);
    assert_settled(&[&a, &b]);
    assert_eq!(lines(&b), ["x 1 ann ann"]);
}

#[test]
fn a_parent_that_was_deleted_here_is_told_of() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer (name) values ('ann')");
    a.exec("insert into invoice (customer_id, total) values (1, 1)");
    meet(&a, &b);
    b.exec("delete from invoice");
    a.exec("insert into line (invoice_id, article) values (1, 'x')");
    let applied = carry(&a, &b, "changes");
    assert_eq!(applied.quarantined, 1);
    let error = b.text("select error from syncjournal.quarantine");
    assert!(error.contains("was deleted here"), "{error}");
    // Somebody brings it back.
    let row = a.text("select sync_id from invoice");
    b.exec(&format!("insert into invoice (sync_id, customer_id, total) values ('{row}', 1, 2)"));
    b.exec("select syncjournal.retry_quarantine()");
    assert_eq!(lines(&b), ["x 2 ann"]);
}

#[test]
fn children_of_a_row_that_was_deleted_elsewhere_are_told_of_at_both_ends() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer (name) values ('ann'), ('bob')");
    a.exec("insert into invoice (customer_id, total) values (1, 1), (2, 2)");
    meet(&a, &b);
    let health = "select detail from syncjournal.health where check_name = 'lost_references'";
    assert_eq!((a.text(health), b.text(health)), ("none".into(), "none".into()));
    let [first, bob] = ["invoice where total = 1", "customer where name = 'bob'"]
        .map(|row| a.text(&format!("select sync_id from {row}")));
    // One line has lost its invoice, one the customer that it was a gift for.
    a.exec("delete from invoice where total in (1, 2)");
    a.exec("delete from customer where name = 'bob'");
    b.exec(
        "insert into invoice (customer_id, total) select id, 3 from customer where name = 'ann'",
    );
    b.exec("insert into line (invoice_id, article) select id, 'x' from invoice where total = 1");
    b.exec(
        "insert into line (invoice_id, gift_for, article)
         select i.id, c.id, 'y' from invoice i, customer c where total = 3 and name = 'bob'",
    );
    meet(&a, &b);
    let lost = "select concat_ws(' ', relation, column_name, referenced, referenced_id, is_null)
        from syncjournal.lost_reference order by 1";
    assert_eq!(a.column::<String>(lost), [format!("line gift_for customer {bob} t")]);
    assert_eq!(
        b.column::<String>(lost),
        [format!("line gift_for customer {bob} f"), format!("line invoice_id invoice {first} f")]
    );
    assert_eq!(a.text("select sqlstate from syncjournal.quarantine"), "23503");
    let told = "select severity || ': ' || detail from syncjournal.health
        where check_name = 'lost_references'";
    let gift = "Rows of public.line refer by \"gift_for\" to rows of public.customer that were deleted: 1.";
    assert_eq!(a.text(told), format!("warning: {gift}"));
    let both = "Rows of public.line refer by \"invoice_id\" to rows of public.invoice that were deleted: 1.";
    assert_eq!(b.text(told), format!("warning: {gift} {both}"));
    // Other columns of such rows change and travel; the first loses its line, the gift its customer.
    b.exec("update line set article = 'Y' where article = 'y'");
    meet(&a, &b);
    assert_eq!(a.text("select article from line"), "Y");
    b.exec("delete from line where article = 'x'; update line set gift_for = null");
    meet(&a, &b);
    let told = a.column::<String>("select conflict_type from syncjournal.conflict");
    assert_eq!(told, ["delete_missing"], "the line that never came in");
    for left in ["conflict", "quarantine", "pending_reference"] {
        let db = if left == "conflict" { &b } else { &a };
        assert_eq!(db.text(&format!("select count(*) from syncjournal.{left}")), "0", "{left}");
    }
    assert_equal(&a, &b, &TABLES);
    assert_eq!((a.text(health), b.text(health)), ("none".into(), "none".into()));
}

#[test]
fn a_row_that_comes_back_under_its_identity_finds_the_children_that_stayed() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer (name) values ('ann')");
    a.exec("insert into invoice (customer_id, total) values (1, 1)");
    meet(&a, &b);
    let invoice = a.text("select sync_id from invoice");
    a.exec("delete from invoice");
    b.exec("insert into line (invoice_id, article) values (1, 'x')");
    meet(&a, &b);
    assert_eq!(b.text("select count(*) from syncjournal.lost_reference"), "1");
    a.exec(&format!(
        "insert into invoice (sync_id, customer_id, total) values ('{invoice}', 1, 2)"
    ));
    a.exec("select syncjournal.retry_quarantine()");
    meet(&a, &b);
    assert_settled(&[&a, &b]);
    assert_equal(&a, &b, &TABLES);
    assert_eq!((lines(&a), lines(&b)), (vec!["x 2 ann".into()], vec!["x 2 ann".into()]));
    assert_eq!(b.text("select count(*) from syncjournal.lost_reference"), "0");
}

#[test]
fn a_child_moves_to_another_parent_and_merges() {
    let (a, b) = offices(SHOP);
    for db in [&a, &b] {
        db.exec("select syncjournal.alter_tracking('line', conflict_policy => 'merge_columns')");
    }
    a.exec("insert into customer (name) values ('ann'), ('bob')");
    a.exec("insert into invoice (customer_id, total) values (1, 1), (1, 2)");
    a.exec("insert into line (invoice_id, gift_for, article) values (1, 1, 'x')");
    meet(&a, &b);
    // The numbers differ from now on.
    b.exec(
        "insert into invoice (id, customer_id, total) overriding system value values (50, 1, 50)",
    );
    a.exec("update line set invoice_id = 2");
    b.exec("update line set gift_for = 2, article = 'y'");
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
    assert_eq!((lines(&a), lines(&b)), (vec!["y 2 ann bob".into()], vec!["y 2 ann bob".into()]));
    // To different parents: the later one, on both sides, and the record says which.
    a.exec("update line set invoice_id = 1");
    b.exec("update line set invoice_id = 50");
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
    assert_eq!(lines(&a), ["y 50 ann bob"]);
    assert_eq!(lines(&b), ["y 50 ann bob"]);
    let of_fifty = b.text("select sync_id from invoice where id = 50");
    let sides: i64 = a.query_one(&format!(
        "select count(*) from syncjournal.conflict
         where '{of_fifty}' in (local ->> 'invoice_id', remote ->> 'invoice_id')
            and not local ? 'id' and not remote ? 'id'"
    ));
    assert!(sides > 0);
}

#[test]
fn a_person_decides_by_identity() {
    let (a, b) = offices(SHOP);
    for db in [&a, &b] {
        db.exec("select syncjournal.alter_tracking('invoice', conflict_policy => 'manual')");
    }
    a.exec("insert into customer (name) values ('ann'), ('bob'), ('cid')");
    a.exec("insert into invoice (customer_id, total) values (1, 1)");
    meet(&a, &b);
    a.exec("update invoice set customer_id = 2");
    b.exec("update invoice set customer_id = 3");
    meet(&a, &b);
    let conflict: i64 =
        b.query_one("select conflict_id from syncjournal.conflict where status = 'pending'");
    let number = b.expect_error(&format!(
        "select syncjournal.resolve_conflict({conflict}, 'row', '{{\"customer_id\": 1}}')"
    ));
    assert_eq!(number.sqlstate, "22P02");
    let ann = b.text("select sync_id from customer where name = 'ann'");
    b.exec(&format!(
        "select syncjournal.resolve_conflict({conflict}, 'row',
            '{{\"customer_id\": \"{ann}\", \"total\": 9}}')"
    ));
    meet(&a, &b);
    for db in [&a, &b] {
        let found =
            "select c.name || ' ' || total from invoice i join customer c on c.id = customer_id";
        assert_eq!(db.text(found), "ann 9");
    }
    assert_equal(&a, &b, &TABLES);
}

#[test]
fn a_dry_run_leaves_nothing() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer (name) values ('ann')");
    a.exec("insert into invoice (customer_id, total) values (1, 1)");
    let parts = prepare_set(&a, &b, "changes");
    let inserted: i64 = b.query_one_with(
        "select inserted from syncjournal.apply($1, dry_run => true)",
        &[&parts[0]],
    );
    assert_eq!(inserted, 2);
    assert_eq!(b.text("select count(*) from invoice"), "0");
    apply_set(&b, &parts);
    confirm_set(&a, &parts);
    assert_equal(&a, &b, &TABLES);
}

#[test]
fn one_side_with_local_keys_and_one_without_do_not_mix() {
    let (a, b) = pair();
    introduce(&[(&a, "a"), (&b, "b")]);
    for (db, keys) in [(&a, "local"), (&b, "global")] {
        db.exec(SHOP);
        db.exec(&format!("select syncjournal.track_all(keys => '{keys}')"));
        db.exec("insert into customer (name) values ('x')");
        db.exec("insert into invoice (customer_id, total) values (1, 1)");
    }
    carry(&b, &a, "changes");
    let errors: Vec<String> = a.column("select error from syncjournal.quarantine order by 1");
    assert!(errors.iter().any(|error| error.contains("keys")), "{errors:?}");
    assert_eq!(a.text("select count(*) from invoice"), "1");
}
