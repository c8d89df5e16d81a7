//! Partitions and children.

use super::{assert_replays, entries, node, ops, steps};
use syncjournal_tests::Db;

fn parted() -> Db {
    let db = node();
    steps(
        &db,
        &[
            "create table p (id int, area text, n int default 0, primary key (id, area))
             partition by list (area)",
            "create table p_a partition of p for values in ('a')",
            // Its columns stand elsewhere than the root's.
            "create table p_b (gone int, n int default 0, area text not null, id int not null)",
            "alter table p_b drop column gone",
            "alter table p attach partition p_b for values in ('b')",
            "create table p_c partition of p for values in ('c', 'd') partition by range (id)",
            "create table p_c1 partition of p_c for values from (0) to (100)",
            "select syncjournal.track('p')",
        ],
    );
    db
}

#[test]
fn rows_written_through_root_and_partition_replay() {
    let db = parted();
    steps(
        &db,
        &[
            "insert into p values (1, 'a'), (2, 'b'), (3, 'c')",
            "insert into p_a values (4, 'a')",
            "insert into p_b (id, area, n) values (5, 'b', 5)",
            "insert into p_c1 values (6, 'd', 6)",
            "update p set n = n + 1",
            "update p_b set n = n * 2",
            "delete from p where id = 1",
            "delete from p_c where id = 6",
        ],
    );
    assert_replays(&db, "p");
    let layouts = "select count(distinct layout) from syncjournal.journal_frame";
    assert_eq!(db.query_one::<i64>(layouts), 1, "all under the root's layout");
}

#[test]
fn a_row_that_moves_between_partitions_is_updated() {
    let db = parted();
    steps(
        &db,
        &[
            "insert into p select g, 'a', g from generate_series(1, 20) g",
            "update p set area = 'b' where id <= 10",
            "update p set area = 'c', n = -1 where id = 3",
            "begin; update p set area = 'd' where id = 4; update p set area = 'a' where id = 4;
             delete from p where id = 4; commit",
            "update p set area = case area when 'a' then 'b' else 'a' end where area in ('a', 'b')",
        ],
    );
    assert_replays(&db, "p");
    let moved: Vec<_> =
        entries(&db, "p").into_iter().filter(|entry| entry.op == "UPDATE").collect();
    assert_eq!(moved.len(), 31);
    assert_eq!(moved[0].new.keys().collect::<Vec<_>>(), ["area"]);
}

#[test]
fn moves_replay_among_triggers_of_all_kinds() {
    let db = parted();
    steps(
        &db,
        &[
            "create table log (id int generated always as identity primary key, what text)",
            "select syncjournal.track('log')",
            "create function watch() returns trigger language plpgsql as $$ begin
             insert into log (what) values (tg_when || tg_op || tg_table_name);
             if tg_when = 'AFTER' then
                 update p set n = n + 1 where id = 99;
                 return null;
             end if;
             if tg_op = 'INSERT' and new.n = 13 then return null; end if;
             if tg_op = 'DELETE' then return old; end if;
             return new; end $$",
            "create trigger watch_before before insert or update or delete on p
             for each row when (pg_trigger_depth() = 0) execute function watch()",
            "create trigger watch_after after insert or update or delete on p
             for each row when (pg_trigger_depth() = 0) execute function watch()",
            "insert into p values (1, 'a', 1), (2, 'a', 2), (3, 'a', 12), (99, 'a', 0)",
            "update p set area = 'b' where id < 3",
            // The trigger lets the row go, and not arrive.
            "update p set area = 'b', n = 13 where id = 3",
        ],
    );
    assert_eq!(db.query_one::<i64>("select count(*) from p"), 3);
    assert_eq!(ops(&db, "p").matches("DELETE").count(), 1);
    assert_replays(&db, "p");
    assert_replays(&db, "log");
}

#[test]
fn moves_that_are_rolled_back_leave_no_entry() {
    let db = parted();
    steps(
        &db,
        &[
            "insert into p values (1, 'a'), (2, 'a')",
            "begin; savepoint a; update p set area = 'b' where id = 1; rollback to a;
             update p set area = 'b' where id = 2; commit",
        ],
    );
    assert_eq!(ops(&db, "p"), "INSERT INSERT UPDATE");
    assert_replays(&db, "p");
}

#[test]
fn a_move_to_no_partition_is_an_error_and_leaves_no_entry() {
    let db = parted();
    db.exec("insert into p values (1, 'a')");
    assert_eq!(db.expect_error("update p set area = 'z'").sqlstate, "23514");
    db.exec(
        "do $$ begin update p set area = 'z'; exception when check_violation then null; end $$",
    );
    db.exec("update p set n = 5");
    assert_eq!(ops(&db, "p"), "INSERT UPDATE");
    assert_replays(&db, "p");
}

#[test]
fn partitions_attached_later_are_captured() {
    let db = parted();
    steps(
        &db,
        &[
            "create table p_e (n int, id int not null, area text not null)",
            "alter table p_e add column sync_version uuid, add column sync_id uuid",
            "alter table p attach partition p_e for values in ('e')",
            "create table p_rest partition of p default",
            "insert into p values (1, 'e'), (2, 'unknown')",
            "insert into p_e (id, area, n) values (3, 'e', 3)",
            "update p set area = 'e' where id = 2",
            "truncate p_e",
            "alter table p detach partition p_rest",
            "insert into p_rest (id, area) values (7, 'stray')",
        ],
    );
    assert_eq!(db.query_one::<i64>("select count(*) from p"), 0);
    assert_replays(&db, "p");
}

#[test]
fn truncate_of_a_partition_deletes_its_rows_only() {
    let db = parted();
    steps(
        &db,
        &[
            "insert into p select g, (array['a', 'b', 'c'])[g % 3 + 1] from generate_series(1, 30) g",
            "truncate p_b",
        ],
    );
    assert_eq!(ops(&db, "p").matches("DELETE").count(), 10);
    assert_replays(&db, "p");
    db.exec("insert into p values (100, 'b')");
    db.exec("truncate p_c");
    assert_replays(&db, "p");
    let before = entries(&db, "p").len();
    db.exec("truncate p");
    let all = entries(&db, "p");
    assert_eq!((all.len() - before, all[before].op.as_str()), (1, "TRUNCATE"));
    steps(&db, &["insert into p values (1, 'a')", "truncate p_a, p"]);
    assert_replays(&db, "p");
}

#[test]
fn children_are_tables_of_their_own() {
    let db = node();
    steps(
        &db,
        &[
            "create table parent (id int primary key, label text)",
            "create table child (extra int, primary key (id)) inherits (parent)",
            "select syncjournal.track('parent')",
            "select syncjournal.track('child')",
            "insert into parent values (1, 'p')",
            "insert into child (id, label, extra) values (2, 'c', 5)",
            "update parent set label = label || '!'",
            "delete from only parent",
            "update child set extra = 6",
        ],
    );
    assert_eq!(ops(&db, "parent"), "INSERT UPDATE DELETE");
    assert_eq!(ops(&db, "child"), "INSERT UPDATE UPDATE");
    assert_replays(&db, "parent");
    assert_replays(&db, "child");
    db.exec("truncate parent");
    assert_replays(&db, "child");
}

#[test]
fn moves_replay_with_foreign_keys_to_and_from_the_table() {
    let db = parted();
    steps(
        &db,
        &[
            "create table c (id int unique, area text, foreign key (id, area) references p on update cascade)",
            "create table area (area text primary key)",
            "insert into area values ('a'), ('b'), ('c')",
            "alter table p add foreign key (area) references area on delete cascade on update cascade",
            "select syncjournal.track('c', natural_key => '{id}')",
            "insert into p values (1, 'a'), (2, 'a'), (3, 'b')",
            "insert into c values (1, 'a'), (3, 'b')",
            "update p set area = 'b' where id = 1",
            "delete from c where id = 3",
            "update area set area = 'd' where area = 'a'",
            "delete from area where area = 'd'",
        ],
    );
    assert_replays(&db, "p");
    assert_replays(&db, "c");
}
