//! What is captured: identities where keys stood, whatever the statement.

use syncjournal_tests::{Db, carry};

use super::{SHOP, assert_equal, assert_settled, lines, meet, offices};

const TABLES: [&str; 3] = ["customer", "invoice", "line"];

/// The changes as people see them, oldest first, without what is different in every run.
fn changes(db: &Db, table: &str) -> Vec<String> {
    db.column(&format!(
        "select concat_ws(' ', op, coalesce(old, '{{}}')::text, coalesce(new, '{{}}')::text)
         from syncjournal.change where relation::text like '%{table}' order by version"
    ))
}

#[test]
fn both_give_out_the_same_numbers_and_every_row_hangs_on_its_own() {
    let (a, b) = offices(SHOP);
    for (db, who) in [(&a, "a"), (&b, "b")] {
        for n in 1..=5 {
            db.exec(&format!(
                "with c as (insert into customer (name) values ('{who}{n}') returning id),
                    i as (insert into invoice (customer_id, total) select id, {n} from c returning id)
                 insert into line (invoice_id, gift_for, article)
                 select i.id, c.id, '{who} article {n}' from i, c"
            ));
        }
    }
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
    assert_settled(&[&a, &b]);
    assert_eq!(lines(&a), lines(&b));
    let found = lines(&a);
    assert_eq!(found.len(), 10);
    for line in &found {
        let words: Vec<&str> = line.split(' ').collect();
        let name = format!("{}{}", words[0], words[2]);
        assert_eq!(words[3..], [words[2], &name, &name], "{line}");
    }
    let keys = "select string_agg(id::text, ' ' order by id) from invoice";
    assert_eq!(a.text(keys), "1 2 3 4 5 6 7 8 9 10");
    assert_eq!(b.text(keys), a.text(keys));
}

#[test]
fn the_journal_shows_identities_and_no_local_key() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer values (70, 'ann'), (71, 'bob')");
    a.exec("insert into invoice values (7, 70, 1)");
    let customer = |name| a.text(&format!("select sync_id from customer where name = '{name}'"));
    let (ann, bob) = (customer("ann"), customer("bob"));
    assert_eq!(
        changes(&a, "invoice"),
        [format!("INSERT {{}} {{\"total\": 1, \"customer_id\": \"{ann}\"}}")]
    );
    a.exec("update invoice set customer_id = 71");
    let moved = format!("UPDATE {{\"customer_id\": \"{ann}\"}} {{\"customer_id\": \"{bob}\"}}");
    assert_eq!(changes(&a, "invoice")[1..], [moved]);
    // The key itself is nobody else's affair, nor is what follows it.
    a.exec("alter table invoice drop constraint invoice_customer_id_fkey, add foreign key (customer_id)
        references customer on update cascade");
    let before = changes(&a, "invoice");
    a.exec("update customer set id = 700 where name = 'bob'");
    assert_eq!(a.text("select customer_id from invoice"), "700");
    assert_eq!((changes(&a, "invoice"), changes(&a, "customer").len()), (before, 2));
    a.exec("delete from invoice");
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
    let history: i64 = b.query_one(
        "select count(*) from syncjournal.history('invoice', (
            select row_id from syncjournal.change where op = 'DELETE'))
         where coalesce(new, old) ? 'customer_id'",
    );
    assert_eq!(history, 3);
}

#[test]
fn cascades_at_the_source_name_the_parent_that_goes() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer (name) values ('ann'), ('bob')");
    a.exec("insert into invoice (customer_id, total) values (1, 1), (1, 2)");
    a.exec("insert into line (invoice_id, gift_for, article) values (1, 2, 'x'), (2, 2, 'y')");
    meet(&a, &b);
    let invoice = a.text("select sync_id from invoice where id = 1");
    let bob = a.text("select sync_id from customer where name = 'bob'");
    a.exec("delete from invoice where id = 1");
    a.exec("delete from customer where name = 'bob'");
    let of_lines = changes(&a, "line");
    assert!(of_lines[2].starts_with("DELETE") && of_lines[2].contains(&invoice), "{of_lines:?}");
    assert_eq!(of_lines[3], format!("UPDATE {{\"gift_for\": \"{bob}\"}} {{\"gift_for\": null}}"));
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
    assert_settled(&[&a, &b]);
    assert_eq!(lines(&b), ["y 2 ann"]);
}

#[test]
fn a_deferred_constraint_lets_the_child_be_written_first() {
    let deferred =
        SHOP.replace("on delete cascade", "on delete cascade deferrable initially deferred");
    let (a, b) = offices(&deferred.replace(
        "not null references customer",
        "not null references customer deferrable initially deferred",
    ));
    a.exec(
        "begin;
         insert into line (invoice_id, article) select n, 'early ' || n from generate_series(1, 3000) n;
         insert into invoice (id, customer_id, total) select n, 1, n from generate_series(1, 3000) n;
         insert into customer (name) values ('late');
         update line set gift_for = 1 where invoice_id = 2;
         commit",
    );
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
    assert_settled(&[&a, &b]);
    assert_eq!(lines(&a), lines(&b));
    assert_eq!(lines(&b).len(), 3000);
}

#[test]
fn a_savepoint_takes_back_what_waited_for_its_parent() {
    let deferred =
        SHOP.replace("on delete cascade", "on delete cascade deferrable initially deferred");
    let (a, b) = offices(&deferred);
    a.exec("insert into customer (name) values ('ann')");
    a.exec(
        "begin;
         savepoint s; insert into line (invoice_id, article) values (9, 'never'); rollback to s;
         insert into line (invoice_id, article) values (1, 'kept');
         savepoint t; insert into line (invoice_id, article) values (2, 'kept, too'); release t;
         insert into invoice (customer_id, total) values (1, 5), (1, 6);
         commit",
    );
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
    assert_eq!(lines(&b), ["kept 5 ann", "kept, too 6 ann"]);
}

#[test]
fn a_parent_that_is_lost_is_named() {
    let (a, _b) = offices(SHOP);
    // Whoever writes as a replica is not checked.
    let refused = a.expect_error(
        "set session_replication_role = replica; insert into invoice values (1, 77, 1)",
    );
    assert_eq!(refused.sqlstate, "23503");
    assert!(
        refused.message.contains("\"public.customer\"") && refused.message.contains("customer_id")
    );
    assert!(refused.detail.contains("(id)=(77)"), "{}", refused.detail);
    a.exec("reset session_replication_role");
    assert_eq!(a.text("select count(*) from invoice"), "0");
    assert_eq!(changes(&a, "invoice").len(), 0);
}

#[test]
fn rows_that_were_there_before_and_full_sets() {
    let (a, b) = syncjournal_tests::pair();
    syncjournal_tests::introduce(&[(&a, "a"), (&b, "b")]);
    for db in [&a, &b] {
        db.exec(SHOP);
    }
    a.exec("insert into customer select n, 'c' || n from generate_series(1, 300) n");
    a.exec("insert into invoice select n, 1 + n % 300, n from generate_series(1, 1000) n");
    a.exec("insert into line select n, 1 + n % 1000, nullif(n % 300, 0), 'l' || n from generate_series(1, 3000) n");
    // The numbers there are taken by others.
    b.exec("select setval('customer_id_seq', 5000), setval('line_id_seq', 5000)");
    for db in [&a, &b] {
        db.exec("select syncjournal.track_all(keys => 'local')");
    }
    let full = carry(&a, &b, "full");
    assert_eq!((full.inserted, full.quarantined), (4300, 0));
    assert_equal(&a, &b, &TABLES);
    assert_settled(&[&a, &b]);
    assert_eq!(lines(&a), lines(&b));
    assert_eq!(b.text("select min(id) from customer"), "5001");
    let again = carry(&a, &b, "full");
    assert_eq!(again.skipped, again.entries);
}
