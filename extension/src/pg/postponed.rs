//! Unique and exclusion constraints that are checked at the end of a call: what one row gives up
//! another may take within it, whatever their order. The row engine notes who found his key taken;
//! most calls note nobody.
//!
//! Also those that are declared `deferrable`: a replica's session does not fire their triggers.

use pgrx::pg_sys::{self, Oid};
use std::ptr::null_mut;

use super::open_table::OpenTable;
use super::role::RunAs;
use super::row_json::slot_json;
use super::row_view::RowView;
use super::row_writer::{result_relation, slot_arrays};

/// A row that found another entry with its key in an index, unless a later change has cleared it
/// up.
#[derive(Clone, Copy, Debug)]
pub struct Suspect {
    table: Oid,
    index: Oid,
    address: pg_sys::ItemPointerData,
}

/// A row whose key is another's, too.
#[derive(Debug)]
pub struct Violator {
    pub row: [u8; 16],
    pub version: Option<[u8; 16]>,
    /// The row as JSON.
    pub json: String,
    /// Those in its way, each with its identity.
    pub others: Vec<([u8; 16], String)>,
}

impl Suspect {
    pub fn new(table: Oid, index: Oid, address: pg_sys::ItemPointerData) -> Self {
        Self { table, index, address }
    }

    /// Those of the row at `address`, given the indexes that the executor wants checked again.
    ///
    /// # Safety
    /// `indexes` must be null or a list of object ids.
    pub unsafe fn of(
        table: Oid,
        indexes: *const pg_sys::List,
        address: pg_sys::ItemPointerData,
    ) -> impl Iterator<Item = Self> {
        // SAFETY: the caller vouches for the list.
        let indexes = unsafe { super::open_table::oids_of(indexes) };
        indexes.into_iter().map(move |index| Self { table, index, address })
    }

    /// Checks them; a violation is the constraint's own error.
    pub fn check(suspects: &[Self]) {
        for of_table in suspects.chunk_by(|one, other| one.table == other.table) {
            let mut open = Checker::open(of_table[0].table);
            for suspect in of_table {
                pgrx::check_for_interrupts!();
                open.check(*suspect);
            }
            open.close();
        }
    }

    /// What is to be told of a row that failed its check: deletes it to see who is in its way, so
    /// to be called in a subtransaction that is rolled back. The numbers are those of the columns
    /// of identity and version.
    pub fn explain(self, (identity, version): (usize, usize)) -> Option<Violator> {
        let mut open = Checker::open(self.table);
        let violator = open.explain(self, (identity, version));
        open.close();
        violator
    }

    pub fn table(self) -> Oid {
        self.table
    }
}

/// A table opened to check rows of it. Code that the constraints bring runs as its owner.
struct Checker {
    table: OpenTable,
    estate: *mut pg_sys::EState,
    slot: *mut pg_sys::TupleTableSlot,
    _owner: RunAs,
}

impl Checker {
    fn open(table: Oid) -> Self {
        let table = OpenTable::for_writing(table);
        // SAFETY: made in the current context for the open relation, freed by `close`.
        unsafe {
            let estate = pg_sys::CreateExecutorState();
            let slot = pg_sys::table_slot_create(table.raw(), null_mut());
            let owner = RunAs::restricted(table.owner());
            Self { table, estate, slot, _owner: owner }
        }
    }

    fn close(self) {
        // SAFETY: opened by `open`, closed once.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::FreeExecutorState(self.estate);
        }
        self.table.close();
    }

    /// Brings the row as it is now into the slot, following its chain from the address by which
    /// the index knows it; gives its own address. None: it has gone, or moved on.
    fn fetch(&mut self, suspect: Suspect) -> Option<pg_sys::ItemPointerData> {
        let (mut at, mut again) = (suspect.address, false);
        // SAFETY: the slot is the table's; the fetch is ended here.
        unsafe {
            let snapshot = &raw mut pg_sys::SnapshotSelfData;
            let fetch = pg_sys::table_index_fetch_begin(self.table.raw());
            pg_sys::ExecClearTuple(self.slot);
            let lives = pg_sys::table_index_fetch_tuple(
                fetch,
                &mut at,
                snapshot,
                self.slot,
                &mut again,
                null_mut(),
            );
            pg_sys::table_index_fetch_end(fetch);
            lives.then_some(at)
        }
    }

    fn check(&mut self, suspect: Suspect) {
        let Some(mut at) = self.fetch(suspect) else { return };
        let mut address = suspect.address;
        let mut values = [pg_sys::Datum::from(0); pg_sys::INDEX_MAX_KEYS as usize];
        let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
        // SAFETY: as the server's own trigger for this does it; the index is closed again. An
        // index knows the row by the first address of its chain, the other check by the last.
        unsafe {
            let relation = self.table.raw();
            let index = pg_sys::index_open(suspect.index, pg_sys::RowExclusiveLock as i32);
            let info = pg_sys::BuildIndexInfo(index);
            let context = pg_sys::MakePerTupleExprContext(self.estate);
            (*context).ecxt_scantuple = self.slot;
            let (to, null) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::FormIndexDatum(info, self.slot, self.estate, to, null);
            if (*info).ii_ExclusionOps.is_null() {
                let existing = pg_sys::IndexUniqueCheck::UNIQUE_CHECK_EXISTING;
                pg_sys::index_insert(
                    index,
                    to,
                    null,
                    &mut address,
                    relation,
                    existing,
                    false,
                    info,
                );
            } else {
                let estate = self.estate;
                pg_sys::check_exclusion_constraint(
                    relation, index, info, &mut at, to, null, estate, false,
                );
            }
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            pg_sys::ExecClearTuple(self.slot);
            pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
        }
    }

    fn explain(
        &mut self,
        suspect: Suspect,
        (identity, version): (usize, usize),
    ) -> Option<Violator> {
        let mut at = self.fetch(suspect)?;
        let row = slot_view(self.slot);
        let violator = (row.uuid(identity)?, row.uuid(version), slot_json(&self.table, self.slot));
        // SAFETY: the row was found a moment ago; whoever changed it since is an ordinary error.
        // The slot's copy of it stays as it is.
        unsafe {
            pg_sys::ExecMaterializeSlot(self.slot);
            pg_sys::simple_heap_delete(self.table.raw(), &mut at);
            pg_sys::CommandCounterIncrement();
        }
        let mut others = Vec::new();
        self.in_the_way(|table, other| {
            let found = slot_view(other).uuid(identity);
            let is_new = |id: &[u8; 16]| others.iter().all(|(known, _)| known != id);
            if let Some(id) = found.filter(|id| *id != violator.0 && is_new(id)) {
                others.push((id, slot_json(table, other)));
            }
        });
        let (row, version, json) = violator;
        Some(Violator { row, version, json, others })
    }

    /// Calls `each` with one row for each constraint that the row in the slot would violate.
    fn in_the_way(&mut self, mut each: impl FnMut(&OpenTable, *mut pg_sys::TupleTableSlot)) {
        // SAFETY: a result relation of this table alone, closed before the state is freed. Only
        // constraints that are not deferrable can be asked so.
        unsafe {
            let relation = self.table.raw();
            let outer = pg_sys::MemoryContextSwitchTo((*self.estate).es_query_cxt);
            let result = result_relation(self.estate, relation, true);
            pg_sys::MemoryContextSwitchTo(outer);
            let other = pg_sys::table_slot_create(relation, null_mut());
            let count = (*result).ri_NumIndices as usize;
            for place in 0..count {
                let index = *(*result).ri_IndexRelationDescs.add(place);
                let info = *(*result).ri_IndexRelationInfo.add(place);
                let constrains = (*info).ii_Unique || !(*info).ii_ExclusionOps.is_null();
                if !constrains || !(*(*index).rd_index).indimmediate {
                    continue;
                }
                let cell = pg_sys::ListCell { oid_value: (*index).rd_id };
                let only = pg_sys::list_make1_impl(pg_sys::NodeTag::T_OidList, cell);
                let mut found = pg_sys::ItemPointerData::default();
                let (slot, estate) = (self.slot, self.estate);
                if !pg_sys::ExecCheckIndexConstraints(result, slot, estate, &mut found, only)
                    && pg_sys::table_tuple_fetch_row_version(
                        relation,
                        &mut found,
                        &raw mut pg_sys::SnapshotSelfData,
                        other,
                    )
                {
                    each(&self.table, other);
                }
            }
            pg_sys::ExecDropSingleTupleTableSlot(other);
            pg_sys::ExecCloseIndices(result);
            pg_sys::ExecResetTupleTable((*self.estate).es_tupleTable, false);
        }
    }
}

fn slot_view<'a>(slot: *mut pg_sys::TupleTableSlot) -> RowView<'a> {
    // SAFETY: callers pass slots that hold a row and use the view before the slot changes.
    unsafe {
        pg_sys::slot_getallattrs(slot);
        let (values, nulls) = slot_arrays(slot);
        RowView::new(&*values, &*nulls)
    }
}
