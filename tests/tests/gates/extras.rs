//! Rows that only the destination has: kept, reported or deleted when a full set is brought, and
//! never more of them than the link allows.

use syncjournal_tests::{Agent, Db, Finished, assert_same_rows, wait_until};

use super::agent::{config, nodes, sync};
use super::{activity, labels};

/// The source has five rows; the destination has them, too, and two of its own.
fn drifted() -> (Db, Db) {
    let (hq, branch) = nodes();
    hq.exec("insert into item select i, 'row ' || i from generate_series(1, 5) i");
    let plain = config(&hq, &branch, "mode = \"once\"");
    assert_eq!(sync(&plain, &[]).code, Some(0));
    branch.exec("insert into item values (11, 'own'), (12, 'own too')");
    (hq, branch)
}

fn full(hq: &Db, branch: &Db, more: &str, arguments: &[&str]) -> Finished {
    let config = config(hq, branch, &format!("mode = \"once\"\n{more}"));
    sync(&config, &[&["--full"], arguments].concat())
}

#[test]
fn extra_rows_are_kept_unless_the_link_says_otherwise() {
    for more in ["", "on_extra = \"keep\""] {
        let (hq, branch) = drifted();
        let finished = full(&hq, &branch, more, &[]);
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        assert_eq!(labels(&branch).len(), 7);
        assert_eq!(activity(&branch), Vec::<String>::new());
    }
}

#[test]
fn extra_rows_are_reported_and_wait_for_a_person() {
    let (hq, branch) = drifted();
    let finished = full(&hq, &branch, "on_extra = \"report\"", &["--json"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let table = &report[0]["extras"][0];
    assert_eq!(
        (&table["extra"], &table["deleted"], &table["rows"]),
        (&2.into(), &0.into(), &7.into())
    );
    let ids: Vec<String> = branch.column("select sync_id::text from item where id > 10 order by 1");
    assert_eq!(table["row_ids"], serde_json::json!(ids), "{report}");
    let finished = full(&hq, &branch, "on_extra = \"report\"", &[]);
    assert!(finished.stdout.contains("2 of 7 rows of public.item"), "{finished:#?}");
    assert_eq!(labels(&branch).len(), 7);
}

#[test]
fn extra_rows_are_deleted_where_the_link_says_so() {
    let (hq, branch) = drifted();
    hq.exec("delete from item where id = 1; insert into item values (11, 'eleven')");
    // What the source has deleted since is extra as well. Its own 11 needs the key of the other's.
    let finished = full(&hq, &branch, "on_extra = \"delete\"", &["--dry-run", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(finished.stdout.contains("\"deleted\": 3"), "{finished:#?}");
    assert_eq!(labels(&branch).len(), 7, "a dry run changes nothing");
    let finished = full(&hq, &branch, "on_extra = \"delete\"", &[]);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(activity(&branch), ["hq extra_deleted 3 rows of public.item that it has not got"]);
    let kept =
        "select count(*) from syncjournal.change where op = 'DELETE' and old ->> 'label' = 'own'";
    assert_eq!(branch.query_one::<i64>(kept), 1, "what went can be read");
    let again = full(&hq, &branch, "on_extra = \"delete\"", &[]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert_eq!(activity(&branch).len(), 1);
    assert_same_rows(&hq, &branch, "item");
    // What the mirror took is not listed as somebody's change, what people take is.
    let ahead = "select operation || ' ' || node from syncjournal.destination_ahead('hq')";
    assert_eq!(branch.column::<String>(ahead), Vec::<String>::new());
    branch.exec("delete from item where id = 2");
    assert_eq!(branch.column::<String>(ahead), ["DELETE branch"]);
}

#[test]
fn the_guard_stops_before_the_first_write() {
    let (hq, branch) = drifted();
    hq.exec("delete from item where id > 1; update item set label = 'changed'");
    let before = labels(&branch);
    let sets = "select count(*) from syncjournal.sync_set";
    let made = branch.query_one::<i64>(sets);
    for (more, limit) in [
        ("", "max_delete_fraction is 0.5"),
        ("\nmax_delete_fraction = 0.8", "max_delete_fraction is 0.8"),
        ("\nmax_delete_fraction = 1.0\nmax_delete_rows = 5", "max_delete_rows is 5"),
    ] {
        for arguments in [&[][..], &["--dry-run"]] {
            let finished = full(&hq, &branch, &format!("on_extra = \"delete\"{more}"), arguments);
            assert_eq!(finished.code, Some(1), "{finished:#?}");
            assert!(finished.stderr.contains(limit), "{finished:#?}");
            assert!(finished.stderr.contains("hint: Nothing was written"), "{finished:#?}");
            assert_eq!(labels(&branch), before);
            assert_eq!(branch.query_one::<i64>(sets), made, "no set came");
        }
    }
    let allowed = "on_extra = \"delete\"\nmax_delete_fraction = 1.0\nmax_delete_rows = 6";
    assert_eq!(full(&hq, &branch, allowed, &[]).code, Some(0));
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn an_empty_source_empties_nothing() {
    let (hq, branch) = nodes();
    branch.exec("insert into item select i, 'x' from generate_series(1, 100) i");
    let delete = config(&hq, &branch, "mode = \"once\"\non_extra = \"delete\"");
    let finished = sync(&delete, &[]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("100 of 100 rows of public.item"), "{finished:#?}");
    assert_eq!(labels(&branch).len(), 100);

    // Nor does a live link, which tries again and again and says why.
    let agent = Agent::run(&config(&hq, &branch, "mode = \"live\"\non_extra = \"delete\""));
    wait_until("it says why", || agent.stderr().contains("100 of 100 rows"));
    agent.stop();
    assert_eq!(labels(&branch).len(), 100);
}

#[test]
fn a_live_link_deletes_at_its_first_sync_and_lets_be_what_comes_later() {
    let (hq, branch) = nodes();
    hq.exec("insert into item select i, 'x' from generate_series(1, 10) i");
    branch.exec("insert into item values (77, 'own')");
    let live =
        config(&hq, &branch, "mode = \"live\"\non_extra = \"delete\"\nmax_delete_fraction = 1.0");
    let agent = Agent::run(&live);
    wait_until("the first copy", || labels(&branch).len() == 10);
    assert_same_rows(&hq, &branch, "item");
    branch.exec("insert into item values (78, 'own')");
    hq.exec("insert into item values (11, 'x')");
    wait_until("the insert", || labels(&branch).len() == 12);
    agent.stop();
}

#[test]
fn parents_and_children_go_together_and_restrictions_hold() {
    let (hq, branch) = nodes();
    for db in [&hq, &branch] {
        db.exec(
            "create table line (id uuid primary key default gen_random_uuid(),
                 item int not null references item);
             create function shout() returns trigger language plpgsql as
                 'begin raise exception ''no ordinary trigger fires''; end';
             create trigger shout before delete on line for each row execute function shout();
             select syncjournal.track('line')",
        );
    }
    hq.exec("insert into item select i, 'x' from generate_series(1, 4) i");
    hq.exec("insert into line (item) select id from item");
    let more = "mode = \"once\"\non_extra = \"delete\"";
    assert_eq!(sync(&config(&hq, &branch, more), &[]).code, Some(0));
    branch.exec("insert into item values (9, 'own'); insert into line (item) values (9), (1)");
    branch.exec("select syncjournal.restrict_peer('hq', 'line', '{insert,update}')");
    let finished = full(&hq, &branch, "on_extra = \"delete\"", &["--json"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let told: Vec<_> = report[0]["extras"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|table| format!("{} {} {}", table["relation"], table["extra"], table["deleted"]))
        .collect();
    assert_eq!(told, ["\"public.item\" 1 1", "\"public.line\" 2 0"]);
    let refused = "select syncjournal.delete_extra('hq', 'line', '{}')";
    assert_eq!(branch.expect_error(refused).sqlstate, "55000");
    branch.exec("select syncjournal.restrict_peer('hq', 'line', null)");
    assert_eq!(full(&hq, &branch, "on_extra = \"delete\"", &[]).code, Some(0));
    assert_same_rows(&hq, &branch, "line");
    assert_same_rows(&hq, &branch, "item");

    // Where foreign keys are enforced, they are here, too.
    branch.exec("insert into item values (9, 'own')");
    branch.exec("create table note (item int references item); insert into note values (9)");
    let enforcing = "on_extra = \"delete\"\nconstraints = \"enforce\"";
    let finished = full(&hq, &branch, enforcing, &[]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("23503"), "{finished:#?}");
    assert_eq!(labels(&branch).len(), 5);
}

#[test]
fn only_tables_that_both_ends_agree_on_are_looked_at() {
    let (hq, branch) = drifted();
    for db in [&hq, &branch] {
        db.exec("create table other (id uuid primary key); select syncjournal.track('other')");
    }
    branch.exec("create table alone (id uuid primary key); select syncjournal.track('alone')");
    branch.exec("insert into other values (gen_random_uuid()); insert into alone values (gen_random_uuid())");
    branch.exec("select syncjournal.alter_peer('hq', exclude => '{public.other}')");
    let finished = full(&hq, &branch, "on_extra = \"delete\"", &[]);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_eq!(labels(&branch).len(), 5);
    let left = "select (select count(*) from other) + (select count(*) from alone)";
    assert_eq!(branch.query_one::<i64>(left), 2);
    for (call, sqlstate) in [
        ("delete_extra('nobody', 'item', '{}')", "42704"),
        ("delete_extra('hq', 'pg_class', '{}')", "42704"),
        ("row_identities('pg_class')", "42704"),
    ] {
        assert_eq!(branch.expect_error(&format!("select syncjournal.{call}")).sqlstate, sqlstate);
    }
}
