//! The Chinook sample database, copied in full and kept equal through a day of work.

use syncjournal_tests::{
    Agent, Db, apply_set, assert_same_rows, carry, chinook, introduce, pair, prepare_set,
    table_rows, wait_until,
};

const TABLES: [&str; 11] = [
    "album",
    "artist",
    "customer",
    "employee",
    "genre",
    "invoice",
    "invoice_line",
    "media_type",
    "playlist",
    "playlist_track",
    "track",
];

/// One transaction each, in the order of a day.
const DAY: [&str; 9] = [
    // Somebody buys, and changes their mind about one of the articles.
    "insert into invoice (customer_id, invoice_date, billing_country, total)
        values (7, '2026-02-03 10:11', 'Austria', 2.97);
     insert into invoice_line (invoice_id, track_id, unit_price, quantity)
        select currval('invoice_invoice_id_seq'), n, 0.99, 1 from generate_series(1, 4) n;
     delete from invoice_line
        where invoice_id = currval('invoice_invoice_id_seq') and track_id = 4",
    // Prices go up; half of it twice in one transaction.
    "update track set unit_price = unit_price + 0.10 where genre_id in (1, 2, 3);
     update track set unit_price = unit_price + 0.05 where genre_id = 1",
    // A change that is taken back, in part and in whole.
    "savepoint a; delete from playlist_track where playlist_id = 1; rollback to a;
     update employee set title = 'Chief ' || title where reports_to is null",
    // Moves of house, an upsert, a value that becomes null.
    "update customer set city = 'Bergen', country = 'Norway', state = null where customer_id <= 5;
     insert into genre (genre_id, name) values (1, 'Rock and Roll'), (900, 'Journal Jazz')
        on conflict (genre_id) do update set name = excluded.name",
    // The key itself changes, and what refers to it with it.
    "insert into media_type (media_type_id, name) values (77, 'Cylinder');
     update track set media_type_id = 77 where media_type_id = 5;
     delete from media_type where media_type_id = 5;
     update genre set genre_id = 901 where genre_id = 900",
    // All playlists are emptied, and some are filled anew.
    "truncate playlist_track;
     insert into playlist_track select 1, track_id from track where track_id % 3 = 0",
    // The label sends its whole catalogue: one big transaction.
    "insert into artist (artist_id, name) select 10000 + n, 'Artist ' || n from generate_series(1, 2000) n;
     insert into album (album_id, title, artist_id)
        select 10000 + n, 'Album ' || n, 10000 + 1 + n % 2000 from generate_series(1, 5000) n;
     insert into track (track_id, name, album_id, media_type_id, genre_id, milliseconds, unit_price)
        select 100000 + n, repeat('la ', n % 60) || n, 10000 + 1 + n % 5000, 1, 1, n, 0.99
        from generate_series(1, 20000) n",
    // A delete from the middle of it.
    "delete from track where track_id between 110000 and 114999",
    "update invoice set total = (select coalesce(sum(unit_price * quantity), 0) + 0.01
        from invoice_line l where l.invoice_id = invoice.invoice_id)",
];

/// Head office with all of Chinook, a branch with its empty tables; both tracked.
fn offices() -> Option<(Db, Db)> {
    let Some(file) = chinook() else {
        eprintln!(
            "skipped: chinook.sql is not beside the repository (or name it in SYNCJOURNAL_CHINOOK)"
        );
        return None;
    };
    let script = std::fs::read_to_string(file).expect("the file can be read");
    let first_row = script.find("\nINSERT").expect("the script has rows");
    let (hq, branch) = pair();
    let loaded = hq.psql(&script);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    branch.exec(&script[..first_row]);
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        let tracked: i64 = db.query_one("select count(*) from syncjournal.track_all()");
        assert_eq!(usize::try_from(tracked), Ok(TABLES.len()));
    }
    Some((hq, branch))
}

fn assert_equal(hq: &Db, branch: &Db) {
    for table in TABLES {
        assert_same_rows(hq, branch, table);
    }
}

#[test]
fn chinook_stays_equal_through_a_day_of_sets_by_file() {
    let Some((hq, branch)) = offices() else { return };
    let full = carry(&hq, &branch, "full");
    assert_eq!(full.inserted, full.entries);
    assert_equal(&hq, &branch);
    for work in DAY {
        hq.exec(&format!("begin; {work}; commit"));
        let applied = carry(&hq, &branch, "changes");
        assert!(applied.entries > 0, "nothing travelled of: {work}");
        assert_eq!(applied.conflicts, 0, "{work}");
        assert_equal(&hq, &branch);
    }
    let conflicts: i64 = branch.query_one("select count(*) from syncjournal.conflict");
    assert_eq!(conflicts, 0);
}

#[test]
fn chinook_stays_equal_when_a_whole_day_travels_at_once_and_twice() {
    let Some((hq, branch)) = offices() else { return };
    carry(&hq, &branch, "full");
    for work in DAY {
        hq.exec(&format!("begin; {work}; commit"));
    }
    let parts = prepare_set(&hq, &branch, "changes");
    let first = apply_set(&branch, &parts);
    assert_equal(&hq, &branch);
    let again = apply_set(&branch, &parts);
    assert_eq!((again.inserted, again.updated, again.deleted), (0, 0, 0), "{again:?}");
    assert_eq!(again.skipped, first.entries);
    assert_equal(&hq, &branch);
}

#[test]
fn chinook_stays_equal_over_a_live_link() {
    let Some((hq, branch)) = offices() else { return };
    let agent = Agent::run(&format!(
        "[node.hq]\ndsn = \"{}\"\n[node.branch]\ndsn = \"{}\"\n[[link]]\nname = \"hq-branch\"\n\
         source = \"hq\"\ndestination = \"branch\"\nmode = \"live\"\ninclude = [\"public.*\"]\n",
        hq.dsn(),
        branch.dsn()
    ));
    let same = || TABLES.iter().all(|table| table_rows(&hq, table) == table_rows(&branch, table));
    wait_until("the first copy has arrived", same);
    for work in DAY {
        hq.exec(&format!("begin; {work}; commit"));
    }
    wait_until("the day has arrived", same);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_equal(&hq, &branch);
}
