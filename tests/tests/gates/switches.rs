//! Who is switched on where, and which way anything goes: by file.

use syncjournal_tests::{Db, apply_set, carry, prepare_set};

use super::{active, activity, labels, offices};

fn switch(db: &Db, peer: &str, on: bool) {
    db.exec(&format!("select syncjournal.alter_peer('{peer}', active => {on})"));
}

#[test]
fn what_the_source_switches_off_is_off_at_the_destination_and_logged_once() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one')");
    carry(&hq, &branch, "full");
    hq.exec("insert into item values (2, 'two')");
    switch(&hq, "branch", false);

    for mode in ["changes", "full"] {
        let refused = hq.expect_error(&format!("select syncjournal.prep_sync('branch', '{mode}')"));
        assert_eq!(refused.sqlstate, "55000");
        assert!(refused.hint.contains("notice"), "{refused:#?}");
    }
    let parts = prepare_set(&hq, &branch, "notice");
    assert_eq!(parts.len(), 1);
    let said = "select syncjournal.describe_set($1) ->> 'switched_off'";
    assert_eq!(hq.query_one_with::<String>(said, &[&parts[0]]), "true");
    let told: i64 = branch.query_one_with(
        "select count(*) from syncjournal.apply($1, dry_run => true)",
        &[&parts[0]],
    );
    assert_eq!(told, 1);
    assert!(active(&branch), "a dry run switches nothing");

    for _ in 0..2 {
        assert_eq!(apply_set(&branch, &parts).entries, 0);
        assert!(!active(&branch));
        assert_eq!(activity(&branch), ["hq switched_off by the source itself"]);
    }
    assert_eq!(apply_set(&branch, &prepare_set(&hq, &branch, "notice")).entries, 0);
    assert_eq!(activity(&branch).len(), 1);
    assert_eq!(labels(&branch), ["1 one"], "no row came");
    assert_eq!(activity(&hq), ["branch switched_off here"]);
}

#[test]
fn what_the_source_switches_on_stays_off_at_the_destination() {
    let (hq, branch) = offices();
    carry(&hq, &branch, "full");
    switch(&hq, "branch", false);
    apply_set(&branch, &prepare_set(&hq, &branch, "notice"));
    switch(&hq, "branch", true);
    let nothing = hq.expect_error("select syncjournal.prep_sync('branch', 'notice')");
    assert_eq!(nothing.sqlstate, "55000");
    hq.exec("insert into item values (1, 'one')");
    let parts = prepare_set(&hq, &branch, "changes");
    let refused = branch
        .own()
        .client()
        .query("select syncjournal.apply($1)", &[&parts[0]])
        .expect_err("the destination is off");
    assert_eq!(refused.code().map(|code| code.code()), Some("55000"));
    assert!(!active(&branch));
    assert_eq!(activity(&branch).len(), 1, "nothing happened to the switch");
    assert!(labels(&branch).is_empty());

    switch(&branch, "hq", true);
    apply_set(&branch, &parts);
    assert_eq!(labels(&branch), ["1 one"], "nothing was lost meanwhile");
    assert_eq!(activity(&branch)[1..], ["hq switched_on here".to_owned()]);
}

#[test]
fn the_destinations_own_switch_stays_with_it() {
    let (hq, branch) = offices();
    carry(&hq, &branch, "full");
    hq.exec("select syncjournal.alter_peer('branch', direction => 'send')");
    branch.exec("select syncjournal.alter_peer('hq', direction => 'receive', active => false)");
    let nothing = "select count(*) from syncjournal.prep_sync('hq', 'notice')";
    assert_eq!(branch.expect_error(nothing).sqlstate, "55000", "who only receives says nothing");
    hq.exec("insert into item values (1, 'one')");
    let parts = prepare_set(&hq, &branch, "changes");
    assert!(!parts.is_empty());
    assert!(active(&hq) && !active(&branch));
    assert_eq!(activity(&hq), Vec::<String>::new());
}

/// Whether a row goes from one to the other when asked for by file.
fn passes(from: &Db, to: &Db, id: i32) -> bool {
    from.exec(&format!("insert into item values ({id}, 'x')"));
    let peer = to.text("select name from syncjournal.node where is_local");
    let made = from
        .own()
        .client()
        .query(&format!("select data from syncjournal.prep_sync('{peer}', 'full')"), &[]);
    let Ok(parts) = made else { return false };
    let applied = parts.iter().all(|part| {
        let data: Vec<u8> = part.get(0);
        to.own().client().query("select syncjournal.apply($1)", &[&data]).is_ok()
    });
    let here = format!("select exists (select from item where id = {id})");
    applied && to.query_one(&here)
}

#[test]
fn each_direction_lets_pass_what_it_says_and_nothing_else() {
    // For what is said at hq of branch: what goes to it, what comes from it.
    let modes = [
        ("direction => 'send'", true, false),
        ("direction => 'receive'", false, true),
        ("direction => 'both'", true, true),
        ("active => false", false, false),
    ];
    for at_hq in [true, false] {
        for (number, (mode, sends, receives)) in modes.into_iter().enumerate() {
            let (hq, branch) = offices();
            let (here, there, peer) =
                if at_hq { (&hq, &branch, "branch") } else { (&branch, &hq, "hq") };
            here.exec(&format!("select syncjournal.alter_peer('{peer}', {mode})"));
            let id = i32::try_from(number).expect("a small number");
            assert_eq!(passes(there, here, 10 + id), receives, "{mode}");
            assert_eq!(passes(here, there, 20 + id), sends, "{mode}");
        }
    }
}
