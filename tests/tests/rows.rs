//! What sets do to rows: columns, conflicts, truncations, partitions, rights, triggers.

use syncjournal_tests::{
    assert_same_rows, carry, introduce, pair, prepare_set, triple, wait_until,
};

use crate::sets::{labels, offices};

#[test]
fn columns_are_matched_by_name() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    hq.exec(
        "create table item (gone int, id int primary key, label text, price numeric(8,2));
             alter table item drop column gone",
    );
    branch.exec(
        "create table item (price numeric(8,2), extra text default 'here', label text,
                     id int primary key, twice numeric generated always as (price * 2) stored,
                     serial_no bigint generated always as identity)",
    );
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('item')");
    }
    // The branch has columns that the head office has not: only one way is possible.
    hq.exec("insert into item (id, label, price) values (1, 'one', 1.25), (2, null, null)");
    carry(&hq, &branch, "full");
    hq.exec("update item set price = 2.5 where id = 1; insert into item (id) values (3)");
    carry(&hq, &branch, "changes");
    let rows: Vec<String> = branch.column(
        "select concat_ws('|', id, label, price, extra, twice, serial_no) from item order by id",
    );
    assert_eq!(rows, ["1|one|2.50|here|5.00|1", "2|here|2", "3|here|3"]);
}

#[test]
fn a_column_that_the_target_excludes_is_not_taken() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table item (secret text default 'own', id int primary key, label text)");
    }
    hq.exec("select syncjournal.track('item')");
    branch.exec("select syncjournal.track('item', exclude_columns => '{secret}')");
    hq.exec("insert into item values ('hidden', 1, 'one'), ('hidden', 2, 'two')");
    carry(&hq, &branch, "full");
    hq.exec(
        "update item set secret = 'more', label = 'uno' where id = 1;
             update item set secret = 'more' where id = 2",
    );
    carry(&hq, &branch, "changes");
    let rows: Vec<String> =
        branch.column("select concat_ws(' ', id, label, secret) from item order by id");
    assert_eq!(rows, ["1 uno own", "2 two own"]);
}

#[test]
fn the_later_update_wins_and_the_other_can_be_read() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'both', 1), (2, 'both', 2), (3, 'both', 3)");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'hq first' where id = 1");
    branch.exec("update item set price = 10 where id = 1");
    branch.exec("update item set label = 'branch first' where id = 2");
    hq.exec("update item set price = 20 where id = 2");
    hq.exec("update item set label = 'hq a' where id = 2");
    branch.exec("delete from item where id = 3");
    hq.exec("update item set label = 'alive' where id = 3");

    let there = carry(&hq, &branch, "changes");
    let back = carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
    let rows: Vec<String> =
        hq.column("select concat_ws(' ', id, label, price) from item order by id");
    assert_eq!(rows, ["1 both 10", "2 hq a 20", "3 alive 3"], "whole rows win");
    assert!(there.conflicts > 0 && back.conflicts > 0);

    let conflicts = branch.rows(
        "select row_id, conflict_type, winner, status, base ->> 'label', local ->> 'price',
             remote ->> 'label'
         from syncjournal.conflict c where conflict_type = 'update_origin_differs'
         order by conflict_id",
    );
    let told = |place: usize| -> Vec<String> {
        conflicts[place].iter().skip(1).map(|field| field.clone().unwrap_or_default()).collect()
    };
    assert_eq!(told(0), ["update_origin_differs", "local", "resolved", "both", "10", "hq first"],);
    assert_eq!(told(1)[1], "remote");
    let deleted: Vec<String> = branch
        .column("select winner from syncjournal.conflict where conflict_type = 'update_deleted'");
    assert_eq!(deleted, ["remote"]);
}

#[test]
fn deletes_meet_updates_on_both_sides_and_both_agree() {
    let (hq, branch) = offices();
    hq.exec("insert into item select i, 'both', i from generate_series(1, 4) i");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'hq' where id = 1");
    branch.exec("delete from item where id = 1");
    hq.exec("delete from item where id = 2");
    branch.exec("update item set label = 'branch' where id = 2");
    hq.exec("delete from item where id = 3");
    branch.exec("delete from item where id = 3");
    carry(&hq, &branch, "changes");
    carry(&branch, &hq, "changes");
    carry(&hq, &branch, "changes");
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(labels(&hq), ["2 branch", "4 both"]);
    branch.exec("update item set price = 7 where id = 2");
    assert_eq!(carry(&branch, &hq, "changes").updated, 1);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_truncate_spares_what_was_written_later() {
    let (hq, branch) = offices();
    hq.exec("insert into item select i, 'old', i from generate_series(1, 100) i");
    carry(&hq, &branch, "changes");
    hq.exec("truncate item; insert into item values (1, 'new', 1)");
    branch.exec("insert into item values (200, 'later', 1)");
    carry(&hq, &branch, "changes");
    assert_eq!(labels(&branch), ["1 new", "200 later"]);
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_row_with_the_nil_uuid_is_a_row_like_others() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table item (id uuid primary key, label text)");
        db.exec("select syncjournal.track('item')");
    }
    carry(&hq, &branch, "full");
    hq.exec(
        "insert into item select lpad(i::text, 32, '0')::uuid, 'old'
             from generate_series(0, 3) i",
    );
    carry(&hq, &branch, "changes");
    branch.exec("update item set label = 'earlier' where id::text like '%3'");
    hq.exec("delete from item where id::text like '%0'");
    carry(&hq, &branch, "changes");
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
    let labels: Vec<String> = hq.column("select label from item order by id");
    assert_eq!(labels, ["old", "old", "earlier"], "its delete is no truncation");
}

#[test]
fn the_role_of_the_agent_is_enough() {
    let (hq, branch) = offices();
    for db in [&hq, &branch] {
        let role = format!("carrier_{}", db.name());
        db.exec(&format!("create role {role} login in role syncjournal_agent"));
    }
    hq.exec("insert into item values (1, 'one', 1)");
    let mut from = hq.session_as(&format!("carrier_{}", hq.name()));
    let mut to = branch.session_as(&format!("carrier_{}", branch.name()));
    let set: Vec<u8> = from.query_one("select data from syncjournal.prep_sync('branch')");
    assert_eq!(to.query_one_with::<i64>("select inserted from syncjournal.apply($1)", &[&set]), 1);
    assert_eq!(from.expect_error("select * from item").sqlstate, "42501");
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn the_tables_owner_runs_its_code_and_no_more() {
    let (hq, branch) = offices();
    let owner = format!("owner_{}", branch.name());
    branch.exec(&format!(
        "create role {owner}; grant all on schema public to {owner};
         create function who() returns text language sql as 'select current_user::text';
         create function check_owner(label text) returns boolean language plpgsql as $$
             begin return current_user = '{owner}' and label is not null; end $$;
         alter table item add column author text default who();
         alter table item add check (public.check_owner(label));
         alter table item owner to {owner};
         alter table item enable row level security; alter table item force row level security"
    ));
    hq.exec("insert into item values (1, 'one', 1)");
    carry(&hq, &branch, "changes");
    assert_eq!(branch.text("select author from item"), owner);
}

#[test]
fn triggers_and_foreign_keys_fire_as_for_a_replica() {
    let (hq, branch) = offices();
    branch.exec(
        "create table seen (what text);
         create function note() returns trigger language plpgsql as $$
             begin insert into public.seen values (tg_name); return new; end $$;
         create function shout() returns trigger language plpgsql as $$
             begin new.label := upper(new.label); return new; end $$;
         create trigger plain after insert on item for each row execute function note();
         create trigger replica after insert or update on item
             for each row execute function note();
         alter table item enable replica trigger replica;
         create trigger loud before insert on item for each row execute function shout();
         alter table item enable always trigger loud;
         create table allowed (label text primary key);
         alter table item add foreign key (label) references allowed",
    );
    hq.exec("insert into item values (1, 'one', 1); update item set price = 2");
    carry(&hq, &branch, "changes");
    assert_eq!(labels(&branch), ["1 ONE"]);
    assert_eq!(branch.column::<String>("select what from seen"), ["replica", "replica"]);
    let journaled: i64 = branch.query_one("select count(*) from syncjournal.change");
    assert_eq!(journaled, 2, "what was applied is not captured again");
}

#[test]
fn partitions_are_the_targets_own_affair() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    let table = "create table event (id int, day date, note text, primary key (id, day))";
    hq.exec(&format!("{table} partition by range (day)"));
    hq.exec("create table event_old partition of event for values from (minvalue) to ('2024-01-01');
             create table event_new partition of event for values from ('2024-01-01') to (maxvalue)");
    branch.exec(&format!("{table} partition by hash (id)"));
    for n in 0..3 {
        branch.exec(&format!(
            "create table event_{n} (note text, id int not null, day date not null);
             alter table event attach partition event_{n}
                 for values with (modulus 3, remainder {n})"
        ));
    }
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('event')");
    }
    hq.exec(
        "insert into event select i, '2023-12-01'::date + i, 'n' from generate_series(1, 60) i",
    );
    carry(&hq, &branch, "full");
    assert_same_rows(&hq, &branch, "event");
    hq.exec(
        "update event set day = day + 20 where id % 2 = 0; delete from event where id > 50;
             update event set id = id + 100, note = 'moved' where id < 10",
    );
    carry(&hq, &branch, "changes");
    assert_same_rows(&hq, &branch, "event");
    branch.exec(
        "update event set day = '2023-01-01', note = 'back' where id = 20;
                 insert into event values (500, '2030-01-01', 'branch')",
    );
    carry(&branch, &hq, "full");
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "event");
    hq.exec("truncate event");
    carry(&hq, &branch, "changes");
    assert_eq!(branch.query_one::<i64>("select count(*) from event"), 0);
}

#[test]
fn what_a_node_received_travels_on() {
    let (a, b, c) = triple();
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    for db in [&a, &b, &c] {
        db.exec("create table item (id int primary key, label text)");
    }
    a.exec("insert into item values (1, 'old'), (2, 'old')");
    for db in [&a, &b, &c] {
        db.exec("select syncjournal.track('item')");
    }
    a.exec("update item set label = 'versioned' where id = 2");
    carry(&b, &c, "full");
    carry(&a, &b, "full");
    // The rows of a's full set reach c through b as entries of b's journal.
    carry(&b, &c, "changes");
    a.exec(
        "update item set label = 'new' where id = 1; delete from item where id = 2;
            insert into item values (3, 'three')",
    );
    carry(&a, &b, "changes");
    carry(&b, &c, "changes");
    for db in [&b, &c] {
        assert_same_rows(&a, db, "item");
        assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.conflict"), 0);
    }
}

#[test]
fn an_error_names_the_row_the_table_and_the_source() {
    let (hq, branch) = offices();
    branch.exec("alter table item add check (price <> 2)");
    branch.exec("select syncjournal.alter_peer('hq', stop_on => '{23}')");
    hq.exec("insert into item values (1, 'hq', 1), (2, 'hq', 2)");
    let parts = prepare_set(&hq, &branch, "changes");
    let applied = branch.own().client().query("select syncjournal.apply($1)", &[&parts[0]]);
    let error = applied.expect_err("the price is refused");
    let told = error.as_db_error().expect("from the server");
    assert_eq!(told.code().code(), "23514");
    let row = hq.text("select sync_id from item where id = 2");
    let place = told.hint().unwrap_or_default();
    assert!(place.contains(&row) && place.contains("item") && place.contains("hq"), "{place}");
    assert_eq!(labels(&branch), Vec::<String>::new(), "nothing of the set is there");
}

#[test]
fn constraints_that_are_checked_late_are_checked() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(
            "create table seat (id int primary key, place int,
                     unique (place) deferrable initially deferred)",
        );
        db.exec("select syncjournal.track('seat')");
    }
    carry(&hq, &branch, "full");
    hq.exec("insert into seat values (1, 1), (2, 2)");
    hq.exec(
        "begin; update seat set place = 2 where id = 1;
             update seat set place = 1 where id = 2; commit",
    );
    carry(&hq, &branch, "changes");
    assert_same_rows(&hq, &branch, "seat");

    branch.exec("insert into seat values (3, 3)");
    hq.exec("insert into seat values (4, 3)");
    assert_eq!(carry(&hq, &branch, "changes").quarantined, 1, "the place is taken");
    assert_eq!(branch.query_one::<i64>("select count(*) from seat"), 3);
}

#[test]
fn a_row_changed_by_others_meanwhile_is_waited_for() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1)");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'hq' where id = 1");
    let parts = prepare_set(&hq, &branch, "changes");
    let mut local = branch.session();
    local.exec("begin; update item set price = 5 where id = 1");
    let mut other = branch.session();
    let applying = std::thread::spawn(move || {
        let query = "select conflicts from syncjournal.apply($1)";
        other.query_one_with::<i64>(query, &[&parts[0]])
    });
    wait_until("apply waits for the row", || {
        branch.query_one::<i64>(
            "select count(*) from pg_stat_activity
             where wait_event_type = 'Lock' and datname = current_database()",
        ) == 1
    });
    local.exec("commit");
    assert_eq!(applying.join().expect("applied"), 1, "the change in between is a conflict");
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(branch.text("select label || price from item"), "one5");
}
