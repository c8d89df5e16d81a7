//! Packs: rows with all that they refer to, as one document from database to database.

mod bad_input;
mod export;
mod import;
mod keys;
mod rights;

use serde_json::Value;
use syncjournal_tests::{Db, introduce, pair};

/// Projects with a shared data source, an owner, fields of their own, and notes on those.
pub const SCHEMA: &str = "
    create table datasource (
        id serial primary key, name text unique not null, dsn text, conf jsonb, ratio float8);
    create table users (id serial primary key, login text unique not null);
    create table project (
        id uuid primary key, name text unique, source_id int references datasource,
        owner_id int not null references users, parent uuid references project);
    create table field (
        project_id uuid references project, no int, label text, primary key (project_id, no));
    create table note (
        id serial primary key, project_id uuid, field_no int, body text,
        foreign key (project_id, field_no) references field)";

/// Five projects: 1, 2 and 3 have the first data source, 2 and 5 are below 1 and 4.
const ROWS: &str = "
    insert into datasource (name, dsn, conf)
        values ('main', 'host=dev', '{\"pool\": 5}'), ('other', 'host=x', null);
    insert into users (login) values ('ann'), ('bob');
    insert into project (id, name, source_id, owner_id)
        select ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'p' || n,
            1 + n / 4, 1 + n % 2
        from generate_series(1, 5) n;
    update project p set parent = q.id from project q
        where (q.name, p.name) in (('p1', 'p2'), ('p4', 'p5'));
    insert into field select id, n, name || ' ' || n from project, generate_series(1, 2) n;
    insert into note (project_id, field_no, body) select project_id, no, 'see' from field where no = 2;
    select syncjournal.declare_pack_edge('field', '{project_id}');
    select syncjournal.declare_pack_edge('note', '{project_id,field_no}')";

/// The identity of project `n`.
pub fn project(n: u8) -> String {
    format!("00000000-0000-4000-8000-00000000000{n}")
}

/// Development with the rows, and production with empty tables: nodes, all tables tracked.
pub fn stages() -> (Db, Db) {
    let (dev, prod) = pair();
    introduce(&[(&dev, "dev"), (&prod, "prod")]);
    for db in [&dev, &prod] {
        db.exec(SCHEMA);
        db.exec("select syncjournal.track_all()");
    }
    dev.exec(ROWS);
    (dev, prod)
}

#[track_caller]
pub fn export(db: &Db, roots: &str, options: &str) -> Value {
    db.query_one_with(
        "select syncjournal.export_pack($1::text::jsonb, $2::text::jsonb)",
        &[&roots, &options],
    )
}

/// The pack of some projects, by number.
#[track_caller]
pub fn export_projects(db: &Db, numbers: &[u8]) -> Value {
    let ids: Vec<String> = numbers.iter().map(|n| format!("\"{}\"", project(*n))).collect();
    export(db, &format!("{{\"public.project\": [{}]}}", ids.join(", ")), "{}")
}

/// One call of `import_pack`, as SQL.
pub fn call(pack: &Value, options: &str, dry_run: bool) -> String {
    let pack = pack.to_string().replace('\'', "''");
    format!("select * from syncjournal.import_pack('{pack}', '{options}', {dry_run})")
}

/// A line of the report: table, row, action, reason.
pub type Line = (String, String, String, String);

/// Imports, and returns the report.
#[track_caller]
pub fn import(db: &Db, pack: &Value, options: &str) -> Vec<Line> {
    report(db, &call(pack, options, false))
}

#[track_caller]
pub fn report(db: &Db, call: &str) -> Vec<Line> {
    let line = |row: Vec<Option<String>>| {
        let [relation, row_id, action, reason] =
            <[Option<String>; 4]>::try_from(row).expect("four columns");
        let text = Option::unwrap_or_default;
        (text(relation), text(row_id), text(action), text(reason))
    };
    db.rows(call).into_iter().map(line).collect()
}

/// The distinct actions of a report, sorted.
pub fn actions(report: &[Line]) -> Vec<&str> {
    let mut actions: Vec<&str> = report.iter().map(|line| line.2.as_str()).collect();
    actions.sort_unstable();
    actions.dedup();
    actions
}

/// What a report says of a table's rows: action and reason.
pub fn of_table<'a>(report: &'a [Line], table: &str) -> Vec<(&'a str, &'a str)> {
    let name = format!("public.{table}");
    let of_table = report.iter().filter(|line| line.0 == name);
    of_table.map(|line| (line.2.as_str(), line.3.as_str())).collect()
}

/// The rows of a table in a pack.
pub fn rows<'a>(pack: &'a Value, table: &str) -> &'a [Value] {
    let rows = &pack["tables"][format!("public.{table}")]["rows"];
    rows.as_array().map_or(&[], Vec::as_slice)
}

/// The rows of a table in a pack, to be edited.
pub fn rows_mut<'a>(pack: &'a mut Value, table: &str) -> &'a mut Vec<Value> {
    let rows = &mut pack["tables"][format!("public.{table}")]["rows"];
    rows.as_array_mut().expect("the table is in the pack")
}

/// The row of a table whose column has this value.
pub fn row_mut<'a>(pack: &'a mut Value, table: &str, column: &str, value: &str) -> &'a mut Value {
    let found = rows_mut(pack, table).iter_mut().find(|row| row["values"][column] == value);
    found.expect("the row is in the pack")
}

/// How many rows the tables have, all together.
pub fn count(db: &Db) -> i64 {
    db.query_one(
        "select (select count(*) from datasource) + (select count(*) from users)
             + (select count(*) from project) + (select count(*) from field)
             + (select count(*) from note)",
    )
}
