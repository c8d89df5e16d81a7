//! The Chinook demonstration: two branches sell offline under the same numbers.

use syncjournal_tests::{Agent, Db, carry, chinook, introduce, triple, wait_until};

use super::{assert_equal, assert_settled};

const TABLES: [&str; 11] = [
    "artist",
    "album",
    "employee",
    "customer",
    "genre",
    "invoice",
    "invoice_line",
    "media_type",
    "playlist",
    "playlist_track",
    "track",
];

/// Head office with all of Chinook, and two branches that have it from there.
fn offices() -> Option<[Db; 3]> {
    let Some(file) = chinook() else {
        eprintln!(
            "skipped: chinook.sql is not beside the repository (or name it in SYNCJOURNAL_CHINOOK)"
        );
        return None;
    };
    let script = std::fs::read_to_string(file).expect("the file can be read");
    let first_row = script.find("\nINSERT").expect("the script has rows");
    let (hq, north, south) = triple();
    let loaded = hq.psql(&script);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    for branch in [&north, &south] {
        branch.exec(&script[..first_row]);
    }
    introduce(&[(&hq, "hq"), (&north, "north"), (&south, "south")]);
    for db in [&hq, &north, &south] {
        // The script gives its numbers by hand: the sequences have not moved.
        db.exec(
            "select setval(pg_get_serial_sequence('invoice', 'invoice_id'), 412),
            setval(pg_get_serial_sequence('invoice_line', 'invoice_line_id'), 2240),
            setval(pg_get_serial_sequence('customer', 'customer_id'), 59)",
        );
        db.exec("select syncjournal.track_all(keys => 'local')");
    }
    Some([hq, north, south])
}

/// A day at a branch: customers, and invoices whose lines say what they belong to.
fn sell(db: &Db, who: &str, invoices: usize) {
    db.exec(&format!(
        "insert into customer (first_name, last_name, email, support_rep_id)
         select '{who}', 'customer ' || n, '{who}' || n || '@example.org',
            (select employee_id from employee where title = 'Sales Support Agent' order by last_name limit 1)
         from generate_series(1, 20) n"
    ));
    db.exec(&format!(
        "do $$ declare sold int; begin
            for n in 1..{invoices} loop
                insert into invoice (customer_id, invoice_date, billing_city, billing_address, total)
                select customer_id, '2026-02-03', '{who}', '{who} ' || n, 1 + n % 4
                from customer where email = '{who}' || 1 + n % 20 || '@example.org' returning invoice_id into sold;
                insert into invoice_line (invoice_id, track_id, unit_price, quantity)
                select sold, track_id, n, 1 from track where name < 'M' order by name, milliseconds
                offset n limit 1 + n % 4;
            end loop;
         end $$"
    ));
}

/// Every invoice with its customer and its lines, by what they say instead of by number.
fn books(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' | ', billing_address, c.email, total, (
                select string_agg(concat_ws(' ', t.name, a.title, l.unit_price), ', '
                    order by t.name, t.milliseconds, l.unit_price)
                from invoice_line l join track t using (track_id) join album a using (album_id)
                where l.invoice_id = i.invoice_id))
         from invoice i join customer c using (customer_id) order by 1",
    )
}

/// Lines that hang on another invoice than theirs: each says its number by its price.
fn astray(db: &Db) -> i64 {
    db.query_one(
        "select count(*) from invoice_line l left join invoice i using (invoice_id)
            left join track t using (track_id)
         where i.billing_address is null or t.name is null
            or i.billing_city in ('north', 'south')
                and i.billing_address <> i.billing_city || ' ' || l.unit_price::int",
    )
}

#[track_caller]
fn assert_merged(all: &[&Db], invoices: usize) {
    assert_settled(all);
    for db in all {
        assert_equal(all[0], db, &TABLES);
        assert_eq!(astray(db), 0);
        let sold: i64 =
            db.query_one("select count(*) from invoice where billing_city in ('north', 'south')");
        assert_eq!(usize::try_from(sold), Ok(2 * invoices));
        assert_eq!(books(db), books(all[0]));
    }
}

#[test]
fn two_branches_sell_offline_and_every_line_hangs_on_its_own_invoice() {
    let Some([hq, north, south]) = offices() else { return };
    for branch in [&north, &south] {
        let full = carry(&hq, branch, "full");
        assert_eq!((full.inserted, full.quarantined), (full.entries, 0));
        assert_equal(&hq, branch, &TABLES);
    }
    sell(&north, "north", 400);
    sell(&south, "south", 400);
    let numbers = "select string_agg(invoice_id::text, ' ' order by invoice_id) from invoice
        where billing_city in ('north', 'south')";
    assert_eq!(north.text(numbers), south.text(numbers), "both gave out the same numbers");
    // Each with the other, without head office.
    carry(&north, &south, "changes");
    carry(&south, &north, "changes");
    assert_merged(&[&north, &south], 400);
    carry(&south, &hq, "changes");
    carry(&north, &hq, "changes");
    assert_merged(&[&hq, &north, &south], 400);
}

#[test]
fn branches_on_live_links_with_head_office() {
    let Some([hq, north, south]) = offices() else { return };
    sell_after_first_copy(&hq, &north, &south);
}

fn sell_after_first_copy(hq: &Db, north: &Db, south: &Db) {
    let link = |name: &str| {
        format!(
            "[[link]]\nname = \"{name}\"\nsource = \"hq\"\ndestination = \"{name}\"\n\
             direction = \"both\"\nmode = \"live\"\ninclude = [\"public.*\"]\n"
        )
    };
    let agent = Agent::run(&format!(
        "[node.hq]\ndsn = \"{}\"\n[node.north]\ndsn = \"{}\"\n[node.south]\ndsn = \"{}\"\n{}{}",
        hq.dsn(),
        north.dsn(),
        south.dsn(),
        link("north"),
        link("south"),
    ));
    let count = |db: &Db| db.text("select count(*) from invoice_line");
    wait_until("the first copy has arrived", || {
        [north, south].iter().all(|db| count(db) == "2240")
    });
    sell(north, "north", 150);
    sell(south, "south", 150);
    let all = [hq, north, south];
    wait_until("all have sold the same", || {
        all.iter().all(|db| {
            books(db) == books(hq) && {
                let sold: i64 = db.query_one(
                    "select count(*) from invoice where billing_city in ('north', 'south')",
                );
                sold == 300
            }
        })
    });
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_merged(&all, 150);
}
