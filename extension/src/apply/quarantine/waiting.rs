//! Which of the entries in quarantine are tried again, and when.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;

use syncjournal_core::{RowId, Version};

use crate::error::not_installed;
use crate::journal;
use crate::pg::catalog;
use crate::pg::query::{self, Arg, Row, View};
use crate::pg::table::Table;

/// Of more entries than these the rows are not watched: time brings them up.
const MOST_WATCHED: i64 = 1000;

/// Of more rows than these that references wait for, time brings the others up.
const MOST_PARENTS: i64 = 10_000;

/// The version that stands in for the frame id of a kept row.
pub const KEPT: Version = Version::from_bytes([0xff; 16]).with_index(0);

/// The rows that entries in quarantine are of, or wait for. A call that touches one of them brings
/// those entries up at its end.
#[derive(Debug, Default)]
pub struct Watch {
    rows: HashMap<RowId, Vec<i64>>,
    /// Whether anything is in quarantine.
    pub any: bool,
    pub found: HashSet<i64>,
    /// Rows that references wait for, and those of them that were touched.
    parents: HashSet<RowId>,
    pub arrived: HashSet<RowId>,
}

impl Watch {
    pub fn load() -> Self {
        let mut watch = Self { any: has_rows(c"quarantined_entry"), ..Self::default() };
        if has_rows(c"pending_reference") {
            watch.load_parents();
        }
        if !watch.any {
            return watch;
        }
        // What waits for the schema waits for no row.
        let sql = "with first as materialized (select quarantine_id, row_id, blocked_by \
                from syncjournal.quarantined_entry \
                where sqlstate not in ('42P01', '42703', '42804', '55000') \
                order by next_try limit $1) \
            select quarantine_id, row_id from first union all \
            select quarantine_id, pg_catalog.unnest(blocked_by) from first";
        query::run(View::Newest, sql, &[Arg::Int8(MOST_WATCHED)], |row| {
            if let (Some(id), Some(of)) = (row.int8(1), row.uuid(2)) {
                watch.rows.entry(RowId(of)).or_default().push(id);
            }
        });
        watch
    }

    fn load_parents(&mut self) {
        let sql = "select distinct parent from syncjournal.pending_reference limit $1";
        query::run(View::Newest, sql, &[Arg::Int8(MOST_PARENTS)], |row| {
            self.parents.extend(row.uuid(1).map(RowId));
        });
    }

    /// A row was touched.
    pub fn touch(&mut self, row: RowId) {
        if !self.parents.is_empty() && self.parents.contains(&row) {
            self.arrived.insert(row);
        }
        if self.rows.is_empty() {
            return;
        }
        if let Some(ids) = self.rows.get(&row) {
            self.found.extend(ids);
        }
    }
}

/// Whether one of our own tables has any row.
fn has_rows(table: &CStr) -> bool {
    let relid = catalog::own_relation(table);
    Table::read(relid.unwrap_or_else(|| not_installed().raise())).has_rows()
}

/// An entry in quarantine.
#[derive(Debug)]
pub struct Waiting {
    pub quarantine_id: i64,
    pub peer_id: i16,
    pub layout_id: i32,
    pub row: RowId,
    pub version: Version,
    /// Of the row of a full set: its frame.
    kept: Option<Vec<u8>>,
}

impl Waiting {
    fn read(row: &Row) -> Option<Self> {
        Some(Self {
            quarantine_id: row.int8(1)?,
            peer_id: row.int2(2)?,
            layout_id: row.int4(3)?,
            row: RowId(row.uuid(4)?),
            version: Version::from_bytes(row.uuid(5)?),
            kept: row.bytes(6, <[u8]>::to_vec),
        })
    }

    /// The frame that holds the entry, its id, and the entry's index in it. None: it was pruned.
    pub fn frame(&self) -> Option<(Version, Vec<u8>, u16)> {
        if let Some(bytes) = &self.kept {
            return Some((KEPT, bytes.clone(), 0));
        }
        let found = journal::frame_of(self.version)?;
        Some((found.id, found.data, self.version.index()))
    }
}

/// What a call may bring up.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Rows of these were touched.
    pub ids: &'a HashSet<i64>,
    /// Rows changed: a parent may have come, or the last child of one gone.
    pub keys: bool,
    pub most: i64,
}

/// The entries that are to be tried again now, with others of their rows, oldest first; locked, and
/// none that somebody else is at.
pub fn due(wanted: &Wanted<'_>) -> Vec<Waiting> {
    let ids: Vec<String> = wanted.ids.iter().map(ToString::to_string).collect();
    select(
        "with chosen as materialized (\
            select row_id from syncjournal.quarantined_entry \
            where quarantine_id = any ($1::int8[]) \
            union (select row_id from syncjournal.quarantined_entry \
                where next_try <= (select pg_catalog.clock_timestamp()) \
                order by next_try limit $3) \
            union (select row_id from syncjournal.quarantined_entry \
                where $2 and sqlstate = '23503' order by next_try limit $3 / 4)) \
        select quarantine_id, peer_id, layout_id, row_id, version, data \
        from syncjournal.quarantined_entry where row_id in (select row_id from chosen) \
        order by version, quarantine_id limit $3 for update skip locked",
        &[
            Arg::Text(&format!("{{{}}}", ids.join(","))),
            Arg::Bool(wanted.keys),
            Arg::Int8(wanted.most),
        ],
    )
}

/// The one of this number, or the next ones behind a version, oldest first.
pub fn asked_for(id: Option<i64>, behind: (Version, i64), most: i64) -> Vec<Waiting> {
    let (version, number) = behind;
    select(
        "select quarantine_id, peer_id, layout_id, row_id, version, data \
        from syncjournal.quarantined_entry \
        where case when $1 > 0 then quarantine_id = $1 \
            else (version, quarantine_id) > ($2, $3) end \
        order by version, quarantine_id limit $4 for update",
        &[
            Arg::Int8(id.unwrap_or(0)),
            Arg::Uuid(version.to_bytes()),
            Arg::Int8(number),
            Arg::Int8(most),
        ],
    )
}

fn select(sql: &'static str, args: &[Arg<'_>]) -> Vec<Waiting> {
    let mut found = Vec::new();
    query::run(View::Newest, sql, args, |row| found.extend(Waiting::read(row)));
    found
}

/// After a change of the schema everything is due.
pub fn wake() {
    query::execute(
        "with woken as (delete from syncjournal.quarantine_wakeup where ctid = any (array(\
                select ctid from syncjournal.quarantine_wakeup for update skip locked)) \
            returning 1) \
        update syncjournal.quarantined_entry set next_try = pg_catalog.clock_timestamp() \
        where exists (select from woken) and quarantine_id = any (array(\
            select quarantine_id from syncjournal.quarantined_entry \
            where next_try > pg_catalog.clock_timestamp() and exists (select from woken) \
            for update skip locked))",
        &[],
    );
}
