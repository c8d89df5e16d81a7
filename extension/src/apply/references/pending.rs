//! The table `pending_reference`: optional references whose row has not come.
//!
//! The column is null meanwhile; what the row stands for elsewhere is in this table, so digests and
//! full sets say the same as before. Filling it is no change that anyone made: no entry, no version.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

use syncjournal_core::RowId;

use crate::apply::entry::settled;
use crate::apply::foreign_keys::ForeignKeys;
use crate::apply::layer::Laid;
use crate::apply::outcome::Applied;
use crate::apply::target::{Target, until_settled};
use crate::error::not_installed;
use crate::layout::{self, Tracked};
use crate::pg::arena::Arena;
use crate::pg::catalog;
use crate::pg::postponed::Suspect;
use crate::pg::query::{self, Arg, View};
use crate::pg::role::ReplicaRole;
use crate::pg::table::{Found, Key, Table};
use crate::pg::trigger::ColumnAccess;

/// So many are filled at a time.
const BATCH: i64 = 1000;

/// A reference that waits for its row.
#[derive(Clone, Debug)]
pub struct Pending {
    pub relation_id: i32,
    pub row: RowId,
    pub carrier: String,
    pub parent: RowId,
}

fn each<B>(relation_id: i32, visit: impl FnMut(&Found) -> ControlFlow<B>) -> Option<B> {
    let table = catalog::own_relation(c"pending_reference");
    let table = Table::read(table.unwrap_or_else(|| not_installed().raise()));
    let index = table.index_on(&[1]).unwrap_or_else(|| not_installed().raise());
    table.equal(index, &[(1, Key::Int4(relation_id))], visit)
}

/// Whether references of the table wait.
pub fn any(relation_id: i32) -> bool {
    each(relation_id, |_| ControlFlow::Break(())).is_some()
}

/// What the references of a table stand for while they wait.
#[derive(Debug, Default)]
pub struct Stored(HashMap<RowId, Vec<(String, [u8; 16])>>);

impl Stored {
    pub fn of(tracked: &Tracked) -> Self {
        let mut stored = Self::default();
        if tracked.has_references {
            each(tracked.relation_id, |row| {
                let pending = (row.uuid(2), row.name(3), row.uuid(4));
                if let (Some(id), Some(carrier), Some(parent)) = pending {
                    stored.0.entry(RowId(id)).or_default().push((carrier, parent));
                }
                ControlFlow::<()>::Continue(())
            });
        }
        stored
    }

    /// Appends what the column of a row, which is null, stands for; false where that is null, too.
    pub fn append(&self, row: RowId, column: &ColumnAccess, out: &mut Vec<u8>) -> bool {
        let Some(reference) = column.reference.as_ref().filter(|_| !self.0.is_empty()) else {
            return false;
        };
        let mut waiting = self.0.get(&row).into_iter().flatten();
        let parent = waiting.find(|(carrier, _)| *carrier == reference.column);
        parent.map(|(_, parent)| out.extend_from_slice(parent)).is_some()
    }
}

/// The references of one row that wait.
pub fn of_row(relation_id: i32, row: RowId) -> Vec<(String, [u8; 16])> {
    let mut found = Vec::new();
    let sql = "select carrier::text, parent from syncjournal.pending_reference \
        where relation_id = $1 and row_id = $2";
    query::run(View::Newest, sql, &[Arg::Int4(relation_id), Arg::Uuid(row.0)], |waiting| {
        found.extend(waiting.text(1).zip(waiting.uuid(2)));
    });
    found
}

/// The reference was set to something else, or has been filled.
pub fn settle(relation_id: i32, row: RowId, carrier: &str) {
    query::execute(
        "delete from syncjournal.pending_reference \
        where relation_id = $1 and row_id = $2 and carrier = $3",
        &[Arg::Int4(relation_id), Arg::Uuid(row.0), Arg::Text(carrier)],
    );
}

fn keep(pending: &Pending) {
    query::execute(
        "insert into syncjournal.pending_reference as p (relation_id, row_id, carrier, parent) \
        values ($1, $2, $3, $4) on conflict (relation_id, row_id, carrier) \
        do update set parent = excluded.parent where p.parent <> excluded.parent",
        &[
            Arg::Int4(pending.relation_id),
            Arg::Uuid(pending.row.0),
            Arg::Text(&pending.carrier),
            Arg::Uuid(pending.parent.0),
        ],
    );
}

/// Fills what waits for rows that have arrived, and what came in this call; keeps the rest.
pub fn fill(keys: Option<&Rc<ForeignKeys>>, new: Vec<Pending>, arrived: &HashSet<RowId>) -> Laid {
    let mut laid = Laid::default();
    if new.is_empty() && arrived.is_empty() {
        return laid;
    }
    let mut waiting = new;
    for row in arrived {
        let sql = "select relation_id, row_id, carrier::text from syncjournal.pending_reference \
            where parent = $1";
        query::run(View::Newest, sql, &[Arg::Uuid(row.0)], |found| {
            waiting.extend(read(found, *row));
        });
    }
    fill_these(keys, waiting, &mut laid);
    laid
}

/// Fills whatever can be filled by now, as long as there is time; gives the number.
pub fn fill_all(until: Instant) -> i64 {
    let (mut filled, mut laid) = (0, Laid::default());
    let mut behind = (RowId::NIL, String::new());
    loop {
        let mut waiting = Vec::new();
        let sql = "select relation_id, row_id, carrier::text, parent \
            from syncjournal.pending_reference where (row_id, carrier) > ($1, $2::name) \
            order by row_id, carrier limit $3";
        let place = [Arg::Uuid(behind.0.0), Arg::Text(&behind.1), Arg::Int8(BATCH)];
        query::run(View::Newest, sql, &place, |found| {
            if let Some(parent) = found.uuid(4) {
                waiting.extend(read(found, RowId(parent)));
            }
        });
        let Some(last) = waiting.last().filter(|_| Instant::now() < until) else {
            Suspect::check(&laid.suspects);
            return filled;
        };
        behind = (last.row, last.carrier.clone());
        filled += fill_these(None, waiting, &mut laid);
    }
}

fn read(row: &query::Row, parent: RowId) -> Option<Pending> {
    let (relation_id, of, carrier) = (row.int4(1)?, row.uuid(2)?, row.text(3)?);
    Some(Pending { relation_id, row: RowId(of), carrier, parent })
}

fn fill_these(keys: Option<&Rc<ForeignKeys>>, waiting: Vec<Pending>, laid: &mut Laid) -> i64 {
    let mut by_relation: HashMap<i32, Vec<Pending>> = HashMap::new();
    for pending in waiting {
        by_relation.entry(pending.relation_id).or_default().push(pending);
    }
    let mut filled = 0;
    for (relation_id, waiting) in by_relation {
        let Some(tracked) = layout::table_of(relation_id).and_then(layout::tracked) else {
            continue;
        };
        let mut target = Target::enforcing(&tracked, keys);
        let _replica = target.has_triggers().then(ReplicaRole::enter);
        let arena = Arena::new();
        for pending in &waiting {
            let is_over = arena.run(|| fill_one(&mut target, pending));
            match is_over {
                true => settle(relation_id, pending.row, &pending.carrier),
                false => keep(pending),
            }
            filled += i64::from(is_over);
        }
        laid.touched.add(target.touched());
        laid.suspects.extend(target.close());
    }
    filled
}

/// Whether the reference waits no longer.
fn fill_one(target: &mut Target, pending: &Pending) -> bool {
    let Some(column) = target.layout().position(&pending.carrier) else { return true };
    let value = [(column, Some(&pending.parent.0[..]))];
    until_settled(|| {
        target.forget_parents();
        let Some(version) = target.find(pending.row) else { return Some(true) };
        // Somebody has let it point elsewhere since.
        if target.refers(column) {
            return Some(true);
        }
        if target.lacks_parents(pending.row, value.iter().copied()) {
            return Some(false);
        }
        let written = target.update(pending.row, version, value.iter().copied());
        settled(written, Applied::Updated).map(|_| true)
    })
}
