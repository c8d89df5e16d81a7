//! Sync sets from database to database, as somebody with psql and a stick would carry them.

use crate::database::Db;

/// What `apply` reported, added up over the parts of a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries in the set.
    pub entries: i64,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows deleted.
    pub deleted: i64,
    /// Entries that the target had already.
    pub skipped: i64,
    /// Rows that both sides had changed.
    pub conflicts: i64,
    /// Entries that were set aside.
    pub quarantined: i64,
}

/// Names the databases as nodes, and introduces each to all others.
pub fn introduce(nodes: &[(&Db, &str)]) {
    for (db, name) in nodes {
        db.exec(&format!("select syncjournal.create_node('{name}')"));
        for (_, other) in nodes.iter().filter(|(_, other)| other != name) {
            db.exec(&format!("select syncjournal.add_peer('{other}')"));
        }
    }
}

/// The parts of a set that `from` makes for `to`; `mode` is `full` or `changes`.
#[track_caller]
pub fn prepare_set(from: &Db, to: &Db, mode: &str) -> Vec<Vec<u8>> {
    let peer = node_name(to);
    let parts = format!("syncjournal.prep_sync('{peer}', mode => '{mode}')");
    from.column(&format!("select data from {parts} order by part"))
}

/// Applies the parts of a set in one transaction.
#[track_caller]
pub fn apply_set(to: &Db, parts: &[Vec<u8>]) -> Applied {
    let mut total = Applied::default();
    to.exec("begin");
    for part in parts {
        let columns = "entries, inserted, updated, deleted, skipped, conflicts, quarantined";
        let query = format!("select array[{columns}] from syncjournal.apply($1)");
        let counts: Vec<i64> = to.query_one_with(&query, &[part]);
        let [entries, inserted, updated, deleted, skipped, conflicts, quarantined] =
            <[i64; 7]>::try_from(counts).expect("seven columns");
        total.entries += entries;
        total.inserted += inserted;
        total.updated += updated;
        total.deleted += deleted;
        total.skipped += skipped;
        total.conflicts += conflicts;
        total.quarantined += quarantined;
    }
    to.exec("commit");
    total
}

/// Tells the source that its peer has a set.
#[track_caller]
pub fn confirm_set(from: &Db, parts: &[Vec<u8>]) {
    let id = "select (syncjournal.describe_set($1) ->> 'set_id')::uuid";
    let set: uuid::Uuid = from.query_one_with(id, &[&parts[0]]);
    from.exec(&format!("select syncjournal.confirm_sync('{set}')"));
}

/// Makes a set, applies it, and confirms it at the source.
#[track_caller]
pub fn carry(from: &Db, to: &Db, mode: &str) -> Applied {
    let parts = prepare_set(from, to, mode);
    let applied = apply_set(to, &parts);
    if !parts.is_empty() {
        confirm_set(from, &parts);
    }
    applied
}

#[track_caller]
fn node_name(db: &Db) -> String {
    db.text("select name from syncjournal.node where is_local")
}
