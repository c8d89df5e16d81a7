//! Packs and options that cannot be taken: each a clear error, nothing half done.

use serde_json::{Value, json};
use syncjournal_tests::SqlError;

use super::{actions, call, count, export_projects, import, project, rows_mut, stages};

/// Refused with this SQLSTATE, a hint, and words that name what is wrong.
#[track_caller]
fn refused(error: &SqlError, code: &str, words: &str) {
    assert_eq!(error.sqlstate, code, "{error:#?}");
    assert!(error.message.contains(words), "{words}: {error:#?}");
    assert_ne!(error.hint, "", "{error:#?}");
}

#[test]
fn misshapen_packs_are_refused() {
    let (dev, prod) = stages();
    let good = export_projects(&dev, &[1]);
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut pack = good.clone();
        edit(&mut pack);
        pack
    };
    let field = |edit: &dyn Fn(&mut Value)| edited(&|pack| edit(&mut rows_mut(pack, "field")[0]));
    let cases = [
        (json!([]), "22023", "no JSON object"),
        (json!({}), "22023", "no format"),
        (json!(null), "22023", "no JSON object"),
        (edited(&|pack| pack["format"] = json!("zip")), "22023", "no format"),
        (edited(&|pack| pack["format_version"] = json!(2)), "0A000", "version 2"),
        (edited(&|pack| pack["tables"] = json!([])), "22023", "no tables"),
        (edited(&|pack| pack["tables"]["public.field"] = json!(1)), "22023", "no array of rows"),
        (field(&|row| *row = json!(1)), "22023", "row 1 of table \"public.field\" is no object"),
        (field(&|row| row["row_id"] = json!("x")), "22023", "no uuid as its row_id"),
        (field(&|row| row["row_id"] = json!(null)), "22023", "no uuid as its row_id"),
        (field(&|row| row["version"] = json!(7)), "22023", "invalid version"),
        (field(&|row| row["values"] = json!("a")), "22023", "values that are no object"),
        (field(&|row| row["references"]["project_id"] = json!(1)), "22023", "that is no uuid"),
        (field(&|row| row["value"] = json!({})), "22023", "unknown member \"value\""),
        (field(&|row| row["values"]["nr"] = json!(1)), "42703", "\"nr\" of table \"public.field\""),
        (field(&|row| row["references"]["boss"] = json!(project(1))), "42704", "(boss)"),
        (field(&|row| row["values"]["no"] = json!("two")), "22P02", "column \"no\""),
        (field(&|row| row["values"]["no"] = json!([2])), "22P02", "column \"no\""),
        (field(&|row| row["values"]["no"] = json!(null)), "23502", "cannot be imported"),
        (edited(&|pack| pack["tables"]["public.gone"] = json!({"rows": []})), "42P01", "gone"),
        (edited(&|pack| pack["tables"]["pg_class"] = json!({"rows": []})), "42704", "not tracked"),
    ];
    for (pack, code, words) in cases {
        refused(&prod.expect_error(&call(&pack, "{}", false)), code, words);
        assert_eq!(count(&prod), 0, "{words}");
    }
    let error = prod.expect_error("select syncjournal.import_pack(null)");
    refused(&error, "22023", "no JSON object");
}

#[test]
fn a_uuid_names_one_row_of_one_table() {
    let (dev, prod) = stages();
    let pack = export_projects(&dev, &[1]);
    // Twice in one table, in two tables of the pack, in another table here.
    let mut twice = pack.clone();
    let first = rows_mut(&mut twice, "field")[0].clone();
    rows_mut(&mut twice, "field").push(first);
    refused(&prod.expect_error(&call(&twice, "{}", false)), "21000", "more than once");
    let mut shared = pack.clone();
    rows_mut(&mut shared, "field")[0]["row_id"] = json!(project(1));
    refused(&prod.expect_error(&call(&shared, "{}", false)), "23000", "belongs to table");
    prod.exec(&format!("insert into users (login, sync_id) values ('x', '{}')", project(1)));
    let error = prod.expect_error(&call(&pack, "{}", false));
    refused(&error, "23000", "belongs to table \"public.users\"");
    assert_eq!(count(&prod), 1);
}

#[test]
fn tables_that_share_an_identity_by_reference_may() {
    let (dev, prod) = stages();
    for db in [&dev, &prod] {
        db.exec(
            "create table detail (project_id uuid primary key references project, body text);
             select syncjournal.track('detail')",
        );
    }
    dev.exec(&format!(
        "insert into detail values ('{}', 'more');
         select syncjournal.declare_pack_edge('detail', '{{project_id}}')",
        project(1)
    ));
    assert_eq!(actions(&import(&prod, &export_projects(&dev, &[1]), "{}")), ["created"]);
    assert_eq!(prod.text("select body from detail join project on id = project_id"), "more");
}

#[test]
fn schemas_that_differ_are_refused_by_name_or_taken_in_common() {
    let (dev, prod) = stages();
    let pack = export_projects(&dev, &[1]);
    let common = "{\"schema\": \"common\"}";
    for (change, back, code, words) in [
        (
            "add extra int",
            "drop extra",
            "42703",
            "\"extra\" of table \"public.datasource\" is here",
        ),
        (
            "drop ratio",
            "add ratio float8",
            "42703",
            "\"ratio\" of table \"public.datasource\" is in the pack",
        ),
        (
            "alter dsn type varchar(2)",
            "alter dsn type text",
            "42804",
            "\"dsn\" of table \"public.datasource\" is of type text in the pack and character varying",
        ),
    ] {
        prod.exec(&format!("alter table datasource {change}"));
        refused(&prod.expect_error(&call(&pack, "{}", false)), code, words);
        assert_eq!(count(&prod), 0);
        if code == "42703" {
            prod.exec(&format!("begin; {}; rollback", call(&pack, common, false)));
        } else {
            // A value that does not fit is no less an error for being told of before.
            refused(&prod.expect_error(&call(&pack, common, false)), "22001", "too long");
        }
        prod.exec(&format!("alter table datasource {back}"));
    }
    prod.exec("alter table project drop constraint project_parent_fkey");
    refused(&prod.expect_error(&call(&pack, "{}", false)), "42704", "foreign key (parent)");
    prod.exec("select syncjournal.untrack('note')");
    let error = prod.expect_error(&call(&pack, common, false));
    refused(&error, "42704", "table \"public.note\" is not tracked");
}

#[test]
fn options_and_roots_that_say_nothing_are_refused() {
    let (dev, prod) = stages();
    let pack = export_projects(&dev, &[1]);
    for (options, code, words) in [
        ("[]", "22023", "JSON object"),
        ("null", "22023", "JSON object"),
        ("{\"moed\": \"always\"}", "22023", "unknown option \"moed\""),
        ("{\"mode\": \"sometimes\"}", "22023", "invalid value of option \"mode\""),
        (
            "{\"tables\": {\"public.users\": \"never\"}}",
            "22023",
            "invalid mode of \"public.users\"",
        ),
        ("{\"tables\": {\"public.usres\": \"always\"}}", "42P01", "public.usres"),
        ("{\"exclude\": \"public.users\"}", "22023", "invalid value of option \"exclude\""),
        ("{\"exclude_columns\": {\"public.users\": [\"x\"]}}", "42703", "column \"x\""),
        ("{\"exclude_columns\": {\"public.none\": []}}", "42P01", "public.none"),
        ("{\"on_refused\": [\"skip\"]}", "22023", "on_refused"),
    ] {
        refused(&prod.expect_error(&call(&pack, options, false)), code, words);
    }
    for (roots, options, code, words) in [
        ("[]", "{}", "22023", "roots"),
        ("{}", "{}", "22023", "roots"),
        ("{\"public.none\": \"*\"}", "{}", "42P01", "public.none"),
        ("{\"pg_catalog.pg_class\": \"*\"}", "{}", "42704", "not tracked"),
        ("{\"public.project\": 7}", "{}", "22023", "invalid root"),
        ("{\"public.project\": {\"nr\": 7}}", "{}", "42703", "column \"nr\""),
        ("{\"public.project\": {\"name\": \"p9\"}}", "{}", "P0002", "has no row"),
        (
            "{\"public.project\": \"99999999-9999-4999-8999-999999999999\"}",
            "{}",
            "P0002",
            "has no row",
        ),
        ("{\"public.project\": \"*\"}", "{\"include\": []}", "22023", "unknown option \"include\""),
        ("{\"public.project\": \"*\"}", "{\"owned\": 1}", "22023", "option \"owned\""),
    ] {
        let error =
            dev.expect_error(&format!("select syncjournal.export_pack('{roots}', '{options}')"));
        refused(&error, code, words);
    }
    assert_eq!(count(&prod), 0);
}

#[test]
fn a_pack_goes_backward_only_if_that_is_asked_for() {
    let (dev, prod) = stages();
    dev.exec("select syncjournal.alter_node(rank => 1)");
    prod.exec("select syncjournal.alter_node(rank => 3)");
    import(&prod, &export_projects(&dev, &[1]), "{}");
    prod.exec("update datasource set dsn = 'host=prod'");
    let back = super::export(&prod, "{\"public.datasource\": \"*\"}", "{}");
    let error = dev.expect_error(&call(&back, "{}", false));
    refused(&error, "55000", "a pack from node \"prod\" to this one would go backward");
    import(&dev, &back, "{\"allow_backward\": true}");
    assert_eq!(dev.text("select dsn from datasource where name = 'main'"), "host=prod");
}
