//! What databases with local keys go through: a dump and its restore, transactions in two phases,
//! natural keys beside local ones, a first copy by `clone`.

use syncjournal_tests::{AgentCommand, Cluster, Db, Options, carry, introduce, pair, shared};

use super::arrival::carry_only;
use super::{SHOP, assert_equal, assert_settled, lines, meet, offices};

const TABLES: [&str; 3] = ["customer", "invoice", "line"];

#[test]
fn a_restored_dump_knows_its_keys_and_what_waits() {
    let (a, b) = offices(SHOP);
    for db in [&a, &b] {
        db.exec("create table genre (id serial primary key, name text unique)");
        db.exec("select syncjournal.track_identity('genre', natural_key => '{name}')");
        db.exec("alter table line add genre int references genre");
    }
    b.exec(
        "insert into customer (name) values ('other'); insert into genre (name) values ('folk')",
    );
    a.exec("insert into customer (name) values ('ann'), ('bob')");
    a.exec("insert into genre (name) values ('rock'), ('folk')");
    a.exec("insert into invoice (customer_id, total) values (1, 1), (1, 2)");
    a.exec("insert into line (invoice_id, article) values (1, 'gone')");
    meet(&a, &b);
    b.exec("delete from line");
    meet(&a, &b);
    // At b a gift waits for its customer, a line for its invoice, another for its genre.
    a.exec("insert into customer (name) values ('late')");
    a.exec("insert into invoice (customer_id, total) values (4, 3)");
    a.exec(
        "insert into line (invoice_id, gift_for, genre, article)
         values (1, 4, 2, 'gift'), (3, null, 2, 'waits'), (2, null, 1, 'rocks')",
    );
    carry_only(&a, &b, "line");
    let waiting = "select string_agg(relation || '.' || column_name, ' ' order by column_name)
        from syncjournal.waiting_reference";
    assert_eq!(b.text(waiting), "line.genre line.gift_for");
    let copy = b.restored_copy(shared(2));
    let known =
        "select jsonb_agg(to_jsonb(k) order by k.relation_id) from syncjournal.relation_key k";
    let followed = "select string_agg(concat_ws(' ', relation_id, carrier, columns, sets, parent,
            parent_columns, parent_identity), '; ' order by relation_id, carrier)
        from syncjournal.relation_reference";
    for told in [known, followed, waiting, "select relation from syncjournal.identity_table"] {
        assert_eq!(copy.text(told), b.text(told), "{told}");
    }
    assert_equal(&b, &copy, &TABLES);
    copy.exec("select syncjournal.adopt_clone('copy')");
    a.exec("select syncjournal.add_peer('copy')");
    copy.exec("insert into genre (name) values ('rock')");
    for _ in 0..2 {
        carry(&a, &copy, "full");
        carry(&copy, &a, "full");
    }
    copy.exec("select syncjournal.retry_quarantine()");
    assert_settled(&[&a, &copy]);
    assert_equal(&a, &copy, &TABLES);
    assert_eq!(lines(&copy), ["gift 1 ann late", "rocks 2 ann", "waits 3 late"]);
    assert_eq!(lines(&a), lines(&copy));
    let genres = "select string_agg(article || ' ' || name, ', ' order by article)
        from line join genre on genre.id = genre";
    assert_eq!(copy.text(genres), "gift folk, rocks rock, waits folk");
    // Numbers go on where they were, and what is written is captured by identity.
    copy.exec("insert into customer (name) values ('new')");
    copy.exec(
        "insert into invoice (customer_id, total) select id, 9 from customer where name = 'new'",
    );
    copy.exec(
        "insert into line (invoice_id, article) select id, 'own' from invoice where total = 9",
    );
    carry(&copy, &a, "changes");
    assert_eq!(lines(&a)[1], "own 9 new");
    assert_equal(&a, &copy, &TABLES);
}

#[test]
fn a_copy_goes_on_with_local_keys() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer (name) values ('ann')");
    a.exec("insert into invoice (customer_id, total) values (1, 1)");
    meet(&a, &b);
    let copy = b.createdb_copy();
    copy.exec("select syncjournal.adopt_clone('copy')");
    a.exec("select syncjournal.add_peer('copy')");
    copy.exec("insert into line (invoice_id, article) values (1, 'theirs')");
    a.exec("insert into line (invoice_id, article) values (1, 'ours')");
    for _ in 0..2 {
        carry(&a, &copy, "changes");
        carry(&copy, &a, "full");
    }
    assert_settled(&[&a, &copy]);
    assert_equal(&a, &copy, &TABLES);
    assert_eq!(lines(&a), ["ours 1 ann", "theirs 1 ann"]);
}

#[test]
fn a_prepared_transaction_names_its_parents() {
    let options = Options::default().set("max_prepared_transactions", "5");
    let cluster = Cluster::start(options);
    let (a, b) = (Db::fresh(&cluster), Db::fresh(shared(1)));
    introduce(&[(&a, "a"), (&b, "b")]);
    let deferred =
        SHOP.replace("on delete cascade", "on delete cascade deferrable initially deferred");
    for db in [&a, &b] {
        db.exec(&deferred);
        db.exec("select syncjournal.track_all(keys => 'local')");
    }
    a.exec("insert into customer (name) values ('ann'), ('bob')");
    a.exec("insert into invoice (customer_id, total) values (1, 1)");
    // The child before its parent, one that goes with it, and a savepoint.
    a.exec(
        "begin;
         insert into line (invoice_id, gift_for, article) values (2, 2, 'early');
         savepoint s; insert into line (invoice_id, article) values (7, 'never'); rollback to s;
         insert into invoice (customer_id, total) values (2, 2);
         insert into line (invoice_id, article) values (1, 'with it');
         delete from invoice where id = 1;
         prepare transaction 'half'",
    );
    meet(&a, &b);
    assert_eq!((lines(&a).len(), lines(&b).len()), (0, 0));
    b.exec("insert into customer (name) values ('other')");
    b.exec(
        "insert into invoice (customer_id, total) select id, 5 from customer where name = 'ann'",
    );
    carry(&b, &a, "changes");
    a.exec("commit prepared 'half'");
    meet(&a, &b);
    assert_settled(&[&a, &b]);
    assert_equal(&a, &b, &TABLES);
    assert_eq!(lines(&a), ["early 2 bob bob"]);
    assert_eq!(lines(&b), lines(&a));
    // What is lost is told of while it can be mended.
    a.exec("begin; set local session_replication_role = replica");
    a.exec("insert into line (invoice_id, article) values (77, 'lost')");
    let lost = a.expect_error("prepare transaction 'lost'");
    assert_eq!(lost.sqlstate, "23503", "{lost:?}");
    assert_eq!(a.text("select count(*) from pg_prepared_xacts"), "0");
    // One that is taken back leaves nothing.
    a.exec(
        "begin; insert into line (invoice_id, article) values (2, 'no'); prepare transaction 'no'",
    );
    a.exec("rollback prepared 'no'");
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
}

#[test]
fn natural_keys_beside_local_ones() {
    let (a, b) = pair();
    introduce(&[(&a, "a"), (&b, "b")]);
    for (db, who) in [(&a, "a"), (&b, "b")] {
        db.exec(SHOP);
        // They have never met, and both know `both`.
        db.exec(&format!(
            "insert into customer (name) values ('only {who}1'), ('only {who}2');
             insert into customer (id, name) values (ascii('{who}'), 'both');
             insert into invoice (customer_id, total) values (1, 1), (ascii('{who}'), 2)"
        ));
        db.exec("select syncjournal.track('customer', keys => 'local', natural_key => '{name}')");
        // The numbers of invoices say nothing: rows that are there need a name, too.
        db.exec("alter table invoice add code text unique");
        db.exec(&format!("update invoice set code = '{who}' || id"));
        db.exec("select syncjournal.track('invoice', keys => 'local', natural_key => '{code}')");
        db.exec("select syncjournal.track('line', keys => 'local')");
    }
    carry(&a, &b, "full");
    carry(&b, &a, "full");
    let of = "select string_agg(code || ' ' || name, ', ' order by code)
        from invoice i join customer c on c.id = customer_id";
    assert_eq!(a.text(of), "a1 only a1, a2 both, b1 only b1, b2 both");
    assert_eq!(b.text(of), a.text(of));
    assert_equal(&a, &b, &TABLES);
    let count = "select count(*) from syncjournal.quarantine";
    assert_eq!((a.text(count), b.text(count)), ("0".to_owned(), "0".to_owned()));
    // The same customer again on both sides, each with an invoice of its own.
    for (db, who) in [(&a, "a"), (&b, "b")] {
        db.exec(&format!(
            "with c as (insert into customer (name) values ('twice') returning id)
             insert into invoice (customer_id, total, code) select id, 3, '{who}3' from c"
        ));
    }
    meet(&a, &b);
    assert_eq!(a.text("select count(*) from customer where name = 'twice'"), "1");
    let sold = "select string_agg(code, ' ' order by code) from invoice i
        join customer c on c.id = customer_id where name = 'twice'";
    assert_eq!((a.text(sold), b.text(sold)), ("a3 b3".to_owned(), "a3 b3".to_owned()));
    assert_equal(&a, &b, &TABLES);
}

#[test]
fn a_natural_key_that_is_met_under_another_identity() {
    for policy in ["quarantine", "skip", "rename"] {
        let (a, b) = pair();
        introduce(&[(&a, "a"), (&b, "b")]);
        for (db, who) in [(&a, "a"), (&b, "b")] {
            db.exec(SHOP);
            db.exec(&format!(
                "select syncjournal.track('customer', keys => 'local', natural_key => '{{name}}',
                    on_key_collision => '{policy}')"
            ));
            db.exec(
                "select syncjournal.track('invoice', keys => 'local'),
                    syncjournal.track('line', keys => 'local')",
            );
            // Renamed, so each has an identity of its own.
            db.exec(&format!("insert into customer (name) values ('was {who}')"));
            db.exec("update customer set name = 'same'");
            db.exec("insert into invoice (customer_id, total) values (1, 1)");
        }
        meet(&a, &b);
        let held: i64 = b.query_one("select count(*) from syncjournal.quarantine");
        let told: i64 = b.query_one("select count(*) from syncjournal.conflict");
        assert!(held + told > 0, "{policy}: nobody is told");
        // Nothing hangs on a customer that is not its own.
        let own = "select count(*) from invoice i join customer c on c.id = customer_id
            where c.sync_id::text not in (select h.new ->> 'customer_id' from syncjournal.change h
                where h.row_id = i.sync_id and h.op = 'INSERT')";
        assert_eq!((a.text(own), b.text(own)), ("0".to_owned(), "0".to_owned()), "{policy}");
        // Somebody gives way: all comes in.
        b.exec("update customer set name = 'other' where name = 'same'");
        meet(&a, &b);
        for db in [&a, &b] {
            db.exec("select syncjournal.retry_quarantine()");
        }
        meet(&a, &b);
        if policy == "skip" {
            // What was left out comes with the next full set.
            carry(&a, &b, "full");
            carry(&b, &a, "full");
        }
        assert_equal(&a, &b, &TABLES);
        assert_eq!(a.text("select count(*) from invoice"), "2", "{policy}");
    }
}

#[test]
fn a_clone_gives_each_row_a_key_of_its_own() {
    let (a, b) = offices(SHOP);
    a.exec("insert into customer select n, 'c' || n from generate_series(1, 300) n");
    a.exec("insert into invoice select n, 1 + n % 300, n from generate_series(1, 1000) n");
    a.exec("insert into line select n, 1 + n % 1000, nullif(n % 300, 0), 'l' || n from generate_series(1, 3000) n");
    a.exec("select setval('customer_id_seq', 300), setval('invoice_id_seq', 1000), setval('line_id_seq', 3000)");
    b.exec("insert into customer (name) values ('own')");
    b.exec("insert into invoice (customer_id, total) values (1, 0.5)");
    b.exec("insert into line (invoice_id, gift_for, article) values (1, 1, 'own')");
    let config = format!(
        "[node.a]\ndsn = \"{}\"\n[node.b]\ndsn = \"{}\"\n[[link]]\nname = \"shop\"\n\
         source = \"a\"\ndestination = \"b\"\ndirection = \"both\"\n",
        a.dsn(),
        b.dsn()
    );
    let cloned = AgentCommand::new(&config).args(&["clone", "shop"]).finish();
    assert_eq!(cloned.code, Some(0), "{cloned:?}");
    let synced = AgentCommand::new(&config).arg("sync").finish();
    assert_eq!(synced.code, Some(0), "{}", synced.stderr);
    assert_settled(&[&a, &b]);
    assert_equal(&a, &b, &TABLES);
    assert_eq!(lines(&a), lines(&b));
    assert_eq!(lines(&b).len(), 3001);
    let own = "select article from line l join invoice i on i.id = l.invoice_id
        join customer c on c.id = i.customer_id where c.name = 'own'";
    assert_eq!((a.text(own), b.text(own)), ("own".to_owned(), "own".to_owned()));
    // Both go on giving out numbers.
    for (db, who) in [(&a, "a"), (&b, "b")] {
        db.exec(&format!(
            "with i as (insert into invoice (customer_id, total)
                select min(id), 7 from customer returning id)
             insert into line (invoice_id, article) select id, 'after {who}' from i"
        ));
    }
    meet(&a, &b);
    assert_equal(&a, &b, &TABLES);
}
