//! `constraints` in a link's configuration.

use syncjournal_tests::{AgentCommand, Db};

use super::{link, offices};

/// What the branch says of the peer, and how many rows of each table it has, and waiting.
fn state(branch: &Db) -> String {
    branch.text(
        "select concat_ws(' ', (select constraints from syncjournal.peer),
             (select count(*) from shelf), (select count(*) from book),
             (select count(*) from syncjournal.quarantine))",
    )
}

#[test]
fn a_link_verifies_foreign_keys_where_its_configuration_says_so() {
    let (hq, branch) = offices();
    for db in [&hq, &branch] {
        db.exec(
            "create table shelf (id int primary key);
             create table book (id int primary key, shelf int not null references shelf);
             select syncjournal.track_all('{public.shelf,public.book}')",
        );
    }
    hq.exec("insert into shelf values (1), (2); insert into book values (10, 1), (20, 2)");
    branch.exec("insert into shelf values (2)");
    let sync = |more: &str| {
        // The shelves do not travel: a book's may be missing at the branch.
        let config = link(&hq, &branch, &format!("include = [\"public.book\"]\n{more}"));
        AgentCommand::new(&config).arg("sync").finish()
    };
    let first = sync("constraints = \"enforce\"");
    assert_eq!(first.code, Some(3), "{}", first.stderr);
    assert_eq!(state(&branch), "enforce 1 1 1");
    // A configuration that does not say it leaves it as it is.
    assert_eq!(sync("").code, Some(3));
    assert_eq!(state(&branch), "enforce 1 1 1");
    // What waits is tried again by the new rule.
    hq.exec("insert into book values (11, 1)");
    let last = sync("constraints = \"trust\"");
    branch.exec("select syncjournal.retry_quarantine()");
    assert_eq!(state(&branch), "trust 1 3 0", "{}", last.stderr);
}
