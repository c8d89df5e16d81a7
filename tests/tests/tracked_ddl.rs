//! What DDL does to tracked tables, and tracking to DDL.

use syncjournal_tests::{Db, assert_same_rows, carry, introduce, pair, shared};

fn node() -> Db {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq')");
    db
}

/// How many entries the journal holds.
fn entries(db: &Db) -> i64 {
    db.query_one("select coalesce(sum(entries), 0) from syncjournal.journal_frame")
}

/// The layout that capture writes a table's entries in.
fn layout(db: &Db, table: &str) -> i32 {
    db.query_one(&format!(
        "select layout_id from syncjournal.tracked_relation where relid = '{table}'::regclass"
    ))
}

const PARTED: &str = "
    create table parted (id int, area int not null, primary key (id, area)) partition by list (area);
    create table parted_1 partition of parted for values in (1);
    create table parted_2 partition of parted for values in (2) partition by range (id);
    create table parted_2a partition of parted_2 default;
    insert into parted values (1, 1), (1, 2);
    select syncjournal.track('parted');
";

#[test]
fn a_new_column_is_a_new_layout_and_an_old_one_comes_back() {
    let db = node();
    db.exec("create table t (id int primary key, v text); select syncjournal.track('t')");
    let first = layout(&db, "t");
    db.exec("alter table t add column w int default 7");
    let second = layout(&db, "t");
    assert_ne!(first, second);
    db.exec("alter table t drop column w");
    assert_eq!(layout(&db, "t"), first, "the same definition is the same layout");
    db.exec("alter table t alter column v type varchar(10)");
    assert_ne!(layout(&db, "t"), first);
    // What is no part of a layout makes none.
    let now = layout(&db, "t");
    db.exec("create index on t (v); alter table t alter column v set default 'x'");
    assert_eq!(layout(&db, "t"), now);
}

#[test]
fn new_names_of_table_schema_and_type_are_followed() {
    let db = node();
    db.exec(
        "create schema shop; create type shop.colour as enum ('red');
         create table shop.t (id int primary key, c shop.colour);
         select syncjournal.track('shop.t')",
    );
    let name = "select schema_name || '.' || table_name from syncjournal.tracked_relation
        join syncjournal.relation_layout using (layout_id)";
    assert_eq!(db.text(name), "shop.t");
    db.exec("alter table shop.t rename to s");
    assert_eq!(db.text(name), "shop.s");
    db.exec("alter schema shop rename to store");
    assert_eq!(db.text(name), "store.s");
    db.exec("create schema other; alter table store.s set schema other");
    assert_eq!(db.text(name), "other.s");
    let before = layout(&db, "other.s");
    db.exec("alter type store.colour rename to hue");
    assert_ne!(layout(&db, "other.s"), before, "layouts name types");
}

#[test]
fn what_tracking_needs_cannot_be_taken_away() {
    let db = node();
    db.exec("create table t (id int primary key); select syncjournal.track('t')");
    db.exec("create table root (id int, sync_version uuid, sync_id uuid) partition by list (id)");
    for (change, sqlstate) in [
        ("drop column sync_id", "2BP01"),
        ("drop column sync_version", "2BP01"),
        ("rename column sync_version to other", "2BP01"),
        ("set unlogged", "55000"),
    ] {
        let refused = db.expect_error(&format!("alter table t {change}"));
        assert_eq!(refused.sqlstate, sqlstate, "{change}: {refused:?}");
        assert!(refused.hint.contains("untrack"), "{refused:?}");
    }
    db.exec("alter table t drop constraint t_pkey; alter table t alter column id drop not null");
    let attached = db.expect_error("alter table root attach partition t default");
    assert_eq!(attached.sqlstate, "55000");
    db.exec("insert into t values (1)");
    assert_eq!(entries(&db), 1);
}

#[test]
fn a_dropped_table_is_forgotten() {
    let db = node();
    db.exec(
        "create schema s; create table s.t (id int primary key);
         create type mood as enum ('fine'); create table m (id int primary key, how mood);
         select syncjournal.track_all('{s.*,public.*}')",
    );
    let before = layout(&db, "m");
    db.exec("drop type mood cascade");
    assert_ne!(layout(&db, "m"), before, "the column went with its type");
    db.exec("delete from m; drop schema s cascade");
    assert_eq!(db.column::<String>("select relation::text from syncjournal.tracked_table"), ["m"]);
    db.exec("drop table m");
    assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.tracked_table"), 0);
}

#[test]
fn partitions_are_tracked_with_their_root() {
    let db = node();
    db.exec(PARTED);
    for partition in ["parted_1", "parted_2", "parted_2a"] {
        let refused = db.expect_error(&format!("select syncjournal.track('{partition}')"));
        assert_eq!(refused.sqlstate, "42809");
        assert!(refused.hint.contains("track('parted')") || refused.hint.contains("public.parted"));
    }
    db.exec("create table parted_3 partition of parted for values in (3)");
    db.exec("create table parted_2b partition of parted_2 for values from (100) to (200)");
    db.exec("insert into parted values (1, 3), (150, 2)");
    assert_eq!(entries(&db), 2);
    let unversioned: i64 =
        db.query_one("select count(*) from parted where id > 1 and sync_version is null");
    assert_eq!(unversioned, 0);
    // One identity in each leaf, by a unique index of its own.
    let leaves: Vec<String> = db.column(
        "select relid::text from pg_partition_tree('parted') p where isleaf and exists (
            select from pg_index i join pg_attribute a on a.attrelid = i.indrelid
                and a.attnum = i.indkey[0]
            where i.indrelid = p.relid and i.indisunique and a.attname = 'sync_id') order by 1",
    );
    assert_eq!(leaves, ["parted_1", "parted_2a", "parted_2b", "parted_3"]);
    assert_eq!(
        db.query_one::<i64>("select count(*) from syncjournal.health where severity = 'error'"),
        0
    );
}

#[test]
fn a_partition_brings_its_rows_into_the_journal() {
    let db = node();
    db.exec(PARTED);
    db.exec(
        "alter table parted add column twice int generated always as (id * 2) stored,
             add column gone int, add column n int default 7;
         alter table parted drop column gone;
         create table extra (like parted including all); insert into extra (id, area) values (1, 4);
         insert into extra (id, area) values (2, 4); create sequence fired;
         create function fire() returns trigger language plpgsql as
             'begin perform nextval(''fired''); return new; end';
         create trigger fire before insert or delete on extra for each row execute function fire();
         create trigger fire_always before insert on extra for each row execute function fire();
         alter table extra enable always trigger fire_always",
    );
    let rows = "select id || ' ' || area || ' ' || twice || ' ' || n from extra order by id";
    let before = db.column::<String>(rows);
    let foreign_rows = "select id from parted where area = 1";
    db.exec("alter table parted attach partition extra for values in (4)");
    assert_eq!(db.column::<String>(rows), before);
    assert_eq!(db.column::<i32>(foreign_rows), [1]);
    assert!(!db.query_one::<bool>("select is_called from fired"), "it is nobody's insert");
    let told: Vec<String> = db.column(
        "select concat_ws(' ', op, relation, new ->> 'id', new ->> 'area') from syncjournal.change
         order by version",
    );
    assert_eq!(told, ["INSERT public.parted 1 4", "INSERT public.parted 2 4"]);
    let identities: i64 = db.query_one(
        "select count(*) from extra e join syncjournal.change c
             on c.row_id = e.sync_id and c.version = e.sync_version
         where substr(e.sync_id::text, 15, 1) = '5'",
    );
    assert_eq!(identities, 2);
    let states: String = db.text(
        "select string_agg(tgenabled::text, '' order by tgname) from pg_trigger
         where tgrelid = 'extra'::regclass and not tgisinternal",
    );
    assert_eq!(states, "OAAAA", "fire, fire_always, and the journal's three as they were");
}

#[test]
fn a_partition_is_detached_free() {
    let db = node();
    db.exec(PARTED);
    db.exec("create table extra partition of parted for values in (4)");
    db.exec("alter table parted detach partition extra; insert into extra values (2, 4)");
    assert_eq!(entries(&db), 0, "what is detached is not journaled");
    let triggers: i64 = db.query_one(
        "select count(*) from pg_trigger where tgrelid = 'extra'::regclass and not tgisinternal",
    );
    assert_eq!(triggers, 0);
    db.exec("create foreign data wrapper away; create server away foreign data wrapper away");
    let foreign = "create foreign table far partition of parted for values in (9) server away";
    assert_eq!(db.expect_error(foreign).sqlstate, "42809");
    // Any partition may go; the root and the others stay tracked.
    db.exec("drop table parted_1; insert into parted values (5, 2)");
    assert_eq!(entries(&db), 1);
}

#[test]
fn a_table_that_inherits_is_tracked_on_its_own() {
    let db = node();
    db.exec(
        "create table parent (id int primary key, v int);
         create table child (w int) inherits (parent);
         insert into parent values (1, 1); insert into child values (2, 2, 2);
         select syncjournal.track('parent')",
    );
    assert_eq!(db.query_one::<i64>("select count(*) from only parent where sync_id is null"), 0);
    assert_eq!(db.query_one::<i64>("select count(*) from child where sync_id is not null"), 0);
    db.exec("insert into child values (3, 3, 3); update parent set v = 10");
    assert_eq!(entries(&db), 1, "only the parent's own row is journaled");
    db.exec("select syncjournal.track('child')");
    assert_eq!(db.query_one::<i64>("select count(*) from child where sync_id is null"), 0);
    db.exec("update parent set v = 11");
    assert_eq!(entries(&db), 4);
    db.exec("alter table parent add column x int");
    assert_ne!(layout(&db, "parent"), layout(&db, "child"));
    let refused = db.expect_error("select syncjournal.untrack('parent', drop_columns => true)");
    assert_eq!(refused.sqlstate, "2BP01");
    db.exec(
        "select syncjournal.untrack('child', true); select syncjournal.untrack('parent', true)",
    );
    assert_eq!(
        db.query_one::<i64>(
            "select count(*) from pg_attribute where attname = 'sync_id'
            and attrelid in ('parent'::regclass, 'child'::regclass)"
        ),
        0
    );
}

#[test]
fn anyone_may_change_his_tracked_table() {
    let db = node();
    db.exec("create role tracked_ddl_owner; grant create on schema public to tracked_ddl_owner");
    db.exec(
        "set role tracked_ddl_owner;
         create table his (id int primary key, area int not null);
         reset role; select syncjournal.track('his'); set role tracked_ddl_owner;
         insert into his values (1, 1); alter table his add column v text;
         update his set v = 'x'; delete from his; truncate his; drop table his; reset role",
    );
    assert_eq!(entries(&db), 4);
    assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.tracked_table"), 0);
}

#[test]
fn entries_that_carry_a_column_dropped_at_both_ends_are_taken_without_it() {
    let (left, right) = pair();
    introduce(&[(&left, "left"), (&right, "right")]);
    let both = |sql: &str| [&left, &right].map(|db| db.exec(sql));
    both("create table t (id int primary key, v text, w text, old int)");
    both("select syncjournal.track('t', natural_key => '{id}')");
    left.exec("insert into t values (1, 'a', 'b', 1), (2, 'a', 'b', 2); update t set w = 'c'");
    left.exec("update t set v = 'd', w = 'd' where id = 1");
    both("alter table t drop column w; alter table t drop column old");
    left.exec("insert into t values (3, 'a')");
    carry(&left, &right, "changes");
    assert_same_rows(&left, &right, "t");
    // One that comes back is an ordinary column again.
    both("alter table t add column w text");
    right.exec("update t set w = 'new'");
    carry(&right, &left, "changes");
    assert_same_rows(&left, &right, "t");
    assert_eq!(left.text("select string_agg(w, ',') from t"), "new,new,new");
    let dropped = "select dropped_columns::text from syncjournal.tracked_relation";
    assert_eq!(left.text(dropped), "{old}");
}
