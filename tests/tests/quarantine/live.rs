//! A live link, and what a server has to say about calls that fail.

use syncjournal_tests::{
    Agent, AgentCommand, Cluster, Db, Options, apply_set, carry, confirm_set, introduce,
    prepare_set, wait_until,
};

use super::{CODES, offices, rows, waiting};

#[test]
fn a_live_link_goes_on_past_a_bad_row() {
    let (hq, branch) = offices(CODES, "alter table item add constraint small check (code < 100)");
    let config = format!(
        "[node.hq]\ndsn = \"{}\"\n[node.branch]\ndsn = \"{}\"\n
         [[link]]\nname = \"hq-branch\"\nsource = \"hq\"\ndestination = \"branch\"\nmode = \"live\"\n",
        hq.dsn(),
        branch.dsn()
    );
    let _agent = Agent::run(&config);
    hq.exec("insert into item values (1, 1, 'a')");
    wait_until("the first row is there", || rows(&branch) == ["1 1 a"]);
    hq.exec("insert into item values (2, 200, 'bad')");
    hq.exec("update item set label = 'worse' where id = 2");
    hq.exec("insert into item values (3, 3, 'c')");
    wait_until("the link has gone on", || rows(&branch) == ["1 1 a", "3 3 c"]);
    wait_until("both entries wait", || waiting(&branch).len() == 2);
    let told = AgentCommand::new(&config).args(&["status", "--json"]).finish().stdout;
    let status: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!(status[0]["quarantined"], 2, "{told}");
    assert!(status[0]["last_error"].is_null(), "{told}");

    branch.exec("alter table item drop constraint small");
    hq.exec("insert into item values (4, 4, 'd')");
    wait_until("all is there", || rows(&branch).len() == 4);
    assert_eq!(waiting(&branch), Vec::<String>::new());
    assert!(rows(&branch).contains(&"2 200 worse".to_owned()));
}

/// One after another: keys, checks, triggers, types; and nothing that the server would warn about.
#[test]
fn failing_calls_leave_nothing_open() {
    let cluster = Cluster::start(Options::default());
    let (hq, branch) = (Db::fresh(&cluster), Db::fresh(&cluster));
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(
            "create table item (id int, code int, label text, primary key (id, code))
                 partition by list (code);
             create table item_0 partition of item for values in (0);
             create table item_1 partition of item for values in (1);
             select syncjournal.track('item')",
        );
    }
    branch.exec(
        "alter table item_0 add unique (label), add check (id % 7 <> 3);
         create function refuse() returns trigger language plpgsql as $$
             begin
                 perform 1 / (new.id % 11);
                 return new;
             end $$;
         create trigger refuse after insert or update on item for each row
             execute function refuse();
         alter table item_0 enable always trigger refuse;
         alter table item_1 enable always trigger refuse",
    );
    carry(&hq, &branch, "full");
    for round in 0..12 {
        hq.exec(&format!(
            "insert into item select i, i % 2, 'l' || i % 5 from generate_series({0}, {0} + 39) i;
             update item set code = 1 - code where id % 3 = 1;
             delete from item where id % 13 = 2",
            round * 40
        ));
        let set = prepare_set(&hq, &branch, "changes");
        branch.exec("begin; savepoint before");
        let tried: i64 =
            branch.query_one_with("select quarantined from syncjournal.apply($1)", &[&set[0]]);
        assert!(tried > 0);
        branch.exec("rollback to before; commit");
        let done = apply_set(&branch, &set);
        assert_eq!(done.quarantined, tried);
        let all = done.inserted + done.updated + done.deleted + done.skipped + done.quarantined;
        assert_eq!(done.entries, all, "each entry has one outcome: {done:?}");
        confirm_set(&hq, &set);
        branch.exec("select syncjournal.retry_quarantine()");
    }
    branch.exec(
        "drop trigger refuse on item; alter table item_0 drop constraint item_0_label_key;
         alter table item_0 drop constraint item_0_id_check",
    );
    branch.exec("select syncjournal.retry_quarantine()");
    assert_eq!(waiting(&branch), Vec::<String>::new());
    syncjournal_tests::assert_same_rows(&hq, &branch, "item");
    let warnings: Vec<String> =
        cluster.log().lines().filter(|line| line.contains("WARNING")).map(str::to_owned).collect();
    assert_eq!(warnings, Vec::<String>::new());
}
