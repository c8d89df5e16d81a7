//! Packs go by the caller's own rights, all or nothing.

use super::{actions, call, count, export, export_projects, report, stages};

const TABLES: &str = "datasource, users, project, field, note";

#[test]
fn no_right_on_one_part_and_nothing_is_imported() {
    let (dev, prod) = stages();
    let pack = export_projects(&dev, &[1, 2]);
    prod.exec(&format!(
        "create role pk_editor login in role syncjournal_reader;
         grant select, insert, update on {TABLES} to pk_editor;
         revoke insert on users from pk_editor; revoke update on note from pk_editor"
    ));
    let mut editor = prod.session_as("pk_editor");
    for dry_run in [true, false] {
        let error = editor.expect_error(&call(&pack, "{}", dry_run));
        assert_eq!((error.sqlstate.as_str(), count(&prod)), ("42501", 0), "{error:#?}");
        assert_eq!(error.detail, "Missing: update on public.note; insert on public.users.");
        assert_ne!(error.hint, "");
    }
    // What is not touched needs no right.
    let newcomers = call(&pack, "{\"mode\": \"if_not_exists\"}", false);
    assert_eq!(editor.expect_error(&newcomers).detail, "Missing: insert on public.users.");
    prod.exec("grant insert on users to pk_editor");
    editor.exec(&newcomers);
    assert_eq!(count(&prod), 11);
    prod.exec("grant update on note to pk_editor");
    let again = editor.rows(&call(&pack, "{}", false));
    assert_eq!(again.len(), 11);
}

#[test]
fn column_rights_and_row_security_hold() {
    let (dev, prod) = stages();
    let pack = export(&dev, "{\"public.datasource\": \"*\"}", "{}");
    prod.exec(
        "create role pk_row login in role syncjournal_reader;
         grant select, insert, update on datasource to pk_row;
         alter table datasource enable row level security;
         create policy p on datasource to pk_row using (true) with check (name <> 'main')",
    );
    let mut editor = prod.session_as("pk_row");
    let error = editor.expect_error(&call(&pack, "{}", false));
    assert_eq!((error.sqlstate.as_str(), count(&prod)), ("42501", 0));
    prod.exec(
        "drop policy p on datasource; alter table datasource disable row level security;
         revoke all on datasource from pk_row; grant select on datasource to pk_row;
         grant insert (name, sync_id, id), update (name, id) on datasource to pk_row",
    );
    let error = editor.expect_error(&call(&pack, "{}", false));
    assert_eq!(error.detail, "Missing: insert, update on public.datasource.");
    let some = "{\"exclude_columns\": {\"public.datasource\": [\"dsn\", \"conf\", \"ratio\"]}}";
    editor.exec(&call(&pack, some, false));
    assert_eq!(count(&prod), 2);
}

#[test]
fn an_export_shows_what_its_caller_may_read() {
    let (dev, _) = stages();
    dev.exec(
        "create role pk_viewer login in role syncjournal_reader;
         grant select on project, field, note, datasource to pk_viewer",
    );
    let mut viewer = dev.session_as("pk_viewer");
    let roots = "{\"public.project\": \"*\"}";
    let sql = |options: &str| format!("select syncjournal.export_pack('{roots}', '{options}')");
    assert_eq!(viewer.expect_error(&sql("{}")).sqlstate, "42501");
    viewer.exec(&sql("{\"exclude\": [\"public.users\"]}"));
    dev.exec(
        "grant select on users to pk_viewer; alter table project enable row level security;
         create policy p on project to pk_viewer using (name = 'p3')",
    );
    let shown = viewer.text(&format!(
        "select jsonb_array_length(syncjournal.export_pack('{roots}')
             #> '{{tables,public.project,rows}}')"
    ));
    assert_eq!(shown, "1");
    dev.exec("create role pk_nobody login");
    assert_eq!(dev.session_as("pk_nobody").expect_error(&sql("{}")).sqlstate, "42501");
}

#[test]
fn an_admin_declares_edges_and_a_reader_does_not() {
    let (dev, prod) = stages();
    dev.exec(
        "create role pk_admin login in role syncjournal_admin;
         create role pk_reader login in role syncjournal_reader",
    );
    let declare = "select syncjournal.declare_pack_edge('project', '{parent}')";
    assert_eq!(dev.session_as("pk_reader").expect_error(declare).sqlstate, "42501");
    dev.session_as("pk_admin").exec(declare);
    let pack = export_projects(&dev, &[1]);
    assert_eq!(super::rows(&pack, "project").len(), 2, "what is below is its own now");
    assert_eq!(actions(&report(&prod, &call(&pack, "{}", false))), ["created"]);
    // What imports remember of rows is for those who may write them.
    prod.exec("create role pk_reader login in role syncjournal_reader");
    let mut reader = prod.session_as("pk_reader");
    assert_eq!(reader.rows("select * from syncjournal.imported_row").len(), 0);
}
