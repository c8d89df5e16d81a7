//! What is said of a peer: `constraints` and `stop_on`.

use syncjournal_tests::{Db, shared};

const OTHER: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";

fn node() -> Db {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq')");
    db
}

fn rules(db: &Db, peer: &str) -> String {
    let columns = "constraints || ' ' || stop_on::text";
    db.text(&format!("select {columns} from syncjournal.peer where name = '{peer}'"))
}

#[test]
fn constraints_and_stop_on_are_set_and_changed() {
    let db = node();
    db.exec("select syncjournal.add_peer('x')");
    assert_eq!(rules(&db, "x"), "trust {}");
    db.exec("select syncjournal.add_peer('y', constraints => 'enforce', stop_on => '{23,42P01}')");
    assert_eq!(rules(&db, "y"), "enforce {23,42P01}");
    db.exec("select syncjournal.alter_peer('y', active => true)");
    assert_eq!(rules(&db, "y"), "enforce {23,42P01}", "what is not named stays");
    db.exec("select syncjournal.alter_peer('y', constraints => 'trust', stop_on => '{}')");
    assert_eq!(rules(&db, "y"), "trust {}");
}

#[test]
fn what_is_no_sqlstate_is_refused() {
    let db = node();
    db.exec("select syncjournal.add_peer('x')");
    for wrong in [
        "constraints => 'ignore'",
        "stop_on => '{2350}'",
        "stop_on => '{unique_violation}'",
        "stop_on => '{23505,null}'",
        "stop_on => '{\"\"}'",
    ] {
        for call in ["add_peer('y'", "alter_peer('x'"] {
            let error = db.expect_error(&format!("select syncjournal.{call}, {wrong})"));
            assert_eq!(error.sqlstate, "22023", "{call} {wrong}: {error:#?}");
            assert_ne!(error.hint, "");
        }
    }
    assert_eq!(rules(&db, "x"), "trust {}");
}

#[test]
fn a_link_says_it_where_its_configuration_does() {
    let db = node();
    let link = format!("select syncjournal.register_link('x', '{OTHER}', 'both'");
    db.exec(&format!("{link}, 'enforce', '{{23505}}')"));
    assert_eq!(rules(&db, "x"), "enforce {23505}");
    db.exec(&format!("{link})"));
    assert_eq!(rules(&db, "x"), "enforce {23505}", "null leaves it as it is");
    db.exec(&format!("{link}, constraints => 'trust')"));
    assert_eq!(rules(&db, "x"), "trust {23505}");
    let error = db.expect_error(&format!("{link}, stop_on => '{{2}}')"));
    assert_eq!(error.sqlstate, "22023");
}
