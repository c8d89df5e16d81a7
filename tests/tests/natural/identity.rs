//! New rows have their identity from the natural key.

use syncjournal_tests::{Db, assert_same_rows, carry, introduce, pair};

use super::{conflicts, exchange};

const CUSTOMER: &str =
    "create table customer (id serial primary key, email text unique, name text)";

fn offices() -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(CUSTOMER);
        db.exec("select syncjournal.track('customer', natural_key => '{email}')");
    }
    (hq, branch)
}

fn identity(db: &Db, email: &str) -> String {
    db.text(&format!("select sync_id from customer where email = '{email}'"))
}

#[test]
fn what_both_sides_create_on_their_own_is_one_row() {
    let (hq, branch) = offices();
    hq.exec("insert into customer (email, name) values ('a@x', 'Ann'), ('b@x', 'Bob')");
    branch.exec("insert into customer (email, name) values ('a@x', 'Anna')");
    branch.exec("insert into customer (id, email, name) values (9, 'c@x', 'Cy')");
    assert_eq!(identity(&hq, "a@x"), identity(&branch, "a@x"));
    exchange(&hq, &branch);
    assert_same_rows(&hq, &branch, "customer");
    let names = "select string_agg(name, ' ' order by email) from customer";
    assert_eq!(hq.text(names), "Anna Bob Cy", "the later write wins");
    assert_eq!(conflicts(&branch), ["insert_exists last_update_wins resolved local"]);
    // Again under the same key: the row has come back.
    let id = identity(&hq, "b@x");
    hq.exec("delete from customer where email = 'b@x'");
    exchange(&hq, &branch);
    branch.exec("insert into customer (id, email, name) values (7, 'b@x', 'Bobby')");
    assert_eq!(identity(&branch, "b@x"), id);
    exchange(&hq, &branch);
    assert_same_rows(&hq, &branch, "customer");
    let lives = format!("select count(*) from syncjournal.history('customer', '{id}')");
    assert_eq!(hq.query_one::<i64>(&lives), 3);
}

#[test]
fn two_databases_that_never_met_are_joined_by_tracking_both() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for (db, own) in [(&hq, "hq"), (&branch, "branch")] {
        db.exec(CUSTOMER);
        db.exec(&format!(
            "insert into customer (id, email, name)
                select i, 'c' || i || '@x', 'same' from generate_series(1, 100) i;
             insert into customer (id, email, name) values (200, 'd@x', 'of {own}');
             insert into customer (id, email, name)
                values (case '{own}' when 'hq' then 300 else 301 end, '{own}@x', '{own}');
             select syncjournal.track('customer', natural_key => '{{email}}')"
        ));
    }
    let first = carry(&hq, &branch, "full");
    assert_eq!((first.inserted, first.updated, first.conflicts), (1, 1, 1), "{first:?}");
    let second = carry(&branch, &hq, "full");
    assert_eq!((second.inserted, second.updated, second.conflicts), (1, 0, 0), "{second:?}");
    assert_same_rows(&hq, &branch, "customer");
    hq.exec("update customer set name = 'joined' where email in ('c1@x', 'branch@x')");
    branch.exec("insert into customer (id, email, name) values (400, 'new@x', 'New')");
    exchange(&hq, &branch);
    assert_same_rows(&hq, &branch, "customer");
}

#[test]
fn the_identity_stays_when_the_key_changes() {
    let (hq, branch) = offices();
    hq.exec("insert into customer (email, name) values ('a@x', 'Ann')");
    let ann = identity(&hq, "a@x");
    hq.exec("update customer set email = 'ann@x'");
    assert_eq!(identity(&hq, "ann@x"), ann);
    // The key is free again, the identity is not.
    hq.exec("insert into customer (email, name) values ('a@x', 'Abe'), (null, 'Nobody')");
    let version = |email: &str| identity(&hq, email).as_bytes()[14];
    assert_eq!((version("ann@x"), version("a@x")), (b'5', b'7'));
    let nobody = hq.text("select sync_id from customer where email is null");
    assert_eq!(nobody.as_bytes()[14], b'7');
    exchange(&hq, &branch);
    assert_same_rows(&hq, &branch, "customer");
    hq.exec(
        "insert into customer (email, name) values ('ann@x', 'Annie')
         on conflict (email) do update set name = excluded.name",
    );
    assert_eq!(identity(&hq, "ann@x"), ann);
    let twice = hq.expect_error("insert into customer (email) values ('ann@x')");
    assert!(twice.message.contains("customer_email_key"), "{twice:?}");
}

#[test]
fn a_new_row_has_the_identity_that_tracking_would_have_given_it() {
    let table = "create type mood as enum ('glad', 'sad');
        create domain code as varchar(9);
        create table odd (t text, v varchar(9), c char(9), d code, n name, i int2, b bool,
            f float8, m numeric(9,3), at timestamptz, day date, span interval, x bytea, u uuid,
            a int[], e mood, net inet, j jsonb,
            unique (t, v, c, d, n, i, b, f, m, at, day, span, x, u, a, e, net, j))";
    let rows =
        "insert into odd select 'ä' || i, 'v' || i, 'c' || i, 'd', 'n', i, i % 2 = 0, i / 3.0,
            i / 7.0, timestamptz '2024-02-29 12:00+00' + i * interval '1 h', date '2024-01-31' + i,
            i * interval '1 day 2 h', int4send(i), md5(i::text)::uuid, array[i, null], 'sad',
            '10.0.0.1', jsonb_build_object('k', i)
        from generate_series(1, 20) i";
    let (before, after) = pair();
    let key = "{t,v,c,d,n,i,b,f,m,at,day,span,x,u,a,e,net,j}";
    for db in [&before, &after] {
        db.exec("select syncjournal.create_node('n')");
        db.exec(table);
    }
    before.exec(rows);
    for db in [&before, &after] {
        db.exec(&format!("select syncjournal.track('odd', natural_key => '{key}')"));
    }
    after.exec(&format!(
        "set timezone = 'Asia/Tokyo'; set datestyle = 'SQL, DMY'; set intervalstyle = 'iso_8601';
         set extra_float_digits = 0; set bytea_output = 'escape'; {rows}"
    ));
    let ids = "select array_agg(sync_id::text order by i) from odd";
    assert_eq!(
        before.query_one::<Vec<String>>(ids),
        after.query_one::<Vec<String>>(ids),
        "hashed by SQL, and by the trigger"
    );
}

#[test]
fn partitions_share_the_natural_key_of_their_root() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(
            "create table visit (day int, place text, note text, unique (place, day))
                partition by range (day);
             create table visit_1 partition of visit for values from (0) to (10);
             create table visit_2 (note text, place text, gone int, day int);
             alter table visit_2 drop column gone;
             alter table visit attach partition visit_2 for values from (10) to (20);
             select syncjournal.track('visit', natural_key => '{place,day}')",
        );
    }
    hq.exec("insert into visit values (1, 'Bonn', 'hq'), (11, 'Bonn', 'hq')");
    branch.exec("insert into visit values (1, 'Bonn', 'branch'), (12, 'Bonn', 'branch')");
    exchange(&hq, &branch);
    assert_same_rows(&hq, &branch, "visit");
    assert_eq!(hq.query_one::<i64>("select count(*) from visit"), 3);
    // It moves to another partition and keeps its identity: the key is a new row's.
    hq.exec("update visit set day = 15 where day = 1; insert into visit values (1, 'Bonn', 'new')");
    exchange(&hq, &branch);
    assert_same_rows(&hq, &branch, "visit");
    assert_eq!(hq.query_one::<i64>("select count(distinct sync_id) from visit"), 4);
}

#[test]
fn the_key_follows_its_columns() {
    let (hq, branch) = offices();
    for db in [&hq, &branch] {
        db.exec("alter table customer rename email to mail");
    }
    let key = "select natural_key::text from syncjournal.tracked_table";
    assert_eq!(hq.text(key), "{mail}");
    hq.exec("insert into customer (mail) values ('a@x')");
    branch.exec("insert into customer (mail) values ('a@x')");
    let id = "select sync_id from customer";
    assert_eq!(hq.text(id), branch.text(id));
    hq.exec("alter table customer drop constraint customer_email_key");
    let health = "select severity from syncjournal.health where check_name = 'natural_keys'";
    assert_eq!(hq.text(health), "warning");
    hq.exec("alter table customer drop column mail; insert into customer (name) values ('late')");
    assert_eq!(hq.query_one::<Option<String>>(key), None);
    assert_eq!(hq.text(health), "ok");
}
