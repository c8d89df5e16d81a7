//! Taking tables under the journal and out of it: what they look like meanwhile and afterwards.

use std::process::Command;

use syncjournal_tests::{Db, pair, server, shared};

const TRACKED_LEFT: &str = "select count(*) from pg_attribute
    where attname in ('sync_id', 'sync_version') and not attisdropped
        and attrelid not in (select oid from pg_class where relnamespace = 'syncjournal'::regnamespace)";

/// A database that is a node.
fn node() -> Db {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq')");
    db
}

/// The definitions of everything outside our own schema, as pg_dump writes them.
fn definitions(db: &Db) -> String {
    let dump = Command::new(server().bin.join("pg_dump"))
        .args(["--schema-only", "--schema=public", "--dbname", &db.dsn()])
        .output()
        .expect("pg_dump can be started");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let text = String::from_utf8(dump.stdout).expect("the dump is UTF-8");
    // Later minor versions guard the dump by a random word.
    let lines = text.lines().filter(|line| !line.contains("restrict "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Panics with the lines that differ.
#[track_caller]
fn assert_same_definitions(now: &str, before: &str) {
    let only = |these: &str, those: &str| {
        let those: Vec<_> = those.lines().collect();
        let lines = these.lines().filter(|line| !those.contains(line));
        lines.map(|line| format!("\n  {line}")).collect::<String>()
    };
    assert!(now == before, "only now:{}\nonly before:{}", only(now, before), only(before, now));
}

/// Tables of every shape that tracking touches.
const SHAPES: &str = "
    create function stamp() returns trigger language plpgsql as
        'begin new.changed := clock_timestamp(); return new; end';
    create table plain (id serial primary key, label text, changed timestamptz default now());
    create trigger stamp before update on plain for each row execute function stamp();
    create trigger always before update on plain for each row execute function stamp();
    alter table plain enable always trigger always;
    create trigger off before update on plain for each row execute function stamp();
    alter table plain disable trigger off;
    create rule keep as on update to plain where old.id < 0 do instead nothing;
    create table keyless (label text);
    create table ident (id uuid primary key default gen_random_uuid(), label text);
    create table parted (id int, area int not null, primary key (id, area)) partition by list (area);
    create table parted_1 partition of parted for values in (1);
    create table parted_2 partition of parted for values in (2) partition by range (id);
    create table parted_2a partition of parted_2 for values from (0) to (100);
    create table parted_2b partition of parted_2 default;
    create table parent (id int primary key, label text);
    create table child (extra int) inherits (parent);
    insert into plain (label) select 'row ' || i from generate_series(1, 50) i;
    insert into keyless select 'row ' || i from generate_series(1, 5) i;
    insert into ident (label) select 'row ' || i from generate_series(1, 5) i;
    insert into parted select i, 1 + i % 2 from generate_series(90, 110) i;
    insert into parent values (1, 'p'); insert into child values (2, 'c', 0);
";

#[test]
fn untracked_tables_are_as_they_were() {
    let db = node();
    db.exec(SHAPES);
    let before = definitions(&db);
    let rows = "select md5(string_agg(p::text, ',' order by id)) from plain p";
    let content = db.text(rows);
    assert_eq!(db.column::<String>("select syncjournal.track_all()::text").len(), 6);
    assert_ne!(definitions(&db), before);
    // The child first: it is tracked by the columns of its parent.
    db.exec("select syncjournal.untrack('child', drop_columns => true)");
    db.exec(
        "select syncjournal.untrack(relation, drop_columns => true) from syncjournal.tracked_table",
    );
    assert_same_definitions(&definitions(&db), &before);
    assert_eq!(db.text(rows), content);
    assert_eq!(db.query_one::<i64>(TRACKED_LEFT), 0);
}

#[test]
fn dropping_the_extension_leaves_tables_as_they_were() {
    let db = node();
    db.exec(SHAPES);
    let before = definitions(&db);
    db.exec("select syncjournal.track_all(); select syncjournal.ensure_publication()");
    let refused = db.expect_error("drop extension syncjournal");
    assert_eq!(refused.sqlstate, "2BP01");
    db.exec("drop extension syncjournal cascade");
    assert_same_definitions(&definitions(&db), &before);
    assert_eq!(db.query_one::<i64>("select count(*) from pg_publication"), 0);
    assert_eq!(
        db.query_one::<i64>("select count(*) from pg_namespace where nspname = 'syncjournal'"),
        0
    );
}

#[test]
fn rows_get_their_identity_without_any_trigger_or_rule() {
    let db = node();
    db.exec(SHAPES);
    let stamps = "select string_agg(changed::text, ',' order by id) from plain";
    let before = db.text(stamps);
    db.exec("create rule all_rows as on update to plain do instead nothing");
    db.exec("select syncjournal.track('plain')");
    assert_eq!(db.text(stamps), before);
    let states = "select string_agg(tgenabled::text, '' order by tgname) from pg_trigger
        where tgrelid = 'plain'::regclass and tgname in ('always', 'off', 'stamp')";
    assert_eq!(db.text(states), "ADO");
    let without: i64 = db.query_one("select count(*) from plain where sync_id is null");
    assert_eq!(without, 0);
    // It is nobody's change: not in the journal, and without a version.
    assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.journal_frame"), 0);
    assert_eq!(db.query_one::<i64>("select count(*) from plain where sync_version is not null"), 0);
}

#[test]
fn two_databases_give_the_same_rows_the_same_identity() {
    let (left, right) = pair();
    for (db, session) in [
        (&left, "set timezone = 'Asia/Tokyo'; set datestyle = 'SQL, DMY'"),
        (&right, "set extra_float_digits = 0; set bytea_output = 'escape'"),
    ] {
        db.exec("select syncjournal.create_node('n')");
        db.exec(
            "create table k (at timestamptz, f float8, b bytea, primary key (at, f, b));
             insert into k select timestamptz '2024-02-29 12:00+00' + i * interval '1 h', i / 3.0,
                 int4send(i) from generate_series(1, 20) i;
             create table named (code text unique, label text)",
        );
        db.exec("insert into named values ('a', 'x'), ('b', 'y')");
        db.exec(&format!("{session}; select syncjournal.track('k')"));
        db.exec("select syncjournal.track('named', natural_key => '{code}')");
    }
    for table in ["k", "named"] {
        let ids = format!("select string_agg(sync_id::text, ',' order by sync_id) from {table}");
        assert_eq!(left.text(&ids), right.text(&ids));
        let version = left.text(&format!("select substr(sync_id::text, 15, 1) from {table}"));
        assert_eq!(version, "5");
    }
}

#[test]
fn a_key_that_is_no_key_is_refused() {
    let db = node();
    db.exec("create table n (code text, label text); insert into n values ('a', 'x'), ('a', 'y')");
    let twice = db.expect_error("select syncjournal.track('n', natural_key => '{code}')");
    assert_eq!(twice.sqlstate, "23505");
    assert!(twice.hint.contains("natural_key"), "{twice:?}");
    db.exec("update n set code = null where label = 'y'");
    let null = db.expect_error("select syncjournal.track('n', natural_key => '{code}')");
    assert_eq!(null.sqlstate, "22004");
    db.exec("create unique index on n (label)");
    db.exec("select syncjournal.track('n', natural_key => '{label}')");
    db.exec(
        "create table parted (code text, area int) partition by list (area);
         create table parted_1 partition of parted for values in (1);
         create table parted_2 partition of parted for values in (2);
         insert into parted values ('a', 1), ('a', 2)",
    );
    let across = db.expect_error("select syncjournal.track('parted', natural_key => '{code}')");
    assert_eq!(across.sqlstate, "23505");
    db.exec("create unique index on parted (area, code)");
    db.exec("select syncjournal.track('parted', natural_key => '{code,area}')");
}

#[test]
fn a_uuid_key_of_the_table_is_the_identity() {
    let db = node();
    db.exec(
        "create table a (id uuid primary key, v int);
         create table b (id int primary key, ref uuid not null unique);
         create table c (id int primary key, ref uuid unique);
         create table d (id int primary key, ref uuid not null);
         create unique index on d (ref) where id > 0;
         select syncjournal.track_all()",
    );
    let identities =
        db.rows("select relation::text, identity_column from syncjournal.tracked_table order by 1");
    let identities: Vec<_> = identities.into_iter().flatten().flatten().collect();
    assert_eq!(identities, ["a", "id", "b", "ref", "c", "sync_id", "d", "sync_id"]);
    // Its name may change, and it cannot be taken away.
    db.exec("alter table a rename column id to key");
    assert_eq!(
        db.text(
            "select identity_column from syncjournal.tracked_table where relation = 'a'::regclass"
        ),
        "key"
    );
    // The first two the server refuses by itself, since a trigger of ours names the column.
    for (change, sqlstate) in [
        ("alter column key type text", "0A000"),
        ("drop column key", "2BP01"),
        ("drop column key cascade", "2BP01"),
    ] {
        assert_eq!(db.expect_error(&format!("alter table a {change}")).sqlstate, sqlstate);
    }
}

#[test]
fn readers_pass_while_a_table_is_being_tracked() {
    let db = node();
    db.exec("create table t (id int primary key); insert into t select generate_series(1, 1000)");
    db.exec(
        "create table p (id int primary key) partition by range (id);
             create table p1 partition of p default; insert into p values (1)",
    );
    let mut reader = db.session();
    reader.exec("set lock_timeout = '2s'");
    reader.exec("prepare all_rows as select * from t");
    reader.rows("execute all_rows");
    db.exec("begin; select syncjournal.track('t'); select syncjournal.track('p')");
    assert_eq!(reader.query_one::<i64>("select count(*) from t"), 1000);
    assert_eq!(reader.rows("execute all_rows").len(), 1000);
    assert_eq!(reader.rows("select * from p1").len(), 1);
    for table in ["t", "p", "p1"] {
        let write = reader.expect_error(&format!("insert into {table} values (0)"));
        assert_eq!(write.sqlstate, "55P03");
    }
    db.exec("commit");
    assert_eq!(reader.rows("select * from t where sync_id is not null").len(), 1000);
    reader.exec("insert into t values (0)");
    assert_eq!(reader.rows("select from t where id = 0 and sync_version is not null").len(), 1);
}

#[test]
fn tracking_can_be_given_up_and_taken_up_again() {
    let db = node();
    db.exec("create table t (id int primary key); insert into t values (1)");
    db.exec("select syncjournal.track('t')");
    let first = db.text("select sync_id from t");
    db.exec("select syncjournal.untrack('t'); insert into t values (2)");
    db.exec("select syncjournal.track('t')");
    assert_eq!(db.text("select sync_id from t where id = 1"), first);
    assert_eq!(db.query_one::<i64>("select count(*) from t where sync_id is null"), 0);
    // A column of that name which is the user's own is left alone.
    db.exec("create table own (id int primary key, sync_id text)");
    assert_eq!(db.expect_error("select syncjournal.track('own')").sqlstate, "42701");
}

#[test]
fn excluded_columns_stay_behind_and_rows_can_do_without() {
    let db = node();
    db.exec("create table t (id int primary key, secret text, needed text not null)");
    for (columns, sqlstate) in [("id", "22023"), ("needed", "22023"), ("nothing", "42703")] {
        let track = format!("select syncjournal.track('t', exclude_columns => '{{{columns}}}')");
        assert_eq!(db.expect_error(&track).sqlstate, sqlstate);
    }
    db.exec("select syncjournal.track('t', exclude_columns => '{secret}')");
    db.exec("alter table t rename column secret to hidden");
    let excluded = "select array_to_string(exclude_columns, ',') from syncjournal.tracked_table";
    assert_eq!(db.text(excluded), "hidden");
    db.exec("insert into t values (1, 'whisper', 'x')");
    let journaled: i64 = db.query_one(
        "select count(*) from syncjournal.journal_frame where position('whisper' in data) > 0",
    );
    assert_eq!(journaled, 0);
    db.exec("alter table t drop column hidden");
    assert_eq!(db.text(excluded), "");
    db.exec("alter table t alter column needed drop not null");
    db.exec("select syncjournal.alter_tracking('t', exclude_columns => '{needed}')");
    assert_eq!(db.text(excluded), "needed");
}

#[test]
fn tables_that_cannot_be_journaled_are_refused_with_a_way_out() {
    let db = node();
    db.exec(
        "create type shape as (id int, v text); create table typed of shape (primary key (id));
         create table root (id int) partition by list (id);
         create foreign data wrapper away; create server away foreign data wrapper away;
         create foreign table far partition of root default server away",
    );
    for table in ["typed", "root"] {
        let refused = db.expect_error(&format!("select syncjournal.track('{table}')"));
        assert_eq!(refused.sqlstate, "42809");
        assert!(refused.message.contains(table) && !refused.hint.is_empty(), "{refused:?}");
    }
    db.exec("alter table typed not of; select syncjournal.track('typed')");
}

#[test]
fn tracking_lends_nobody_its_rights() {
    let db = node();
    db.exec(
        "create role tracking_owner; grant create on schema public to tracking_owner;
         create table seen (who text); grant insert on seen to tracking_owner;
         set role tracking_owner;
         create function public.look(int) returns bool language plpgsql as
             'begin insert into public.seen values (current_user); return true; end';
         create table his (id int primary key, v int check (public.look(v)));
         insert into his values (1, 1); create table bare (v int); insert into bare values (1);
         reset role; delete from seen",
    );
    let rights = "select array_agg(nspacl::text) || array_agg(proacl::text)
        from pg_namespace n join pg_proc p on p.pronamespace = n.oid
        where nspname = 'syncjournal' and proname = 'row_id_v5'";
    let before = db.rows(rights);
    db.exec("select syncjournal.track('his'); select syncjournal.track('bare')");
    assert_eq!(db.column::<String>("select distinct who from seen"), ["tracking_owner"]);
    assert_eq!(db.rows(rights), before);
    assert_eq!(db.query_one::<i64>("select count(*) from his where sync_id is null"), 0);
    // Rows that the owner himself may not see are given theirs all the same, or nothing is done.
    db.exec(
        "set role tracking_owner; create table hidden (id int primary key);
         insert into hidden values (1), (2);
         create policy none on hidden using (id = 1); alter table hidden enable row level security,
             force row level security; reset role",
    );
    let refused = db.expect_error("select syncjournal.track('hidden')");
    assert!(refused.hint.contains("no force row level security"), "{refused:?}");
}

#[test]
fn track_all_takes_what_matches_and_leaves_extensions_theirs() {
    let db = node();
    db.exec(
        "create extension dict_int; create schema other; create table other.a (id int primary key);
         create table a (id int primary key); create table audit_log (id int primary key);
         create table \"Odd.Name\" (id int primary key);
         create view v as select 1; create unlogged table u (id int);
         create table belongs (id int primary key);
         alter extension dict_int add table belongs",
    );
    let tracked = db.column::<String>(
        "select syncjournal.track_all('{public.*}', exclude => '{public.audit_*}')::text",
    );
    assert_eq!(tracked, ["\"Odd.Name\"", "a"]);
    let more = db.column::<String>("select syncjournal.track_all('{*.a*}')::text");
    assert_eq!(more, ["other.a", "audit_log"]);
}

#[test]
fn a_publication_for_all_tables_does_not_stop_us() {
    let db = node();
    db.exec("create publication everything for all tables; create table t (id int primary key)");
    db.exec("insert into t values (1); select syncjournal.track('t')");
    db.exec("insert into t values (2); update t set id = 3 where id = 2");
    db.exec(
        "select syncjournal.add_peer('x'); select syncjournal.alter_peer('x', active => false)",
    );
    db.exec("select syncjournal.confirm_position('x', pg_current_snapshot())");
    db.exec("select syncjournal.drop_peer('x'); select syncjournal.untrack('t', true)");
}
