//! Tables with identities and no journal.

use syncjournal_tests::{Db, introduce, pair, shared};

use super::{assert_equal, assert_settled, meet};

const TABLES: &str = "
    create table genre (id serial primary key, name text unique, note text);
    create table disc (
        id serial primary key, genre_id int not null references genre,
        second_id int references genre, title text)";

/// The same look-up table under other numbers, and discs that refer to it.
fn shops() -> (Db, Db) {
    let (a, b) = pair();
    introduce(&[(&a, "a"), (&b, "b")]);
    for (db, genres) in [(&a, "('rock'), ('jazz'), ('folk')"), (&b, "('folk'), ('rock'), ('jazz')")]
    {
        db.exec(TABLES);
        db.exec(&format!("insert into genre (name) values {genres}"));
        db.exec("select syncjournal.track_identity('genre', natural_key => '{name}')");
        db.exec("select syncjournal.track('disc', keys => 'local')");
    }
    (a, b)
}

fn discs(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', title, g.name, s.name)
         from disc join genre g on g.id = genre_id left join genre s on s.id = second_id order by 1",
    )
}

#[test]
fn children_of_a_look_up_table_find_their_own_row() {
    let (a, b) = shops();
    a.exec("insert into disc (genre_id, second_id, title) values (1, 2, 'a1'), (3, null, 'a2')");
    b.exec("insert into disc (genre_id, second_id, title) values (1, 3, 'b1')");
    meet(&a, &b);
    assert_settled(&[&a, &b]);
    assert_equal(&a, &b, &["disc"]);
    assert_eq!(discs(&a), ["a1 rock jazz", "a2 folk", "b1 folk jazz"]);
    assert_eq!(discs(&b), discs(&a));
    // What is in the table itself does not travel.
    a.exec("update genre set note = 'loud' where name = 'rock'");
    meet(&a, &b);
    assert_eq!(b.text("select count(note) from genre"), "0");
    let of_genre = "select count(*) from syncjournal.change where relation::text like '%genre'";
    assert_eq!(a.text(of_genre), "0");
    let seen = "select natural_key::text from syncjournal.identity_table where relation = 'genre'::regclass";
    assert_eq!(a.text(seen), "{name}");
}

#[test]
fn a_look_up_row_that_is_made_on_both_sides_is_one_and_one_that_is_missing_is_waited_for() {
    let (a, b) = shops();
    b.exec("insert into genre (id, name) values (70, 'ska')");
    a.exec("insert into genre (name) values ('ska'), ('polka')");
    a.exec(
        "insert into disc (genre_id, second_id, title) values
            (4, 5, 'half'), (5, null, 'none'), (4, 4, 'whole')",
    );
    meet(&a, &b);
    assert_eq!(discs(&b), ["half ska", "whole ska ska"]);
    let waiting = "select relation || ' ' || column_name || ' ' || referenced from syncjournal.waiting_reference";
    assert_eq!(b.text(waiting), "disc second_id genre");
    assert_eq!(b.text("select sqlstate from syncjournal.quarantine"), "23503");
    b.exec("insert into genre (name) values ('polka')");
    b.exec("select syncjournal.retry_quarantine()");
    assert_settled(&[&a, &b]);
    assert_eq!(discs(&b), ["half ska polka", "none polka", "whole ska ska"]);
    assert_equal(&a, &b, &["disc"]);
}

#[test]
fn an_identity_stays_and_is_taken_away_in_order() {
    let (a, b) = shops();
    let changed = a.expect_error("update genre set sync_id = gen_random_uuid() where id = 1");
    assert_eq!(changed.sqlstate, "23000");
    let before = a.text("select sync_id from genre where name = 'rock'");
    a.exec("update genre set name = 'Rock' where name = 'rock'");
    assert_eq!(a.text("select sync_id from genre where name = 'Rock'"), before);
    let twice = a.expect_error("select syncjournal.track_identity('genre')");
    assert_eq!(twice.sqlstate, "42710");
    let used = a.expect_error("select syncjournal.untrack_identity('genre')");
    assert!(used.message.contains("\"public.disc\""), "{}", used.message);
    for ddl in [
        "alter table genre drop column name",
        "alter table genre rename name to label",
        "alter table genre drop column sync_id",
    ] {
        assert_eq!(a.expect_error(ddl).sqlstate, "2BP01", "{ddl}");
    }
    // To track all others leaves it as it is.
    let others: i64 = a.query_one("select count(*) from syncjournal.track_all(keys => 'local')");
    assert_eq!(others, 0);
    // It may grow to a tracked table, on both sides.
    for db in [&a, &b] {
        db.exec("select syncjournal.track('genre', keys => 'local', natural_key => '{name}')");
    }
    b.exec("insert into genre (name) values ('ska')");
    b.exec("insert into disc (genre_id, title) select id, 'new' from genre where name = 'ska'");
    meet(&a, &b);
    assert_eq!(discs(&a), ["new ska"]);
    assert_eq!(a.text("select count(*) from syncjournal.identity_table"), "0");
}

#[test]
fn keys_that_make_no_identity() {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('here')");
    db.exec(
        "create table no_key (n int); create type mood as enum ('good', 'bad');
         create table moods (m mood primary key); create table plain (id serial primary key, n int);
         create table with_uuid (id serial primary key, u uuid not null unique)",
    );
    let refused = db.expect_error("select syncjournal.track_identity('no_key')");
    assert!(refused.hint.contains("natural_key"), "{}", refused.hint);
    let refused = db.expect_error("select syncjournal.track_identity('moods')");
    assert!(refused.message.contains("\"m\""), "{}", refused.message);
    let refused = db.expect_error("select syncjournal.track_identity('plain', '{n}')");
    assert_eq!(refused.sqlstate, "55000");
    db.exec("select syncjournal.track_identity('plain'), syncjournal.track_identity('with_uuid')");
    db.exec("insert into plain (n) values (1); drop table with_uuid");
    assert_eq!(db.text("select sync_id is not null from plain"), "t");
    db.exec("select syncjournal.untrack_identity('plain', drop_columns => true)");
    let columns = "select string_agg(attname, ' ' order by attnum) from pg_attribute
        where attrelid = 'plain'::regclass and attnum > 0 and not attisdropped";
    assert_eq!(db.text(columns), "id n");
    assert_eq!(db.text("select count(*) from syncjournal.identity_table"), "0");
}
