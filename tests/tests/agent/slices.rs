//! Slices on a live link.

use std::time::Duration;

use syncjournal_tests::{Agent, AgentCommand, Db, wait_until, wait_until_within};

use super::{link, offices};

const SLOT_PATIENCE: Duration = Duration::from_secs(180);

fn items(db: &Db) -> String {
    db.text(
        "select coalesce(string_agg(concat_ws(':', id, label, amount), ' ' order by id), '') \
        from item",
    )
}

fn wait_for_stream(config: &str) {
    wait_until_within(SLOT_PATIENCE, "the link streams", || {
        let told = AgentCommand::new(config).args(&["status", "--json"]).finish().stdout;
        told.contains("\"streaming\"")
    });
}

#[test]
fn a_live_link_carries_its_slices() {
    let (hq, branch) = offices();
    hq.exec("select syncjournal.create_slice('small', 'item', 'amount < 10')");
    hq.exec("select syncjournal.create_slice('odd', 'item', 'amount % 2 = 1')");
    hq.exec("insert into item values (1, 'a', 1), (2, 'b', 20), (3, 'c', 31)");
    let config = link(&hq, &branch, "direction = \"both\"\nslices = [\"small\"]");
    let agent = Agent::run(&config);
    wait_until("the first copy is there", || items(&branch) == "1:a:1");
    wait_for_stream(&config);
    hq.exec("update item set amount = amount + 5 where id in (1, 2)");
    hq.exec("update item set amount = 2, label = 'came' where id = 2");
    wait_until("a row came in", || items(&branch) == "1:a:6 2:came:2");
    hq.exec("update item set amount = 60 where id = 1");
    wait_until("a row went out", || items(&branch) == "2:came:2");
    branch
        .exec("insert into item values (4, 'mine', 4); update item set label = 'own' where id = 2");
    wait_until("what branch writes is at hq", || items(&hq) == "1:a:60 2:own:2 3:c:31 4:mine:4");
    branch.exec("update item set amount = 40 where id = 4");
    wait_until("what branch moves out goes away there", || items(&branch) == "2:own:2");
    assert_eq!(items(&hq), "1:a:60 2:own:2 3:c:31 4:mine:40");
    // Lists that change while it runs: what was seen before is not brought again.
    hq.exec("select syncjournal.alter_peer('branch', slices => '{small,odd}')");
    hq.exec("insert into item values (5, 'odd', 55)");
    wait_until("the other slice is there", || items(&branch) == "2:own:2 3:c:31 5:odd:55");
    hq.exec("select syncjournal.alter_slice('odd', 'amount > 50')");
    wait_until("the filter has changed", || items(&branch) == "1:a:60 2:own:2 5:odd:55");
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let quiet: i64 = branch.query_one(
        "select (select count(*) from syncjournal.conflict) \
            + (select count(*) from syncjournal.quarantine)",
    );
    assert_eq!(quiet, 0, "{}", ended.stderr);
}

#[test]
fn seed_67_a_locked_slice_of_a_live_link_waits_and_the_others_go_on() {
    let (hq, branch) = offices();
    hq.exec("select syncjournal.create_slice('small', 'item', 'amount < 10')");
    hq.exec("select syncjournal.create_slice('large', 'item', 'amount >= 100')");
    hq.exec("select syncjournal.create_slice('odd', 'item', 'amount in (31, 33)')");
    hq.exec("insert into item values (1, 'a', 1), (2, 'b', 2), (3, 'c', 31), (4, 'd', 400)");
    let config = link(&hq, &branch, "slices = [\"small\", \"large\", \"odd\"]");
    let agent = Agent::run(&config);
    wait_until("the first copy is there", || items(&branch) == "1:a:1 2:b:2 3:c:31 4:d:400");
    wait_for_stream(&config);
    hq.exec("select syncjournal.lock_slice('small')");
    hq.exec("update item set label = 'new'; delete from item where id = 2");
    hq.exec("insert into item values (5, 'new', 5)");
    wait_until("the others go on", || items(&branch) == "1:a:1 2:b:2 3:new:31 4:new:400");
    // From the locked slice to another, and the other way.
    hq.exec("update item set amount = 100 where id = 5; update item set amount = 3 where id = 4");
    hq.exec("update item set label = 'newer' where id in (1, 3, 4, 5)");
    wait_until("what came into another slice is there", || {
        items(&branch) == "1:a:1 2:b:2 3:newer:31 4:new:400 5:newer:100"
    });
    hq.exec(
        "begin; update item set label = 'newest' where id = 1; \
        select syncjournal.unlock_slice('small'); \
        update item set label = 'last' where id = 4; commit",
    );
    let all = "1:newest:1 3:newer:31 4:last:3 5:newer:100";
    wait_until("what was held back is there", || items(&branch) == all);
    // Again and again, without a pause.
    for round in 0..5 {
        hq.exec("select syncjournal.lock_slice('small')");
        hq.exec(&format!("update item set label = 'round {round}'"));
        hq.exec(&format!("insert into item values (1{round}, 'x', 1)"));
        hq.exec("select syncjournal.unlock_slice('small')");
        hq.exec(&format!("update item set amount = amount + 1 where id = 1{round}"));
    }
    hq.exec("delete from item where id = 12");
    wait_until("all rounds have come", || items(&branch) == items(&hq));
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let loud = "select concat_ws(' ', (select string_agg(c::text, ' ') from syncjournal.conflict c), \
        (select string_agg(q::text, ' ') from syncjournal.quarantine q))";
    assert_eq!(branch.text(loud), "", "{}", ended.stderr);
}

#[test]
fn nothing_of_what_goes_by_slices_is_extra() {
    let (hq, branch) = offices();
    hq.exec("select syncjournal.create_slice('small', 'item', 'amount < 10')");
    hq.exec("insert into item values (1, 'a', 1), (2, 'b', 20)");
    let more = "mode = \"once\"\nslices = [\"small\"]\non_extra = \"delete\"";
    let config = link(&hq, &branch, more);
    assert_eq!(AgentCommand::new(&config).args(&["sync"]).finish().code, Some(0));
    branch.exec("insert into item values (7, 'own', 70), (8, 'own', 80)");
    let synced = AgentCommand::new(&config).args(&["sync", "--full"]).finish();
    assert_eq!(synced.code, Some(0), "{synced:#?}");
    assert_eq!(items(&branch), "1:a:1 7:own:70 8:own:80");
}

#[test]
fn a_link_whose_slices_change_brings_the_difference() {
    let (hq, branch) = offices();
    hq.exec("select syncjournal.create_slice('small', 'item', 'amount < 10')");
    hq.exec("select syncjournal.create_slice('large', 'item', 'amount >= 100')");
    hq.exec("insert into item values (1, 'a', 1), (2, 'b', 20), (3, 'c', 300)");
    let sync = |slices: &str| {
        let config = link(&hq, &branch, &format!("mode = \"once\"\nslices = {slices}"));
        let ended = AgentCommand::new(&config).args(&["sync"]).finish();
        (ended.code, ended.stderr)
    };
    assert_eq!(sync("[\"small\"]").0, Some(0));
    assert_eq!(items(&branch), "1:a:1");
    assert_eq!(sync("[\"large\"]").0, Some(0));
    assert_eq!(items(&branch), "3:c:300");
    let (code, said) = sync("[\"medium\"]");
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no slice \"medium\""), "{said}");
    assert_eq!(items(&branch), "3:c:300");
}

#[test]
fn seed_37_a_link_whose_lists_change_brings_what_they_show() {
    let (hq, branch) = offices();
    for db in [&hq, &branch] {
        db.exec("create table note (id int primary key, body text)");
        db.exec("select syncjournal.track('note')");
    }
    hq.exec("insert into item values (1, 'a', 1); insert into note values (1, 'a'), (2, 'b')");
    let notes =
        |db: &Db| db.text("select coalesce(string_agg(id || body, ' ' order by id), '') from note");
    let sync = |lists: &str| {
        let config = link(&hq, &branch, &format!("mode = \"once\"\n{lists}"));
        let ended = AgentCommand::new(&config).args(&["sync"]).finish();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended.stderr
    };
    sync("include = [\"public.item\"]");
    assert_eq!((items(&branch), notes(&branch)), ("1:a:1".into(), String::new()));
    // Some of it unsent, and written under the list of before.
    hq.exec("update note set body = 'bb' where id = 2; delete from note where id = 1");
    sync("include = [\"public.item\"]");
    hq.exec("update note set body = 'bbb' where id = 2; insert into note values (3, 'c')");
    hq.exec("update item set amount = 2");
    sync("include = [\"public.item\", \"public.note\"]");
    assert_eq!((items(&branch), notes(&branch)), ("1:a:2".into(), "2bbb 3c".into()));
    // Hidden again: what is there stays; and shown: what has changed comes, and nothing else.
    sync("exclude = [\"public.note\"]");
    hq.exec("update note set body = 'unseen' where id = 3; insert into note values (4, 'd')");
    sync("exclude = [\"public.note\"]");
    assert_eq!(notes(&branch), "2bbb 3c");
    sync("");
    assert_eq!(notes(&branch), "2bbb 3unseen 4d");
    // What the row came to while it was hidden has no history here.
    let told = "select string_agg(concat_ws(' ', conflict_type, winner, status), ', ') \
        || (select count(*) from syncjournal.quarantine) from syncjournal.conflict";
    assert_eq!(branch.text(told), "update_origin_differs remote resolved0");
    let sent = "select entries::text from syncjournal.sync_set where direction = 'sent' \
        order by made_at desc limit 1";
    sync("");
    assert_eq!(hq.text(sent), "0");
}

#[test]
fn what_alter_peer_says_holds_until_the_links_file_says_something_else() {
    let (hq, branch) = offices();
    hq.exec("select syncjournal.create_slice('small', 'item', 'amount < 10')");
    hq.exec("select syncjournal.create_slice('large', 'item', 'amount >= 100')");
    hq.exec("insert into item values (1, 'a', 1), (2, 'b', 20), (3, 'c', 300)");
    let sync = |more: &str| {
        let config = link(&hq, &branch, &format!("mode = \"once\"\n{more}"));
        let ended = AgentCommand::new(&config).args(&["sync"]).finish();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    };
    sync("slices = [\"small\"]");
    assert_eq!(items(&branch), "1:a:1");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{small,large}')");
    sync("slices = [\"small\"]");
    assert_eq!(items(&branch), "1:a:1 3:c:300", "the file says what it said before");
    sync("");
    assert_eq!(items(&branch), "1:a:1 3:c:300", "the file says nothing");
    sync("slices = [\"large\"]");
    assert_eq!(items(&branch), "3:c:300", "the file says something else");
}

#[test]
fn columns_that_are_excluded_while_a_link_runs_neither_leak_nor_get_lost() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'a', 1), (2, 'b', 2)");
    let config = link(&hq, &branch, "");
    let agent = Agent::run(&config);
    wait_until("the first copy is there", || items(&branch) == "1:a:1 2:b:2");
    wait_for_stream(&config);
    hq.exec("update item set label = 'before', amount = 10 where id = 1");
    hq.exec("select syncjournal.alter_tracking('item', exclude_columns => '{label}')");
    hq.exec("update item set label = 'secret', amount = amount + 1");
    hq.exec("update item set label = 'secret 2' where id = 2");
    hq.exec("insert into item values (3, 'secret', 3)");
    wait_until("what travels is there", || items(&branch) == "1:before:11 2:b:3 3:3");
    hq.exec("select syncjournal.alter_tracking('item', exclude_columns => '{}')");
    hq.exec("update item set label = 'after' where id = 2; insert into item values (4, 'd', 4)");
    hq.exec("update item set amount = 12 where id = 1");
    let all = "1:before:12 2:after:3 3:3 4:d:4";
    wait_until("it travels again", || items(&branch) == all);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let leaked = "select count(*) from syncjournal.change where new::text like '%secret%'";
    assert_eq!(branch.query_one::<i64>(leaked), 0);
    let loud = "select concat_ws(' ', (select string_agg(c::text, ' ') from syncjournal.conflict c), \
        (select string_agg(q::text, ' ') from syncjournal.quarantine q))";
    assert_eq!(branch.text(loud), "", "{}", ended.stderr);
}
