//! The journal, replayed by nobody's code but this.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use syncjournal_tests::Db;

/// An entry as `unfold_frame` shows it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub version: String,
    pub prev: Option<String>,
    pub op: String,
    pub row: String,
    pub old: Map<String, Value>,
    pub new: Map<String, Value>,
}

/// The columns that tracking adds, and a generated one that tests use.
const HIDDEN: &str = "'{sync_id,sync_version,made,kept}'";

/// The entries of a tracked table, in the order in which they are to be applied.
#[track_caller]
pub fn entries(db: &Db, table: &str) -> Vec<Entry> {
    let rows = db.rows(&format!(
        "select u.version, u.prev, u.op, coalesce(u.row_id::text, ''), u.old, u.new
         from syncjournal.journal_frame j
             join syncjournal.relation_layout l on l.layout_id = j.layout
             join syncjournal.tracked_relation t using (relation_id)
             cross join lateral syncjournal.unfold_frame(j.frame, j.layout, j.data) u
         where t.relid = '{table}'::regclass
         order by j.frame, u.version"
    ));
    let object = |text: Option<String>| match text {
        None => Map::new(),
        Some(text) => serde_json::from_str(&text).expect("unfold_frame gives objects"),
    };
    let entry = |row: Vec<Option<String>>| {
        let [version, prev, op, row, old, new] = row.try_into().expect("six columns");
        Entry {
            version: version.expect("every entry has a version"),
            prev,
            op: op.expect("every entry does something"),
            row: row.expect("never null"),
            old: object(old),
            new: object(new),
        }
    };
    rows.into_iter().map(entry).collect()
}

/// The operations alone, such as `"INSERT UPDATE"`.
#[track_caller]
pub fn ops(db: &Db, table: &str) -> String {
    let ops: Vec<_> = entries(db, table).into_iter().map(|entry| entry.op).collect();
    ops.join(" ")
}

/// Rows by identity, each with the version it stands at.
type Rows = BTreeMap<String, (String, Map<String, Value>)>;

/// The deletes of rows that have not come back.
type Stones = BTreeMap<String, String>;

/// Applies the journal to an empty table, and compares what comes out with the table: content and
/// versions, and on the way that every entry found the row as it says.
#[track_caller]
pub fn assert_replays(db: &Db, table: &str) {
    let (mut rows, mut stones) = (Rows::new(), Stones::new());
    for entry in entries(db, table) {
        apply(&mut rows, &mut stones, entry);
    }
    let identity = db.text(&format!(
        "select identity_column from syncjournal.tracked_relation where relid = '{table}'::regclass"
    ));
    let only = if db.query_one::<bool>(&format!(
        "select relkind = 'p' from pg_class where oid = '{table}'::regclass"
    )) {
        ""
    } else {
        "only"
    };
    let found = db.rows(&format!(
        "select {identity}, sync_version, to_jsonb(r) - {HIDDEN}::text[] from {only} {table} r"
    ));
    let found: Rows = found
        .into_iter()
        .map(|row| {
            let [identity, version, content] = row.try_into().expect("three columns");
            let content = content.expect("a row is an object");
            let content = serde_json::from_str(&content).expect("to_jsonb gives objects");
            let version = version.unwrap_or_default();
            (identity.expect("every row has an identity"), (version, content))
        })
        .collect();
    assert_eq!(rows, found, "left: the journal, right: table {table}");
}

#[track_caller]
fn apply(rows: &mut Rows, stones: &mut Stones, entry: Entry) {
    let Entry { version, prev, op, row, old, new } = entry.clone();
    if op == "TRUNCATE" {
        rows.clear();
        return;
    }
    let before = rows.remove(&row);
    let stone = stones.remove(&row);
    let stands_at = before.as_ref().map(|(at, _)| at).or(stone.as_ref());
    assert_eq!(stands_at, prev.as_ref(), "parent of {entry:#?}");
    assert!(prev.is_none_or(|prev| prev < version), "order of {entry:#?}");
    let content = match (op.as_str(), before) {
        ("INSERT", _) => new,
        ("UPDATE", Some((_, mut content))) => {
            for (column, value) in old {
                assert_eq!(content.get(&column), Some(&value), "old value in {entry:#?}");
            }
            content.extend(new);
            content
        }
        ("DELETE", Some((_, content))) => {
            assert_eq!(content, old, "old row in {entry:#?}");
            stones.insert(row, version);
            return;
        }
        (_, before) => panic!("cannot apply {entry:#?} to {before:#?}"),
    };
    rows.insert(row, (version, content));
}
