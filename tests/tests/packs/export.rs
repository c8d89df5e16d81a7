//! What is in a pack.

use serde_json::{Value, json};
use syncjournal_tests::{Db, chinook, introduce, pair};

use super::{actions, export, export_projects, import, project, rows, stages};

fn ids(pack: &Value, table: &str) -> Vec<String> {
    let id = |row: &Value| row["row_id"].as_str().expect("a row has its uuid").to_owned();
    rows(pack, table).iter().map(id).collect()
}

#[test]
fn a_pack_holds_the_closure_and_each_row_once() {
    let (dev, _) = stages();
    let pack = export_projects(&dev, &[1, 2, 3, 5]);
    // 5 brings 4, which is above it; 1, 2 and 3 share a data source.
    let all: Vec<String> = (1..=5).map(project).collect();
    assert_eq!(ids(&pack, "project"), all);
    assert_eq!(rows(&pack, "datasource").len(), 2);
    assert_eq!(rows(&pack, "users").len(), 2);
    assert_eq!((rows(&pack, "field").len(), rows(&pack, "note").len()), (10, 5), "their own rows");
    let one = export_projects(&dev, &[3]);
    assert_eq!(ids(&one, "project"), [project(3)]);
    assert_eq!((rows(&one, "datasource").len(), rows(&one, "users").len()), (1, 1));
    assert_eq!((rows(&one, "field").len(), rows(&one, "note").len()), (2, 1));
    // Not what else refers to the same: an edge is declared, or it is not followed.
    let source = export(&dev, "{\"public.datasource\": \"*\"}", "{}");
    assert_eq!((rows(&source, "datasource").len(), rows(&source, "project").len()), (2, 0));
}

#[test]
fn roots_are_named_by_uuid_by_columns_or_as_all() {
    let (dev, _) = stages();
    let by_name = export(&dev, "{\"public.project\": {\"name\": \"p3\"}}", "{}");
    assert_eq!(ids(&by_name, "project"), [project(3)]);
    let mixed = format!("{{\"public.project\": [{{\"name\": \"p3\"}}, \"{}\"]}}", project(1));
    assert_eq!(ids(&export(&dev, &mixed, "{}"), "project"), [project(1), project(3)]);
    let all = export(&dev, "{\"public.project\": [\"*\"], \"public.users\": \"*\"}", "{}");
    assert_eq!((rows(&all, "project").len(), rows(&all, "users").len()), (5, 2));
}

#[test]
fn references_go_by_uuid_and_keys_in_them_nowhere_else() {
    let (dev, _) = stages();
    let pack = export_projects(&dev, &[2]);
    let child = rows(&pack, "project").iter().find(|row| row["row_id"] == project(2).as_str());
    let child = child.expect("it was asked for");
    assert_eq!(child["references"]["parent"], project(1).as_str());
    assert_eq!(child["references"]["source_id"], rows(&pack, "datasource")[0]["row_id"]);
    assert_eq!(child["values"], json!({"name": "p2"}), "{child:#}");
    let note = &rows(&pack, "note")[0];
    assert!(ids(&pack, "field").iter().any(|id| note["references"]["project_id, field_no"] == *id));
    // A reference that is null is a value.
    let top = rows(&pack, "project").iter().find(|row| row["row_id"] == project(1).as_str());
    assert_eq!(top.expect("its parent")["values"]["parent"], Value::Null);
}

#[test]
fn options_leave_tables_columns_and_own_rows_out() {
    let (dev, _) = stages();
    let roots = format!("{{\"public.project\": [\"{}\"]}}", project(1));
    let pack = export(&dev, &roots, "{\"exclude\": [\"public.u*\"]}");
    assert_eq!(rows(&pack, "users").len(), 0);
    assert!(rows(&pack, "project")[0]["references"]["owner_id"].is_string(), "the reference stays");
    assert_eq!(rows(&pack, "datasource").len(), 1);
    let pack = export(&dev, &roots, "{\"owned\": false}");
    assert_eq!((rows(&pack, "field").len(), rows(&pack, "users").len()), (0, 1));
    let pack = export(&dev, &roots, "{\"exclude_columns\": {\"public.datasource\": [\"dsn\"]}}");
    assert_eq!(
        rows(&pack, "datasource")[0]["values"],
        json!(
        {"id": 1, "name": "main", "conf": {"pool": 5}, "ratio": null})
    );
}

#[test]
fn owned_edges_are_declared_listed_and_dropped() {
    let (dev, _) = stages();
    let edges = "select child || ' ' || columns::text || ' ' || parent
        from syncjournal.pack_edge order by 1";
    let declared = ["field {project_id} project", "note {project_id,field_no} field"];
    assert_eq!(dev.column::<String>(edges), declared);
    dev.exec("select syncjournal.drop_pack_edge('field', '{project_id}')");
    assert_eq!(rows(&export_projects(&dev, &[1]), "field").len(), 0);
    for (wrong, code) in [
        ("declare_pack_edge('field', '{no}')", "42704"),
        ("declare_pack_edge('field', '{missing}')", "42703"),
        ("drop_pack_edge('field', '{project_id}')", "42704"),
    ] {
        let error = dev.expect_error(&format!("select syncjournal.{wrong}"));
        assert_eq!((error.sqlstate.as_str(), error.hint.is_empty()), (code, false), "{error:#?}");
    }
    dev.exec("select syncjournal.untrack('note')");
    assert_eq!(dev.column::<String>(edges), Vec::<String>::new(), "they go with the tracking");
}

#[test]
fn values_of_any_type_come_through() {
    let (left, right) = pair();
    introduce(&[(&left, "left"), (&right, "right")]);
    for db in [&left, &right] {
        db.exec(
            "create type mood as enum ('glad', 'it''s \"so\"');
             create type spot as (x int, y text);
             create domain small as int check (value < 100);
             create table t (
                 id uuid primary key, flag bool, n numeric, f float8, g float4, tiny small,
                 b bytea, j json, k jsonb, a int[], w text[], i interval, d timestamptz, day date,
                 m mood, s spot, r int4range, net inet, c char(5), v varchar(3), x xml, p point,
                 twice int generated always as (tiny * 2) stored);
             select syncjournal.track('t')",
        );
    }
    left.exec(
        r#"set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set extra_float_digits = 0;
        set bytea_output = 'escape'; set intervalstyle = 'iso_8601';
        insert into t (id, flag, n, f, g, tiny, b, j, k, a, w, i, d, day, m, s, r, net, c, v, x, p)
        values
        (gen_random_uuid(), true, 1.500, '-0', 0.1, 7, '\x00ff', '{"b":1, "a" : 2,"a":3}', 'null',
         '{{1,2},{3,null}}', '[2:3]={"a,b",null}', '1 mon 2 days 03:04:05.678',
         '2026-02-03 04:05:06.789+09', '2026-02-03', 'it''s "so"', '(1,"a ""b"" ,c")', '[1,5)',
         '10.0.0.1/8', 'ab', 'äöü', '<a>&amp;</a>', '(1.5,2.5)'),
        (gen_random_uuid(), false, 'NaN', 'Infinity', '-1e30', null, '', '"null"', '{"$json": 1}',
         '{}', '{}', null, 'infinity', '-infinity', null, '(,)', 'empty', null, '', '', null, null),
        (gen_random_uuid(), null, 123456789012345678901234567890.123456789, 1e300, null, null, null,
         'null', '"text"', null, null, null, null, null, null, null, null, null, null, null, null,
         null)"#,
    );
    let pack = export(&left, "{\"public.t\": \"*\"}", "{}");
    right.exec("set timezone = 'America/Lima'; set datestyle = 'SQL, DMY'");
    let report = import(&right, &pack, "{}");
    assert_eq!((report.len(), actions(&report)), (3, vec!["created"]));
    let same =
        "select id, row(flag, n, f, g, tiny, b, j::text, k, a, w, i, d, day, m, s, r, net, c,
        v, x::text, p, twice)::text from t order by id";
    for db in [&left, &right] {
        db.exec("reset all");
    }
    assert_eq!(left.rows(same), right.rows(same));
    assert_eq!(actions(&import(&right, &pack, "{}")), ["unchanged"]);
}

/// An invoice with its lines, their tracks, albums, artists and so on, from the real data.
#[test]
fn an_invoice_of_chinook_arrives_with_all_that_it_needs() {
    let Some(file) = chinook() else { return };
    let script = std::fs::read_to_string(file).expect("the file can be read");
    let first_row = script.find("\nINSERT").expect("the script has rows");
    let (hq, branch) = pair();
    assert!(hq.psql(&script).status.success());
    branch.exec(&script[..first_row]);
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track_all()");
    }
    hq.exec("select syncjournal.declare_pack_edge('invoice_line', '{invoice_id}')");
    let pack = export(&hq, "{\"public.invoice\": {\"customer_id\": 7}}", "{}");
    let report = import(&branch, &pack, "{}");
    assert_eq!(actions(&report), ["created"]);
    let lines: i64 = branch.query_one(
        "select count(*) from invoice_line join invoice using (invoice_id)
             join track using (track_id) join album using (album_id) join artist using (artist_id)
         where customer_id = 7",
    );
    let lines_there: i64 = hq.query_one(
        "select count(*) from invoice_line join invoice using (invoice_id)
            where customer_id = 7",
    );
    assert!(lines > 20 && lines == lines_there, "{lines} of {lines_there}");
    assert_eq!(rows(&pack, "customer").len(), 1);
    // With everything as roots it is the whole database.
    let all = "{\"public.playlist_track\": \"*\", \"public.invoice_line\": \"*\",
        \"public.playlist\": \"*\", \"public.employee\": \"*\", \"public.customer\": \"*\",
        \"public.artist\": \"*\", \"public.genre\": \"*\", \"public.album\": \"*\",
        \"public.media_type\": \"*\", \"public.track\": \"*\", \"public.invoice\": \"*\"}";
    import(&branch, &export(&hq, all, "{}"), "{}");
    let content = |db: &Db, table: &str| {
        db.text(&format!("select encode(hash, 'hex') from syncjournal.digest('{table}')"))
    };
    for table in ["track", "playlist_track", "invoice_line", "employee", "customer"] {
        assert_eq!(content(&hq, table), content(&branch, table), "{table}");
    }
}
