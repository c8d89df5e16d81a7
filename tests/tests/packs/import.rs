//! What an import does with rows: by mode, edited, in circles; and what it says of them.

use serde_json::{Value, json};
use syncjournal_tests::{Db, assert_same_rows, carry, pair};

use super::{
    actions, call, count, export, export_projects, import, of_table, project, report, row_mut,
    rows_mut, stages,
};

#[test]
fn a_pack_brings_what_it_holds_and_again_changes_nothing() {
    let (dev, prod) = stages();
    let pack = export_projects(&dev, &[1, 2, 3, 4, 5]);
    let first = import(&prod, &pack, "{}");
    assert_eq!((first.len(), actions(&first)), (24, vec!["created"]));
    let entries: i64 = prod.query_one("select count(*) from syncjournal.change");
    let again = import(&prod, &pack, "{}");
    assert_eq!((again.len(), actions(&again)), (24, vec!["unchanged"]));
    assert_eq!(prod.query_one::<i64>("select count(*) from syncjournal.change"), entries);
    let content = "select p.name, parent, d.name, login, label, body
        from project p join datasource d on d.id = source_id join users u on u.id = owner_id
            join field f on f.project_id = p.id left join note n on (n.project_id, field_no) = (p.id, no)
        order by 1, 5";
    assert_eq!(dev.rows(content), prod.rows(content));
}

#[test]
fn imported_rows_are_this_nodes_changes_and_travel_on() {
    let (dev, prod) = stages();
    import(&prod, &export_projects(&dev, &[1, 2]), "{}");
    let nodes = "select distinct node from syncjournal.change";
    assert_eq!(prod.column::<String>(nodes), ["prod"]);
    let far = Db::fresh(dev.cluster());
    far.exec("select syncjournal.create_node('far'); select syncjournal.add_peer('prod')");
    far.exec(super::SCHEMA);
    far.exec("select syncjournal.track_all()");
    prod.exec("select syncjournal.add_peer('far')");
    carry(&prod, &far, "changes");
    for table in ["datasource", "users", "project", "field", "note"] {
        assert_same_rows(&prod, &far, table);
    }
    // What also comes by a link from where the pack was made meets itself: same rows, one of each.
    let met = carry(&dev, &prod, "full");
    assert_eq!(met.quarantined, 0);
    assert_eq!(prod.query_one::<i64>("select count(*) from project"), 5);
    let differing: i64 = prod.query_one(
        "select count(*) from syncjournal.conflict where base is not null or local <> remote",
    );
    assert_eq!(differing, 0);
}

/// What an import does with a project that is absent, older, equal or newer here.
#[track_caller]
fn by_state(mode: &str) -> [String; 4] {
    let (dev, prod) = stages();
    let options = format!("{{\"tables\": {{\"public.project\": \"{mode}\"}}}}");
    let name = |db: &Db, name: &str| {
        db.exec(&format!("update project set name = '{name}' where name like 'p3%'"));
    };
    let act = |pack: &Value| {
        let line = import(&prod, pack, &options).into_iter().find(|line| line.1 == project(3));
        let (_, _, action, _) = line.expect("every row has its line");
        let here = "select coalesce((select name from project where name like 'p3%'), '-')";
        format!("{action}: {}", prod.text(here))
    };
    let old = export_projects(&dev, &[3]);
    let absent = act(&old);
    let equal = act(&old);
    name(&dev, "p3 later");
    let older = act(&export_projects(&dev, &[3]));
    // Back to where all modes go on from the same row.
    import(&prod, &export_projects(&dev, &[3]), "{}");
    name(&prod, "p3 here");
    let newer = act(&export_projects(&dev, &[3]));
    [absent, older, equal, newer]
}

#[test]
fn the_mode_always_takes_all() {
    assert_eq!(
        by_state("always"),
        ["created: p3", "updated: p3 later", "unchanged: p3", "updated: p3 later"]
    );
}

#[test]
fn the_mode_if_not_exists_takes_what_is_not_there() {
    assert_eq!(
        by_state("if_not_exists"),
        ["created: p3", "skipped_exists: p3", "skipped_exists: p3", "skipped_exists: p3 here"]
    );
}

#[test]
fn the_mode_if_newer_takes_what_is_later_than_here() {
    assert_eq!(
        by_state("if_newer"),
        ["created: p3", "updated: p3 later", "unchanged: p3", "skipped_older: p3 here"]
    );
}

#[test]
fn if_newer_goes_by_the_change_at_the_source_and_not_by_the_time_of_the_import() {
    let (dev, prod) = stages();
    let old = export_projects(&dev, &[3]);
    dev.exec("update project set name = 'p3 later' where name = 'p3'");
    let new = export_projects(&dev, &[3]);
    // The import is later than the change that it lacks.
    import(&prod, &old, "{}");
    let done = import(&prod, &new, "{\"mode\": \"if_newer\"}");
    assert_eq!(of_table(&done, "project"), [("updated", "")]);
    let back = import(&prod, &old, "{\"mode\": \"if_newer\"}");
    assert_eq!(of_table(&back, "project"), [("skipped_older", "")]);
}

#[test]
fn what_was_deleted_here_comes_back_only_if_that_is_later() {
    let (dev, prod) = stages();
    let pack = export_projects(&dev, &[3]);
    import(&prod, &pack, "{}");
    prod.exec("delete from note; delete from field");
    let line = |report: &[super::Line]| {
        let (action, reason) = of_table(report, "field")[0];
        (action.to_owned(), reason.split(" at ").next().unwrap_or_default().to_owned())
    };
    let kept = import(&prod, &pack, "{\"mode\": \"if_newer\"}");
    assert_eq!(line(&kept), ("skipped_older".to_owned(), "deleted here".to_owned()));
    // A note goes the way of its field.
    assert_eq!(of_table(&kept, "note")[0].0, "skipped_older");
    let back = import(&prod, &pack, "{}");
    assert_eq!(line(&back), ("created".to_owned(), "deleted here".to_owned()));
}

#[test]
fn tables_have_modes_by_name_before_pattern() {
    let (dev, prod) = stages();
    let pack = export_projects(&dev, &[3]);
    import(&prod, &pack, "{}");
    prod.exec("update project set name = 'here'; update users set login = login || ' here'");
    let options = "{\"mode\": \"if_not_exists\",
        \"tables\": {\"public.*\": \"if_newer\", \"public.users\": \"always\"}}";
    let done = import(&prod, &pack, options);
    assert_eq!(of_table(&done, "project")[0].0, "skipped_older");
    assert_eq!(of_table(&done, "users")[0].0, "updated");
}

#[test]
fn an_edited_pack_is_taken_and_said_to_be_edited() {
    let (dev, prod) = stages();
    let mut pack = export_projects(&dev, &[1]);
    row_mut(&mut pack, "datasource", "name", "main")["values"]["dsn"] = json!("host=prod");
    // A new row by hand: an identity of its own, its parent by uuid.
    let field = json!({"row_id": "11111111-1111-4111-8111-111111111111",
        "values": {"no": 9, "label": "by hand"}, "references": {"project_id": project(1)}});
    rows_mut(&mut pack, "field").push(field);
    let refused = prod.expect_error(&call(&pack, "{\"edited\": \"refuse\"}", false));
    assert_eq!((refused.sqlstate.as_str(), count(&prod)), ("22000", 0));
    let done = import(&prod, &pack, "{}");
    assert_eq!(of_table(&done, "datasource"), [("created", "edited since its export")]);
    assert_eq!(of_table(&done, "project"), [("created", "")]);
    assert_eq!(of_table(&done, "field").len(), 3);
    assert_eq!(prod.text("select dsn from datasource"), "host=prod");
    assert_eq!(prod.text("select label from field where no = 9"), "by hand");
    // An edit of what is here is newer than what it was made from.
    let mut again = export_projects(&dev, &[1]);
    row_mut(&mut again, "users", "login", "bob")["values"]["login"] = json!("rob");
    let done = import(&prod, &again, "{\"mode\": \"if_newer\"}");
    assert_eq!(of_table(&done, "users"), [("updated", "edited since its export")]);
}

#[test]
fn a_value_that_is_taken_out_of_a_row_stays_as_it_is_here() {
    let (dev, prod) = stages();
    let mut pack = export_projects(&dev, &[1]);
    import(&prod, &pack, "{}");
    prod.exec("update datasource set dsn = 'host=prod'");
    let row = row_mut(&mut pack, "datasource", "name", "main");
    row["values"].as_object_mut().expect("values").remove("dsn");
    row["values"]["ratio"] = json!(0.5);
    assert_eq!(of_table(&import(&prod, &pack, "{}"), "datasource")[0].0, "updated");
    assert_eq!(prod.text("select dsn || ratio from datasource"), "host=prod0.5");
    let excluded = "{\"exclude_columns\": {\"public.datasource\": [\"dsn\", \"ratio\"]}}";
    let whole = export_projects(&dev, &[1]);
    assert_eq!(of_table(&import(&prod, &whole, excluded), "datasource")[0].0, "unchanged");
}

#[test]
fn what_was_changed_here_is_reported_before_it_is_overwritten() {
    let (dev, prod) = stages();
    import(&prod, &export_projects(&dev, &[1]), "{}");
    prod.exec("update datasource set dsn = 'host=prod'");
    dev.exec(
        "update datasource set ratio = 1; update users set login = 'robert' where login = 'bob'",
    );
    let pack = export_projects(&dev, &[1]);
    for (dry_run, dsn) in [(true, "host=prod"), (false, "host=dev")] {
        let told = report(&prod, &call(&pack, "{}", dry_run));
        let [(action, reason)] = of_table(&told, "datasource")[..] else { panic!("{told:#?}") };
        assert_eq!(action, "updated");
        let expected = "overwrites what was changed here by node \"prod\" at ";
        assert!(reason.starts_with(expected), "{reason}");
        // What only the import has written is not worth a word.
        assert_eq!(of_table(&told, "users"), [("updated", "")]);
        assert_eq!(prod.text("select dsn from datasource"), dsn);
    }
}

#[test]
fn a_dry_run_reports_the_same_and_writes_nothing() {
    let (dev, prod) = stages();
    let pack = export_projects(&dev, &[1, 2, 5]);
    let told = report(&prod, &call(&pack, "{}", true));
    let written = "select (select count(*) from syncjournal.change)
        + (select count(*) from syncjournal.imported_row)";
    assert_eq!((count(&prod), prod.query_one::<i64>(written)), (0, 0));
    assert_eq!(told, import(&prod, &pack, "{}"));
    // It runs into what the real one would.
    prod.exec("alter table note add check (body <> 'see') not valid; delete from note");
    let error = prod.expect_error(&call(&pack, "{}", true));
    assert_eq!(error.sqlstate, "23514");
}

#[test]
fn an_error_leaves_nothing_half_done() {
    let (dev, prod) = stages();
    prod.exec("alter table note add check (body <> 'see')");
    let error = prod.expect_error(&call(&export_projects(&dev, &[1]), "{}", false));
    assert_eq!((error.sqlstate.as_str(), count(&prod)), ("23514", 0));
    assert!(error.message.starts_with("the pack cannot be imported: new row"), "{error:#?}");
    assert_ne!(error.hint, "");
    assert_eq!(prod.query_one::<i64>("select count(*) from syncjournal.change"), 0);
}

#[test]
fn rows_that_refer_to_each_other_in_circles_arrive() {
    let (left, right) = pair();
    for (db, name) in [(&left, "left"), (&right, "right")] {
        db.exec(&format!("select syncjournal.create_node('{name}')"));
        db.exec(
            "create table team (id int primary key, lead int not null);
             create table person (id int primary key, team int not null references team,
                 boss int references person);
             alter table team add foreign key (lead) references person
                 deferrable initially immediate;
             select syncjournal.track_all()",
        );
    }
    left.exec(
        "begin; set constraints all deferred;
         insert into team values (1, 11), (2, 22);
         insert into person values (11, 1, 22), (22, 2, 11), (33, 1, 33); commit",
    );
    // Not deferrable there: it must not be needed.
    right.exec(
        "alter table team drop constraint team_lead_fkey,
        add foreign key (lead) references person",
    );
    let pack = export(&left, "{\"public.team\": {\"id\": 1}}", "{}");
    assert_eq!(actions(&import(&right, &pack, "{}")), ["created"]);
    assert_eq!(right.rows("select * from team order by 1").len(), 2);
    let people = "select id, team, boss from person where id < 33 order by 1";
    assert_eq!(left.rows(people), right.rows(people));
}

#[test]
fn tables_left_out_resolve_by_what_is_here() {
    let (dev, prod) = stages();
    import(&prod, &export(&dev, "{\"public.users\": \"*\"}", "{}"), "{}");
    let roots = format!("{{\"public.project\": [\"{}\"]}}", project(3));
    let pack = export(&dev, &roots, "{\"exclude\": [\"public.users\"]}");
    assert_eq!(actions(&import(&prod, &pack, "{}")), ["created"]);
    let owner = "select login from project join users on users.id = owner_id";
    assert_eq!(prod.text(owner), dev.text(&format!("{owner} where name = 'p3'")));
}

#[test]
fn a_reference_that_leads_nowhere_is_refused_or_null_where_that_may_be() {
    let (dev, prod) = stages();
    let roots = format!("{{\"public.project\": [\"{}\"]}}", project(3));
    let no_users = export(&dev, &roots, "{\"exclude\": [\"public.users\"]}");
    let error = prod.expect_error(&call(&no_users, "{}", false));
    assert_eq!((error.sqlstate.as_str(), count(&prod)), ("23000", 0));
    assert!(error.message.contains("reference (owner_id) leads to row"), "{error:#?}");
    // A dry run has all lines; what hangs on a row that is refused is, too.
    let told = report(&prod, &call(&no_users, "{}", true));
    assert_eq!(of_table(&told, "project")[0].0, "refused");
    assert_eq!(of_table(&told, "note")[0].0, "refused");
    assert_eq!(of_table(&told, "datasource")[0].0, "created");
    assert_eq!(count(&prod), 0);
    let some = import(&prod, &no_users, "{\"on_refused\": \"skip\"}");
    assert_eq!((some, count(&prod)), (told, 1));
    // An optional one may be left null, and is said to be.
    let roots = roots.replace(&project(3), &project(2));
    let no_source = export(&dev, &roots, "{\"exclude\": [\"public.datasource\"]}");
    prod.exec("delete from datasource");
    let refused = prod.expect_error(&call(&no_source, "{}", false));
    assert_eq!(refused.sqlstate, "23000");
    let done = import(&prod, &no_source, "{\"on_missing_reference\": \"null\"}");
    let (action, reason) = of_table(&done, "project")[0];
    assert_eq!(action, "created");
    assert!(reason.starts_with("reference (source_id) is null: "), "{reason}");
    assert_eq!(prod.query_one::<i64>("select count(*) from project where source_id is null"), 2);
}
