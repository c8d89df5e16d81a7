//! Triggers at the target: which fire for what is applied, and what becomes of what they write.

use syncjournal_tests::{Db, Session, assert_same_rows, carry, introduce, pair, triple};

const ITEM: &str = "create table item (id int primary key, label text, n int default 0)";
const LOG: &str = "create table log (id uuid primary key default gen_random_uuid(), what text)";

/// Two nodes with the tracked tables `item` and `log`; `setup` makes the triggers of the second.
fn nodes(setup: &str) -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        tables(db);
    }
    branch.exec(setup);
    (hq, branch)
}

fn tables(db: &Db) {
    db.exec(&format!(
        "{ITEM}; {LOG}; select syncjournal.track('item'); select syncjournal.track('log')"
    ));
}

/// A trigger function of this body, and a trigger of it that fires as `enable` says.
fn trigger(name: &str, when: &str, body: &str, enable: &str) -> String {
    format!(
        "create function {name}() returns trigger language plpgsql as $${body}$$;
         create trigger {name} {when} execute function {name}();
         alter table item enable {enable} trigger {name};"
    )
}

fn items(db: &Db) -> Vec<String> {
    db.column("select concat_ws(' ', id, label, n) from item order by id")
}

fn logged(db: &Db) -> Vec<String> {
    db.column("select what from log order by what")
}

fn versions(db: &Db) -> Vec<String> {
    db.column("select sync_version::text from item order by id")
}

const NOTE: &str = "begin insert into public.log (what)
    values (tg_name || ' ' || lower(tg_op) || ' ' || coalesce(new.label, old.label));
    return null; end";

#[test]
fn those_fire_that_are_enabled_for_replicas() {
    let kinds = ["on_origin", "on_replica", "on_always", "on_nothing"];
    let enable = ["", "replica", "always", ""];
    let when = "after insert or update or delete on item for each row";
    let setup: Vec<String> =
        kinds.iter().zip(enable).map(|(name, kind)| trigger(name, when, NOTE, kind)).collect();
    let (hq, branch) =
        nodes(&format!("{} alter table item disable trigger on_nothing", setup.concat()));
    hq.exec("insert into item values (1, 'a')");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'b'; delete from item");
    carry(&hq, &branch, "changes");
    let per_event = ["delete b", "insert a", "update b"];
    let expected: Vec<String> = ["on_always", "on_replica"]
        .iter()
        .flat_map(|name| per_event.iter().map(move |event| format!("{name} {event}")))
        .collect();
    assert_eq!(logged(&branch), expected);
}

#[test]
fn what_a_trigger_writes_to_other_tables_is_a_change_of_this_node() {
    let (a, b, c) = triple();
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    for db in [&a, &b, &c] {
        tables(db);
    }
    let after = "after insert or update or delete on item for each row";
    b.exec(&trigger("note", after, NOTE, "always"));
    // An ordinary trigger of the second table does not fire, as in a replica.
    b.exec(
        "create function louder() returns trigger language plpgsql as
             $$begin new.what := upper(new.what); return new; end$$;
         create trigger louder before insert on log for each row execute function louder()",
    );
    a.exec("insert into item values (1, 'x'), (2, 'y'); update item set label = 'z' where id = 1");
    carry(&a, &b, "changes");
    assert_eq!(logged(&b), ["note insert x", "note insert y", "note update z"]);
    let own: i64 = b.query_one(
        "select count(*) from syncjournal.change c join syncjournal.node n on n.name = c.node
         where relation = 'public.log' and n.is_local",
    );
    assert_eq!(own, 3);
    for (from, to) in [(&b, &a), (&b, &c), (&c, &b), (&a, &b)] {
        carry(from, to, "changes");
    }
    for table in ["item", "log"] {
        assert_same_rows(&a, &b, table);
        assert_same_rows(&b, &c, table);
    }
    for db in [&a, &b, &c] {
        assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.conflict"), 0);
    }
}

#[test]
fn a_before_trigger_changes_the_row_and_not_its_version() {
    let body = "begin new.label := upper(new.label); return new; end";
    let when = "before insert or update on item for each row";
    let (hq, branch) = nodes(&trigger("shout", when, body, "always"));
    hq.exec("insert into item values (1, 'a'), (2, 'b')");
    carry(&hq, &branch, "changes");
    hq.exec("update item set n = 1, label = 'c' where id = 1; update item set n = 2 where id = 2");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), ["1 C 1", "2 B 2"]);
    assert_eq!(versions(&branch), versions(&hq));
    assert_eq!(carry(&branch, &hq, "changes").entries, 0, "it is no change of the branch's own");
    // Whatever such a trigger does to the version, the row stands where the entry put it.
    branch.exec(
        "create or replace function shout() returns trigger language plpgsql as
         $$begin if tg_op = 'UPDATE' then return old; end if;
         new.sync_version := null; return new; end$$",
    );
    hq.exec("update item set n = 3 where id = 1; insert into item values (3, 'd')");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), ["1 C 1", "2 B 2", "3 d 0"]);
    assert_eq!(versions(&branch), versions(&hq));
}

#[test]
fn a_before_trigger_may_suppress_a_change() {
    let body = "begin if tg_op = 'DELETE' then return null; end if;
        if new.label = 'no' then return null; end if; return new; end";
    let when = "before insert or update or delete on item for each row";
    let (hq, branch) = nodes(&trigger("gate", when, body, "replica"));
    hq.exec("insert into item values (1, 'a'), (2, 'no'), (3, 'c')");
    let first = carry(&hq, &branch, "changes");
    assert_eq!((first.inserted, first.skipped), (2, 1));
    hq.exec("update item set label = 'no' where id = 1; delete from item where id = 3");
    assert_eq!(carry(&hq, &branch, "changes").skipped, 2);
    assert_eq!(items(&branch), ["1 a 0", "3 c 0"]);
}

#[test]
fn a_row_keeps_its_identity() {
    let body = "begin new.sync_id := gen_random_uuid(); return new; end";
    let when = "before insert on item for each row";
    let (hq, branch) = nodes(&trigger("rename", when, body, "always"));
    hq.exec("insert into item values (1, 'a')");
    let failure = failure_of(&hq, &branch);
    assert_eq!(failure.0, "27000", "{failure:?}");
    assert_eq!(items(&branch), Vec::<String>::new());
}

#[test]
fn a_before_trigger_that_writes_to_its_own_row_is_an_error() {
    let (hq, branch) = nodes("");
    hq.exec("insert into item values (1, 'a')");
    carry(&hq, &branch, "changes");
    for (event, statements) in [("update", 1), ("update", 2), ("delete", 1), ("delete", 2)] {
        let body = format!(
            "begin {} return coalesce(new, old); end",
            "update public.item set n = n + 1 where id = old.id;".repeat(statements)
        );
        let when = format!("before {event} on item for each row when (pg_trigger_depth() = 0)");
        branch.exec(&trigger("meddle", &when, &body, "always"));
        hq.exec(if event == "update" {
            "update item set label = label || '!'"
        } else {
            "delete from item; insert into item values (1, 'a')"
        });
        let failure = failure_of(&hq, &branch);
        assert_eq!(failure.0, "27000", "{event} {statements}: {failure:?}");
        branch.exec("drop function meddle() cascade");
        carry(&hq, &branch, "changes");
        assert_eq!(items(&branch), items(&hq));
    }
}

/// The error by which the branch does not take what the headquarters has for it.
fn failure_of(hq: &Db, branch: &Db) -> (String, String) {
    let parts = syncjournal_tests::prepare_set(hq, branch, "changes");
    branch.exec("select syncjournal.alter_peer(name, stop_on => '{27}') from syncjournal.peer");
    let mut session: Session = branch.session();
    let error = session
        .client()
        .query("select syncjournal.apply($1)", &[&parts[0]])
        .map(|_| ())
        .expect_err("it applies");
    let error = error.as_db_error().expect("the server's error");
    (error.code().code().to_owned(), error.message().to_owned())
}

#[test]
fn an_after_trigger_that_writes_to_its_own_row_makes_a_change_that_follows() {
    let body = "begin update public.item set label = upper(label)
        where id = new.id and label <> upper(label); return null; end";
    let (hq, branch) =
        nodes(&trigger("shout", "after insert or update on item for each row", body, "always"));
    hq.exec("insert into item values (1, 'a')");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), ["1 A 0"]);
    assert_eq!(carry(&branch, &hq, "changes").updated, 1);
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    // The second entry of the set meets what the trigger made of the first.
    hq.exec("update item set label = 'b'");
    hq.exec("update item set label = 'c', n = 1");
    carry(&hq, &branch, "changes");
    for _ in 0..2 {
        carry(&branch, &hq, "changes");
        carry(&hq, &branch, "changes");
    }
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(items(&hq).len(), 1);
}

#[test]
fn column_lists_and_conditions_are_minded() {
    let label = trigger("on_label", "after update of label on item for each row", NOTE, "always");
    let n = trigger("on_n", "after update of n on item for each row", NOTE, "replica");
    let large = trigger(
        "on_large",
        "after update on item for each row when (new.n > 5 and old.n <= 5)",
        NOTE,
        "replica",
    );
    let (hq, branch) = nodes(&format!("{label}{n}{large}"));
    hq.exec("insert into item values (1, 'a'), (2, 'b')");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'aa' where id = 1; update item set n = 3 where id = 2");
    hq.exec("update item set n = 6 where id = 2; update item set n = 7 where id = 2");
    carry(&hq, &branch, "changes");
    assert_eq!(
        logged(&branch),
        [
            "on_label update aa",
            "on_large update b",
            "on_n update b",
            "on_n update b",
            "on_n update b"
        ]
    );
}

#[test]
fn transition_tables_deferred_and_statement_triggers() {
    let tables = trigger(
        "with_tables",
        "after update on item referencing old table as was new table as now for each row",
        "begin insert into public.log (what) select 'tables ' || was.n || ' ' || now.n from was, now;
         return null; end",
        "always",
    );
    let deferred = "create function late() returns trigger language plpgsql as
            $$begin insert into public.log (what) values ('late ' || new.n); return null; end$$;
        create constraint trigger late after update on item deferrable initially deferred
            for each row execute function late();
        alter table item enable always trigger late;";
    let statement = trigger("whole", "after update on item for each statement", NOTE, "always");
    let (hq, branch) = nodes(&format!("{tables}{deferred}{statement}"));
    hq.exec("insert into item values (1, 'a'), (2, 'b')");
    carry(&hq, &branch, "changes");
    hq.exec("update item set n = id");
    carry(&hq, &branch, "changes");
    assert_eq!(logged(&branch), ["late 1", "late 2", "tables 0 1", "tables 0 2"]);
}

#[test]
fn a_trigger_may_delete_and_truncate() {
    let body = "begin delete from public.log where what = old.label;
        if old.label = 'all' then truncate public.log; end if; return null; end";
    let (hq, branch) =
        nodes(&trigger("clear", "after delete on item for each row", body, "always"));
    hq.exec("insert into item values (1, 'a'), (2, 'all')");
    hq.exec("insert into log (what) values ('a'), ('b')");
    carry(&hq, &branch, "changes");
    hq.exec("delete from item where id = 1");
    carry(&hq, &branch, "changes");
    carry(&branch, &hq, "changes");
    assert_eq!(logged(&hq), ["b"]);
    hq.exec("delete from item");
    carry(&hq, &branch, "changes");
    carry(&branch, &hq, "changes");
    assert_eq!(logged(&hq), Vec::<String>::new());
}

#[test]
fn run_triggers_off_fires_none() {
    let (hq, branch) = nodes(&trigger("note", "after insert on item for each row", NOTE, "always"));
    let option = "select run_triggers from syncjournal.tracked_table
        where relation = 'item'::regclass";
    assert!(branch.query_one::<bool>(option));
    hq.exec("insert into item values (1, 'a')");
    carry(&hq, &branch, "changes");
    branch.exec("select syncjournal.alter_tracking('item', run_triggers => false)");
    hq.exec("insert into item values (2, 'b')");
    carry(&hq, &branch, "changes");
    branch.exec("select syncjournal.alter_tracking('item')");
    assert!(!branch.query_one::<bool>(option), "what is not named stays");
    branch.exec("insert into item values (3, 'c')");
    branch.exec("select syncjournal.alter_tracking('item', run_triggers => true)");
    hq.exec("insert into item values (4, 'd')");
    carry(&hq, &branch, "changes");
    assert_eq!(logged(&branch), ["note insert a", "note insert c", "note insert d"]);

    branch.exec("select syncjournal.untrack('item')");
    branch.exec("select syncjournal.track('item', run_triggers => false)");
    assert!(!branch.query_one::<bool>(option));
}

#[test]
fn triggers_fire_on_partitions_too() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(&format!(
            "create table item (id int primary key, label text) partition by range (id);
             create table item_1 partition of item for values from (0) to (10);
             create table item_2 (label text, id int not null);
             alter table item attach partition item_2 for values from (10) to (20);
             {LOG}; select syncjournal.track_all()"
        ));
    }
    let when = "after insert or update or delete on item for each row";
    branch.exec(&trigger("note", when, NOTE, "always"));
    hq.exec("insert into item values (1, 'a'), (11, 'b'); update item set id = 13 where id = 1");
    hq.exec("update item set id = 12 where id = 11");
    carry(&hq, &branch, "changes");
    assert_eq!(
        logged(&branch),
        ["note delete a", "note insert a", "note insert a", "note insert b", "note update b"]
    );
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
    assert_same_rows(&hq, &branch, "log");
    let applied: i64 =
        branch.query_one("select count(*) from syncjournal.change where relation = 'public.item'");
    assert_eq!(applied, 4, "what was applied is not captured again");
}

#[test]
fn whatever_the_sessions_role_a_change_is_captured() {
    let (hq, branch) = nodes("");
    let mut session = branch.session();
    session.exec(
        "set session_replication_role = replica; insert into item values (1, 'a');
         update item set n = 1; insert into log (what) values ('x'); truncate log",
    );
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(items(&hq), ["1 a 1"]);
    assert_eq!(logged(&hq), Vec::<String>::new());
}

#[test]
fn a_trigger_that_refuses_a_row_sets_it_aside_with_what_it_wrote() {
    let body = "begin insert into public.log (what) values (new.label);
        if new.label = 'bad' then raise exception 'refused'; end if; return new; end";
    let (hq, branch) =
        nodes(&trigger("judge", "before insert or update on item for each row", body, "always"));
    hq.exec("insert into item values (1, 'a'), (2, 'bad'), (3, 'c')");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), ["1 a 0", "3 c 0"]);
    assert_eq!(logged(&branch), ["a", "c"], "each once, however often it was tried");
    let waiting = "select sqlstate || ' ' || error from syncjournal.quarantine";
    assert_eq!(branch.column::<String>(waiting), ["P0001 refused"]);
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "log");
    hq.exec("update item set label = 'good' where id = 2");
    carry(&hq, &branch, "changes");
    branch.exec("alter table item disable trigger judge; select syncjournal.retry_quarantine()");
    assert_same_rows(&hq, &branch, "item");
}

/// Entries that do not simply go on top are settled with the triggers' writes journaled.
#[test]
fn a_trigger_may_write_to_rows_that_the_same_set_changes() {
    let body = "begin update public.item set n = n + 1 where id = new.id + 1; return null; end";
    let (hq, branch) =
        nodes(&trigger("next", "after update of label on item for each row", body, "always"));
    hq.exec("insert into item select n, 'a' from generate_series(1, 3) n");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'b' where id = 1; update item set label = 'b' where id = 2");
    hq.exec("update item set label = 'c' where id = 1; update item set label = 'd' where id = 3");
    carry(&hq, &branch, "changes");
    for _ in 0..2 {
        carry(&branch, &hq, "changes");
        carry(&hq, &branch, "changes");
    }
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(branch.query_one::<i64>("select count(*) from syncjournal.quarantine"), 0);
}

#[test]
fn what_a_trigger_writes_is_verified_by_nobody() {
    let body = "begin insert into public.note values (default, new.id + 100); return null; end";
    let (hq, branch) = nodes("select 1");
    for db in [&hq, &branch] {
        db.exec(
            "create table note (id uuid primary key default gen_random_uuid(),
                item int references item);
             select syncjournal.track('note')",
        );
    }
    branch.exec(&trigger("annotate", "after insert on item for each row", body, "replica"));
    branch.exec("select syncjournal.alter_peer('hq', constraints => 'enforce')");
    hq.exec("insert into item values (1, 'a')");
    let applied = carry(&hq, &branch, "changes");
    // As in any replica: the keys of what was sent are held, those of what triggers make of it are not.
    assert_eq!((applied.inserted, applied.quarantined), (1, 0));
    assert_eq!(branch.text("select item from note"), "101");
}
