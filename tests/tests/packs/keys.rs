//! Identity is the uuid: keys that differ are led back to it, keys that are taken are told.

use serde_json::json;
use syncjournal_tests::{introduce, pair};

use super::{
    SCHEMA, actions, call, count, export_projects, import, of_table, project, report, row_mut,
    rows_mut, stages,
};

#[test]
fn the_same_name_under_another_uuid_is_not_updated() {
    let (dev, prod) = stages();
    prod.exec(
        "insert into users values (7, 'x');
         insert into project values ('99999999-9999-4999-8999-999999999999', 'p3', null, 7)",
    );
    let done = import(&prod, &export_projects(&dev, &[1, 3]), "{}");
    let told = done.iter().find(|line| line.1 == project(3)).expect("a line");
    assert_eq!(told.2, "skipped_key_collision");
    assert_eq!(told.3, "(name)=(p3) is row 99999999-9999-4999-8999-999999999999 here");
    // Its own rows are not hung on anything else.
    let parts: Vec<_> = done.iter().filter(|line| line.2 == "skipped_key_collision").collect();
    assert_eq!(parts.len(), 4, "the project, two fields, a note: {parts:#?}");
    assert_eq!(prod.query_one::<i64>("select count(*) from project where name = 'p1'"), 1);
    let there = "select source_id is null and owner_id = 7 from project where name = 'p3'";
    assert!(prod.query_one::<bool>(there));
    // The options can make it an error.
    let refused = prod.expect_error(&call(
        &export_projects(&dev, &[3]),
        "{\"on_key_collision\": \"refuse\"}",
        false,
    ));
    assert_eq!(refused.sqlstate, "23000");
}

#[test]
fn rows_that_took_the_same_serial_key_get_one_of_their_own() {
    let (dev, prod) = stages();
    prod.exec(
        "insert into datasource (name) values ('prod 1'), ('prod 2');
         insert into users (login) values ('root')",
    );
    let pack = export_projects(&dev, &[1, 2, 4]);
    let plain = report(&prod, &call(&pack, "{}", true));
    assert!(actions(&plain).contains(&"skipped_key_collision"));
    let done = import(&prod, &pack, "{\"on_key_collision\": \"renumber\"}");
    assert_eq!(actions(&done), ["created"]);
    let renumbered = of_table(&done, "datasource");
    assert!(
        renumbered[0].1.starts_with("has a key of its own here: (id)=(1) is row "),
        "{done:#?}"
    );
    let shown = "select p.name, d.name, d.dsn, login, body from project p
        join datasource d on d.id = source_id join users u on u.id = owner_id
        join note n on n.project_id = p.id where p.name in ('p1', 'p2', 'p4') order by 1";
    assert_eq!(dev.rows(shown), prod.rows(shown));
    assert_eq!(prod.query_one::<i64>("select count(*) from datasource"), 4);
    // Known by their uuids from now on, whatever their keys.
    let again = import(&prod, &pack, "{}");
    assert_eq!(actions(&again), ["unchanged"]);
}

#[test]
fn references_follow_rows_whose_keys_differ_here() {
    let (dev, prod) = stages();
    let source = dev.text("select sync_id from datasource where name = 'main'");
    let owner = dev.text(
        "select sync_id from users join project on owner_id = users.id
        where project.name = 'p1'",
    );
    prod.exec(&format!(
        "insert into datasource (id, name, sync_id) values (501, 'other name', '{source}'),
             (1, 'something else', default);
         insert into users (id, login, sync_id) values (601, 'boss', '{owner}')"
    ));
    let done = import(&prod, &export_projects(&dev, &[1]), "{}");
    assert_eq!(of_table(&done, "project"), [("created", "")]);
    let got = prod.rows(
        "select source_id, owner_id, d.name from project
        join datasource d on d.id = source_id",
    );
    let text = |text: &str| Some(text.to_owned());
    // The key that a row has here stays; the rest is the pack's.
    assert_eq!(got, [[text("501"), text("601"), text("main")]]);
}

#[test]
fn new_rows_without_a_key_get_one() {
    let (dev, prod) = stages();
    let mut pack = export_projects(&dev, &[1]);
    let new = "22222222-2222-4222-8222-222222222222";
    rows_mut(&mut pack, "users").push(json!({"row_id": new, "values": {"login": "zoe"}}));
    rows_mut(&mut pack, "project")[0]["references"]["owner_id"] = json!(new);
    prod.exec("select setval('users_id_seq', 40)");
    import(&prod, &pack, "{}");
    let owner = "select users.id || ' ' || login from project join users on users.id = owner_id";
    assert_eq!(prod.text(owner), "41 zoe");
}

#[test]
fn a_plain_key_in_place_of_a_reference_is_taken_as_it_stands() {
    let (dev, prod) = stages();
    prod.exec("insert into users (id, login) values (70, 'here')");
    let mut pack = export_projects(&dev, &[1]);
    let row = row_mut(&mut pack, "project", "name", "p1");
    row["references"].as_object_mut().expect("references").remove("owner_id");
    row["values"]["owner_id"] = json!(70);
    row["references"]["source_id"] = json!(null);
    import(&prod, &pack, "{}");
    let found = "select count(*) from project where owner_id = 70 and source_id is null";
    assert_eq!(prod.query_one::<i64>(found), 1);
    assert_eq!(count(&prod), 7);
}

#[test]
fn local_keys_are_in_no_pack_and_references_find_their_rows() {
    let (dev, prod) = pair();
    introduce(&[(&dev, "dev"), (&prod, "prod")]);
    for db in [&dev, &prod] {
        db.exec(SCHEMA);
        // A field's number is nobody's serial.
        db.exec("select syncjournal.track('field')");
        db.exec("select syncjournal.track_all(keys => 'local')");
    }
    dev.exec(super::ROWS);
    prod.exec(
        "insert into datasource (name) select 'd' || n from generate_series(1, 9) n;
         insert into users (login) select 'u' || n from generate_series(1, 5) n",
    );
    let pack = export_projects(&dev, &[1, 2, 4]);
    assert_eq!(super::rows(&pack, "users")[0]["values"], json!({"login": "ann"}));
    assert_eq!(pack["tables"]["public.users"]["columns"], json!({"login": "text"}));
    assert_eq!(actions(&import(&prod, &pack, "{}")), ["created"]);
    let shown = "select p.name, d.name, login, body from project p
        join datasource d on d.id = source_id join users u on u.id = owner_id
        join note n on n.project_id = p.id where p.name in ('p1', 'p2', 'p4') order by 1";
    assert_eq!(dev.rows(shown), prod.rows(shown));
    assert_eq!(prod.rows(shown).len(), 3);
    let own: i64 =
        prod.query_one("select count(*) from users where login in ('ann', 'bob') and id > 5");
    assert_eq!(own, 2, "keys of this database");
    assert_eq!(actions(&import(&prod, &pack, "{}")), ["unchanged"]);
    // What an import writes travels like what anybody writes.
    dev.exec("update users set login = 'anna' where login = 'ann'");
    let later = import(&prod, &export_projects(&dev, &[2]), "{}");
    assert!(of_table(&later, "users").contains(&("updated", "")), "{later:#?}");
    let keyed = prod.expect_error(&call(
        &{
            let mut pack = pack.clone();
            rows_mut(&mut pack, "users")[0]["values"]["id"] = json!(1);
            pack
        },
        "{}",
        false,
    ));
    assert_eq!(keyed.sqlstate, "42703", "{keyed:#?}");
}

/// Look-up tables of which only identities are known: their rows are referred to, and in no pack.
#[test]
fn rows_of_identity_only_tables_are_referred_to_by_uuid() {
    let (dev, prod) = pair();
    introduce(&[(&dev, "dev"), (&prod, "prod")]);
    for (db, first) in [(&dev, 1), (&prod, 31)] {
        db.exec(&format!(
            "create table country (id serial primary key, code text not null unique);
             select setval('country_id_seq', {first});
             insert into country (code) values ('at'), ('no');
             create table town (id uuid primary key, name text,
                 country int not null references country);
             select syncjournal.track_identity('country', natural_key => '{{code}}');
             select syncjournal.track('town')"
        ));
    }
    let id = project(7);
    dev.exec(&format!("insert into town select '{id}', 'Oslo', id from country where code = 'no'"));
    let pack = super::export(&dev, "{\"public.town\": \"*\"}", "{}");
    assert!(super::rows(&pack, "country").is_empty(), "{pack:#}");
    assert_eq!(actions(&import(&prod, &pack, "{}")), ["created"]);
    let shown = "select name, code from town join country on country.id = country";
    assert_eq!(dev.rows(shown), prod.rows(shown));
    // A country that is not here is named.
    prod.exec("delete from town; delete from country where code = 'no'");
    let error = prod.expect_error(&call(&pack, "{}", false));
    assert_eq!(error.sqlstate, "23000");
    assert!(error.message.contains("of \"public.country\", which is neither here"), "{error:#?}");
}
