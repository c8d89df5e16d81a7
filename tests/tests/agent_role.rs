//! The role `syncjournal_agent` is enough to carry sets, and gives nothing more.

use syncjournal_tests::{Db, Session, assert_same_rows, pair};

const SHOP: &str = "
    create role {role}_app; grant create on schema public to {role}_app;
    create role {role} login in role syncjournal_agent;
    set role {role}_app;
    create table shop (id int primary key, label text, stock int check (stock >= 0));
    create table line (id uuid primary key, shop int references shop on delete cascade);
    create function seen() returns trigger language plpgsql as
        'begin raise exception ''no user trigger fires in apply''; end';
    reset role; select syncjournal.create_node('{node}'); select syncjournal.track_all();
";

/// A node with two tables of an application's role, and an agent's session in it.
fn branch(db: &Db, node: &str) -> Session {
    let role = format!("agent_role_{node}");
    db.exec(&SHOP.replace("{role}", &role).replace("{node}", node));
    db.session_as(&role)
}

/// Carries a set from one session to another, and confirms it.
fn carry(from: &mut Session, to: &mut Session, peer: &str, mode: &str) -> i64 {
    let parts = from
        .client()
        .query("select set_id, data from syncjournal.prep_sync($1, $2)", &[&peer, &mode])
        .expect("an agent may make sets");
    let mut entries = 0;
    for part in &parts {
        let data: Vec<u8> = part.get(1);
        let row = to
            .client()
            .query_one("select entries from syncjournal.apply($1)", &[&data])
            .expect("an agent may apply sets");
        entries += row.get::<_, i64>(0);
        let described =
            to.client().query_one("select syncjournal.describe_set($1)::text", &[&data]);
        assert!(described.is_ok());
    }
    if let Some(part) = parts.first() {
        let set: uuid::Uuid = part.get(0);
        from.client()
            .execute("select syncjournal.confirm_sync($1)", &[&set])
            .expect("an agent may confirm sets");
    }
    entries
}

#[test]
fn an_agent_carries_sets_without_any_right_on_the_tables() {
    let (left, right) = pair();
    let (mut hq, mut far) = (branch(&left, "hq"), branch(&right, "far"));
    for (session, other, name) in [(&mut hq, &right, "far"), (&mut far, &left, "hq")] {
        let node = other.text("select node_id from syncjournal.node where is_local");
        session.exec(&format!("select syncjournal.register_link('{name}', '{node}', 'both')"));
    }
    left.exec("insert into shop values (1, 'one', 5), (2, 'two', 0)");
    left.exec("insert into line select gen_random_uuid(), 1 from generate_series(1, 10)");
    right.exec("create trigger seen before insert on shop for each row execute function seen()");
    assert_eq!(carry(&mut hq, &mut far, "far", "full"), 12);
    left.exec("update shop set stock = 4 where id = 1; delete from line; truncate line");
    left.exec("insert into line values (gen_random_uuid(), 2)");
    carry(&mut hq, &mut far, "far", "changes");
    assert_same_rows(&left, &right, "shop");
    assert_same_rows(&left, &right, "line");

    for session in [&mut hq, &mut far] {
        for refused in ["select * from shop", "insert into line values (null)", "delete from shop"]
        {
            assert_eq!(session.expect_error(refused).sqlstate, "42501");
        }
        for view in ["peer", "stat_peer", "sync_set", "conflict", "health"] {
            session.exec(&format!("select * from syncjournal.{view}"));
        }
    }
    let states: Vec<String> = left.column("select state from syncjournal.stat_peer");
    assert_eq!(states, ["current"]);
    let applied: i64 = right.query_one("select entries_applied from syncjournal.stat_peer");
    let sent: i64 = left.query_one("select entries_sent from syncjournal.stat_peer");
    assert_eq!(applied, sent);
}
