//! The journal as people read it: view `change` and `history()`.

use syncjournal_tests::{Db, shared};

fn shop() -> Db {
    let db = Db::fresh(shared(0));
    db.exec(
        "select syncjournal.create_node('hq');
         create table item (id int primary key, label text, price numeric(10,2));
         insert into item values (0, 'old', 1);
         select syncjournal.track('item')",
    );
    db
}

/// What history says of an item.
fn history(db: &Db, row: &str) -> Vec<String> {
    db.column(&format!(
        "select op || ' ' || coalesce(old::text, '-') || ' ' || coalesce(new::text, '-')
         from syncjournal.history('item', '{row}')"
    ))
}

#[test]
fn a_row_s_life_is_told_from_its_first_entry_to_its_last() {
    let db = shop();
    db.exec("insert into item values (1, 'tea', 2.5)");
    let row = db.text("select sync_id from item where id = 1");
    db.exec("update item set price = 3, label = null where id = 1");
    db.exec(
        "begin; update item set label = 'chai'; savepoint s; update item set price = 9;
             rollback to s; commit; update item set label = label",
    );
    db.exec("delete from item where id = 1");
    let told = [
        r#"INSERT - {"id": 1, "label": "tea", "price": 2.50}"#,
        r#"UPDATE {"label": "tea", "price": 2.50} {"label": null, "price": 3.00}"#,
        r#"UPDATE {"label": null} {"label": "chai"}"#,
        r#"DELETE {"id": 1, "label": "chai", "price": 3.00} -"#,
    ];
    assert_eq!(history(&db, &row), told);
    // It comes back, and its history goes on.
    db.exec(&format!("insert into item (id, label, sync_id) values (1, 'mate', '{row}')"));
    assert_eq!(history(&db, &row).len(), 5);
    // A row that was there before tracking begins with its first change.
    let old = db.text("select sync_id from item where id = 0");
    assert_eq!(history(&db, &old), [r#"UPDATE {"label": "old"} {"label": "chai"}"#]);
}

#[test]
fn a_truncated_row_s_history_is_found_too() {
    let db = shop();
    db.exec("insert into item values (1, 'tea', 2.5)");
    let row = db.text("select sync_id from item where id = 1");
    db.exec("truncate item");
    assert_eq!(history(&db, &row), [r#"INSERT - {"id": 1, "label": "tea", "price": 2.50}"#]);
    assert_eq!(
        history(&db, "00000000-0000-4000-8000-000000000000"),
        Vec::<String>::new(),
        "no history is no error"
    );
    let unknown =
        db.expect_error("select * from syncjournal.history('pg_class', gen_random_uuid())");
    assert_eq!(unknown.sqlstate, "42704");
}

#[test]
fn every_change_says_who_when_where_and_what_it_followed() {
    let db = shop();
    db.exec("insert into item values (1, 'tea', 2.5); update item set label = 'x' where id = 1");
    db.exec("create schema s; create table s.\"Odd.Name\" (id int primary key)");
    db.exec("select syncjournal.track('s.\"Odd.Name\"'); insert into s.\"Odd.Name\" values (1)");
    db.exec("truncate item");
    let changes = db.rows(
        "select c.op, c.relation, c.node, p.op from syncjournal.change c
         left join syncjournal.change p on p.version = c.prev order by c.version",
    );
    let text = |s: &str| Some(s.to_owned());
    let item = text("public.item");
    let odd = text("s.\"Odd.Name\"");
    assert_eq!(
        changes,
        [
            vec![text("INSERT"), item.clone(), text("hq"), None],
            vec![text("UPDATE"), item.clone(), text("hq"), text("INSERT")],
            vec![text("INSERT"), odd, text("hq"), None],
            vec![text("TRUNCATE"), item, text("hq"), None],
        ]
    );
    let soon: bool = db.query_one(
        "select bool_and(changed_at between now() - interval '1 minute' and clock_timestamp())
         from syncjournal.change",
    );
    assert!(soon);
    let written: bool = db.query_one(
        "select count(distinct xid) = 3 and bool_and(pg_xact_status(xid) = 'committed')
         from syncjournal.change",
    );
    assert!(written);
}
