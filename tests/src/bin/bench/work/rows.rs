//! Tables of our own, of some 120 bytes a row, and bulk work on them.

use syncjournal_tests::Db;

use crate::bench::Rows;

/// How a table names its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// An own uuid, which syncjournal takes as the row's identity.
    Uuid,
    /// A bigint: syncjournal adds `sync_id` and its index.
    Bigint,
}

impl Key {
    pub(crate) const BOTH: [Self; 2] = [Self::Uuid, Self::Bigint];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uuid => "own uuid key",
            Self::Bigint => "bigint key",
        }
    }

    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Uuid => "by_uuid",
            Self::Bigint => "by_bigint",
        }
    }

    fn of_sql(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Bigint => "bigint",
        }
    }

    /// The n-th key. Random-looking uuids, and the same at every call.
    fn value(self) -> &'static str {
        match self {
            Self::Uuid => "md5(i::text)::uuid",
            Self::Bigint => "i",
        }
    }
}

/// Makes an empty table.
pub(crate) fn create(db: &Db, table: &str, key: Key) {
    let key = key.of_sql();
    db.exec(&format!(
        "create table {table} (
             id {key} primary key, n int not null, word text not null, at timestamptz not null)"
    ));
}

/// The statement that adds the rows from `first` to `last`.
pub(crate) fn insert(table: &str, key: Key, first: usize, last: usize) -> String {
    let key = key.value();
    format!(
        "insert into {table} (id, n, word, at)
         select {key}, i, repeat(md5(i::text), 2), timestamptz '2026-01-01' + i * interval '1 s'
         from generate_series({first}::bigint, {last}) i"
    )
}

/// Makes a table, with rows where they are wanted.
pub(crate) fn fill(db: &Db, table: &str, key: Key, count: usize, rows: Rows) {
    create(db, table, key);
    if rows == Rows::All && count > 0 {
        db.exec(&insert(table, key, 1, count));
    }
}

/// Rows that were never there, at hand so that making them does not count: in a table that no system
/// follows, and in a file for COPY. `round` is from 0.
pub(crate) fn stage(db: &Db, key: Key, count: usize, round: usize) {
    let table = staged(key);
    db.exec(&format!(
        "drop table if exists {table};
         create unlogged table {table} (id {}, n int, word text, at timestamptz)",
        key.of_sql()
    ));
    db.exec(&insert(&table, key, round * count + 1, (round + 1) * count));
    db.exec(&format!("copy {table} to '{}' (format binary)", file(db, key)));
}

fn staged(key: Key) -> String {
    format!("staged_{}", key.table())
}

fn file(db: &Db, key: Key) -> String {
    db.cluster().socket().join(staged(key)).to_string_lossy().into_owned()
}

/// What a bulk measurement does to a table, in this order; it is emptied before COPY.
pub(crate) fn bulk(db: &Db, key: Key) -> Vec<(&'static str, String)> {
    let (table, staged, file) = (key.table(), staged(key), file(db, key));
    vec![
        ("insert", format!("insert into {table} (id, n, word, at) select * from {staged}")),
        ("update", format!("update {table} set n = n + 1")),
        ("copy", format!("copy {table} (id, n, word, at) from '{file}' (format binary)")),
        ("delete", format!("delete from {table}")),
    ]
}
