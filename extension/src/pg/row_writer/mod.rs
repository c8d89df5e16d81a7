//! Row operations on one plain table (or one leaf partition), beneath SQL: look up by identity,
//! insert, update, delete.
//!
//! As the server's own logical replication does it, triggers fire by `session_replication_role`,
//! constraints and generated columns are honoured, rights and row security are not asked. Unlike
//! there, a row is found by one index scan kept open over the whole call, under the newest
//! snapshot each time, and an update or delete that finds the row changed underneath says so
//! instead of taking a lock beforehand.
//!
//! Callers: `apply::target`. Each change ends with a new command, so that the next look-up sees
//! it. Invariant: `close` is called on the way out; after an error Postgres cleans up.
//!
//! ```text
//! run      many rows inserted at once, without a look-up
//! indexes  their index entries, and those of single rows
//! nearby   finding a row, where it stands near the last one
//! ```

mod indexes;
mod nearby;
mod run;

pub use run::MOST_ROWS;

use self::indexes::{Columns, Indexes, Replaced, Taken};
use self::nearby::Nearby;
use self::run::Run;
use crate::pg::open_table::OpenTable;
use crate::pg::postponed::Suspect;
use crate::pg::row_view::RowView;
use crate::pg::triggers::{self, Ours, RowTriggers};
use pgrx::pg_sys::{self, Datum, Oid};
use std::ptr::{null_mut, slice_from_raw_parts_mut};

unsafe extern "C-unwind" {
    fn ExecComputeStoredGenerated(
        result: *mut pg_sys::ResultRelInfo,
        estate: *mut pg_sys::EState,
        slot: *mut pg_sys::TupleTableSlot,
        command: pg_sys::CmdType::Type,
    );
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// A BEFORE trigger of the table suppressed it.
    Suppressed,
    /// Another transaction changed the row after it was looked up: look again.
    Moved,
}

/// The row engine of one table.
#[derive(Debug)]
pub struct RowWriter {
    table: OpenTable,
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    epq: *mut pg_sys::EPQState,
    /// The row that was found.
    current: *mut pg_sys::TupleTableSlot,
    /// The row to be written.
    fresh: *mut pg_sys::TupleTableSlot,
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    key: Box<pg_sys::ScanKeyData>,
    key_bytes: Box<[u8; 16]>,
    /// Number of the identity column.
    identity: usize,
    nearby: Nearby,
    bulk: pg_sys::BulkInsertState,
    /// None: the executor makes the entries.
    indexes: Option<Indexes>,
    run: Run,
    /// Rows whose keys were taken when they were written.
    suspects: Vec<Suspect>,
    triggers: RowTriggers,
    has_generated: bool,
    has_constraints: bool,
    is_partition: bool,
}

impl RowWriter {
    /// `index` is an index that begins with the identity column; `run_triggers`: whether the users'
    /// triggers fire that would fire on a replica.
    pub fn open(table: OpenTable, index: Oid, ours: Ours, run_triggers: bool) -> Self {
        // SAFETY: all structures are made by Postgres's own constructors in the current memory
        // context, which outlives the writer, and belong to the relation opened above.
        unsafe {
            let relation = table.raw();
            let identity = ours.identity;
            let estate = pg_sys::CreateExecutorState();
            let old = pg_sys::MemoryContextSwitchTo((*estate).es_query_cxt);
            let result = result_relation(estate, relation, false);
            let triggers = RowTriggers::of(estate, result, ours, run_triggers);
            let epq = pg_sys::palloc0(size_of::<pg_sys::EPQState>()).cast();
            pg_sys::EvalPlanQualInit(epq, estate, null_mut(), null_mut(), -1);
            let current = pg_sys::table_slot_create(relation, null_mut());
            let fresh = pg_sys::table_slot_create(relation, null_mut());
            let index = pg_sys::index_open(index, pg_sys::RowExclusiveLock as i32);
            let latest = pg_sys::GetLatestSnapshot();
            let scan = pg_sys::index_beginscan(relation, index, latest, 1, 0);
            let key_bytes = Box::new([0_u8; 16]);
            let mut key = Box::new(pg_sys::ScanKeyData::default());
            let uuid_eq = Oid::from(pg_sys::F_UUID_EQ);
            let equal = pg_sys::BTEqualStrategyNumber as u16;
            let argument = Datum::from(key_bytes.as_ptr());
            pg_sys::ScanKeyInit(&mut *key, 1, equal, uuid_eq, argument);
            let bulk = pg_sys::GetBulkInsertState();
            // Triggers want to be told of keys that are taken, in the executor's own way.
            let indexes = if triggers.any() { None } else { Indexes::of(relation, result) };
            pg_sys::MemoryContextSwitchTo(old);
            let constraints = (*(*relation).rd_att).constr;
            Self {
                estate,
                result,
                epq,
                current,
                fresh,
                index,
                scan,
                key,
                key_bytes,
                identity,
                nearby: Nearby::of(relation, index),
                bulk,
                indexes,
                run: Run::default(),
                suspects: Vec::new(),
                triggers,
                has_generated: !constraints.is_null() && (*constraints).has_generated_stored,
                has_constraints: !constraints.is_null(),
                is_partition: (*(*relation).rd_rel).relispartition,
                table,
            }
        }
    }

    /// Closes, and gives the rows whose unique and exclusion constraints are still to be checked.
    #[must_use]
    pub fn close(self) -> Vec<Suspect> {
        self.run.close();
        // SAFETY: everything was opened by `open` and is closed once, scan before index.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.current);
            pg_sys::ExecDropSingleTupleTableSlot(self.fresh);
            pg_sys::index_endscan(self.scan);
            pg_sys::index_close(self.index, pg_sys::NoLock as i32);
            pg_sys::FreeBulkInsertState(self.bulk);
            pg_sys::EvalPlanQualEnd(self.epq);
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::ExecResetTupleTable((*self.estate).es_tupleTable, false);
            pg_sys::FreeExecutorState(self.estate);
        }
        self.table.close();
        self.suspects
    }

    pub fn table(&self) -> &OpenTable {
        &self.table
    }

    /// Whether code of the users' runs with a change, which may write to other tables.
    pub fn has_triggers(&self) -> bool {
        self.triggers.any()
    }

    /// The row that `find` found.
    pub fn current(&self) -> RowView<'_> {
        // SAFETY: `find` has deformed the whole row, and the slot pins it until the next look-up.
        unsafe {
            let (values, nulls) = slot_arrays(self.current);
            RowView::new(&*values, &*nulls)
        }
    }

    /// The row before and after the update that was just done.
    pub fn change(&self) -> (RowView<'_>, RowView<'_>) {
        // SAFETY: the slots keep both until the next look-up or change.
        let new = unsafe {
            slot_values(self.fresh);
            let (values, nulls) = slot_arrays(self.fresh);
            RowView::new(&*values, &*nulls)
        };
        (self.current(), new)
    }

    /// The row to be written next: every element must be set before the row is written.
    pub fn fresh(&mut self) -> (&mut [Datum], &mut [bool]) {
        // SAFETY: clearing makes the arrays ours; `self` is borrowed as long as they are.
        unsafe {
            pg_sys::ExecClearTuple(self.fresh);
            let (values, nulls) = slot_arrays(self.fresh);
            (&mut *values, &mut *nulls)
        }
    }

    /// Makes the row to be written a copy of the current one, to be changed in place.
    pub fn copy_current(&mut self) -> (&mut [Datum], &mut [bool]) {
        // SAFETY: both slots have the table's descriptor; the copies point into the current row,
        // which stays pinned until the change is done.
        unsafe {
            pg_sys::ExecClearTuple(self.fresh);
            let (from_values, from_nulls) = slot_arrays(self.current);
            let (values, nulls) = slot_arrays(self.fresh);
            (*values).copy_from_slice(&*from_values);
            (*nulls).copy_from_slice(&*from_nulls);
            (&mut *values, &mut *nulls)
        }
    }

    /// Inserts the fresh row.
    pub fn insert(&mut self) -> Written {
        // SAFETY: the executor's own steps for an insert, on structures made for this table.
        unsafe {
            pg_sys::ExecStoreVirtualTuple(self.fresh);
            let command = self.begin_change();
            if self.triggers.any() && !self.triggers.before_insert(self.fresh) {
                return self.suppressed();
            }
            self.check(self.fresh, pg_sys::CmdType::CMD_INSERT);
            if let Some(indexes) = &mut self.indexes {
                indexes.forget();
                indexes.note(columns_of(self.fresh));
            }
            pg_sys::table_tuple_insert(self.table.raw(), self.fresh, command, 0, self.bulk);
            let recheck = self.insert_index_tuples(None);
            self.triggers.after_insert(self.fresh, recheck);
            self.end_change(recheck);
        }
        Written::Done
    }

    /// Replaces the current row by the fresh one.
    pub fn update(&mut self) -> Written {
        // SAFETY: as in `insert`; the row's address comes from the look-up.
        unsafe {
            pg_sys::ExecStoreVirtualTuple(self.fresh);
            let tid = &raw mut (*self.current).tts_tid;
            let command = self.begin_change();
            if self.triggers.any() {
                if !self.lock_current() {
                    return self.moved();
                }
                if !self.triggers.before_update(self.epq, self.current, self.fresh) {
                    return self.suppressed();
                }
            }
            self.check(self.fresh, pg_sys::CmdType::CMD_UPDATE);
            if let Some(indexes) = &mut self.indexes {
                indexes.note_change(columns_of(self.current), columns_of(self.fresh));
            }
            let (mut failure, mut lock_mode, mut update_indexes) = Default::default();
            let outcome = pg_sys::table_tuple_update(
                self.table.raw(),
                tid,
                self.fresh,
                command,
                (*self.scan).xs_snapshot,
                null_mut(),
                true,
                &mut failure,
                &mut lock_mode,
                &mut update_indexes,
            );
            if !self.is_done(outcome) {
                return self.moved();
            }
            let recheck = if update_indexes {
                self.insert_index_tuples(Some(self.replaced()))
            } else {
                null_mut()
            };
            self.triggers.after_update(self.current, self.fresh, recheck);
            self.end_change(recheck);
        }
        Written::Done
    }

    /// Deletes the current row.
    pub fn delete(&mut self) -> Written {
        // SAFETY: as in `update`.
        unsafe {
            let tid = &raw mut (*self.current).tts_tid;
            let command = self.begin_change();
            if self.triggers.any() {
                if !self.lock_current() {
                    return self.moved();
                }
                if !self.triggers.before_delete(self.epq, tid) {
                    return self.suppressed();
                }
            }
            let mut failure = pg_sys::TM_FailureData::default();
            let outcome = pg_sys::table_tuple_delete(
                self.table.raw(),
                tid,
                command,
                (*self.scan).xs_snapshot,
                null_mut(),
                true,
                &mut failure,
                false,
            );
            if !self.is_done(outcome) {
                return self.moved();
            }
            self.triggers.after_delete(tid);
            self.end_change(null_mut());
        }
        Written::Done
    }

    /// Generated columns, then NOT NULL, CHECK and the partition's bounds.
    ///
    /// # Safety
    /// The slot must hold a stored virtual row of the table.
    unsafe fn check(&mut self, slot: *mut pg_sys::TupleTableSlot, command: pg_sys::CmdType::Type) {
        // SAFETY: the executor's own checks; the unbound function is guarded by hand, with no
        // destructor in scope.
        unsafe {
            if self.has_generated {
                let (result, estate) = (self.result, self.estate);
                pg_sys::ffi::pg_guard_ffi_boundary(|| {
                    ExecComputeStoredGenerated(result, estate, slot, command);
                });
            }
            if self.has_constraints {
                pg_sys::ExecConstraints(self.result, slot, self.estate);
            }
            if self.is_partition {
                pg_sys::ExecPartitionCheck(self.result, slot, self.estate, true);
            }
        }
    }

    /// What is known of the row that `find` found.
    ///
    /// # Safety
    /// `current` must hold it.
    unsafe fn replaced(&self) -> Replaced {
        let mut is_copy = false;
        // SAFETY: the slot pins the row, and of its header only what does not change is read.
        unsafe {
            let tuple = pg_sys::ExecFetchSlotHeapTuple(self.current, false, &mut is_copy);
            let header = &*(*tuple).t_data;
            let writer = header.t_choice.t_heap.t_xmin;
            let is_settled = !pg_sys::TransactionIdIsCurrentTransactionId(writer);
            let had_earlier = u32::from(header.t_infomask) & pg_sys::HEAP_UPDATED != 0;
            let is_swept = is_settled && self.nearby.is_swept();
            let replaced = Replaced { is_settled, had_earlier: had_earlier && !is_swept };
            if is_copy {
                pg_sys::heap_freetuple(tuple);
            }
            replaced
        }
    }

    /// A key that is taken is no error yet: it may be free at the end of the call.
    ///
    /// # Safety
    /// `fresh` must have just been written to the table.
    unsafe fn insert_index_tuples(&mut self, replaced: Option<Replaced>) -> *mut pg_sys::List {
        // SAFETY: the indexes were opened with the result relation.
        unsafe {
            let (table, address) = (self.table.oid(), (*self.fresh).tts_tid);
            if let Some(indexes) = &mut self.indexes {
                let taken = indexes.insert(&[self.fresh], None, replaced);
                let suspect = |taken: Taken| Suspect::new(table, taken.index, address);
                self.suspects.extend(taken.into_iter().map(suspect));
                return null_mut();
            }
            let (result, estate, none) = (self.result, self.estate, null_mut());
            let is_update = replaced.is_some();
            let recheck = pg_sys::ExecInsertIndexTuples(
                result,
                self.fresh,
                estate,
                is_update,
                true,
                none,
                null_mut(),
            );
            self.suspects.extend(Suspect::of(table, recheck, address));
            recheck
        }
    }

    /// Triggers follow a changed row to its newest form by themselves; so hold it fast first.
    ///
    /// # Safety
    /// `current` must hold a row that `find` found.
    unsafe fn lock_current(&mut self) -> bool {
        // SAFETY: the slot keeps the row's address, and the tuple lock does not change it.
        unsafe {
            let mut failure = pg_sys::TM_FailureData::default();
            let locked = pg_sys::table_slot_create(self.table.raw(), null_mut());
            let outcome = pg_sys::table_tuple_lock(
                self.table.raw(),
                &raw mut (*self.current).tts_tid,
                (*self.scan).xs_snapshot,
                locked,
                pg_sys::GetCurrentCommandId(false),
                pg_sys::LockTupleMode::LockTupleExclusive,
                pg_sys::LockWaitPolicy::LockWaitBlock,
                0,
                &mut failure,
            );
            pg_sys::ExecDropSingleTupleTableSlot(locked);
            outcome == pg_sys::TM_Result::TM_Ok
        }
    }

    /// Gives the command in which the change is made: the same for the triggers, so that what they
    /// write to the row shows.
    ///
    /// # Safety
    /// Must be paired with `end_change`, `suppressed` or `moved`.
    unsafe fn begin_change(&mut self) -> pg_sys::CommandId {
        // SAFETY: opens a level of the trigger queue; triggers see the row by these two.
        unsafe {
            let command = pg_sys::GetCurrentCommandId(true);
            if self.triggers.any() {
                (*self.estate).es_output_cid = command;
                (*self.estate).es_snapshot = (*self.scan).xs_snapshot;
                pg_sys::AfterTriggerBeginQuery();
            }
            command
        }
    }

    /// Whether the table took the change; not if another transaction has changed the row. That
    /// the table's own code did so is an error.
    fn is_done(&self, outcome: pg_sys::TM_Result::Type) -> bool {
        match outcome {
            pg_sys::TM_Result::TM_Ok => true,
            pg_sys::TM_Result::TM_SelfModified => triggers::changed_meanwhile(self.table.oid()),
            _ => false,
        }
    }

    /// Fires what was queued and makes the change visible to the next look-up.
    ///
    /// # Safety
    /// Must follow `begin_change`.
    unsafe fn end_change(&mut self, recheck: *mut pg_sys::List) {
        // SAFETY: closes the level that `begin_change` opened; per-tuple memory is done with.
        unsafe {
            if self.triggers.any() {
                pg_sys::AfterTriggerEndQuery(self.estate);
            }
            if !recheck.is_null() {
                pg_sys::list_free(recheck);
            }
            let per_tuple = (*self.estate).es_per_tuple_exprcontext;
            if !per_tuple.is_null() {
                pg_sys::MemoryContextReset((*per_tuple).ecxt_per_tuple_memory);
            }
            pg_sys::CommandCounterIncrement();
        }
    }

    /// # Safety
    /// Must follow `begin_change`.
    unsafe fn suppressed(&mut self) -> Written {
        // SAFETY: see `end_change`.
        unsafe { self.end_change(null_mut()) };
        Written::Suppressed
    }

    /// # Safety
    /// Must follow `begin_change`.
    unsafe fn moved(&mut self) -> Written {
        // SAFETY: see `end_change`.
        unsafe { self.end_change(null_mut()) };
        Written::Moved
    }
}

/// A result relation with its indexes open, as the only entry of the state's range table.
///
/// # Safety
/// The current memory context must be the state's own.
pub(super) unsafe fn result_relation(
    estate: *mut pg_sys::EState,
    relation: pg_sys::Relation,
    looks_for_conflicts: bool,
) -> *mut pg_sys::ResultRelInfo {
    // SAFETY: nodes are made with their tags; the relation is open and locked.
    unsafe {
        let entry =
            pgrx::PgBox::<pg_sys::RangeTblEntry>::alloc_node(pg_sys::NodeTag::T_RangeTblEntry)
                .into_pg();
        (*entry).rtekind = pg_sys::RTEKind::RTE_RELATION;
        (*entry).relid = (*relation).rd_id;
        (*entry).relkind = (*(*relation).rd_rel).relkind;
        (*entry).rellockmode = pg_sys::RowExclusiveLock as i32;
        // Any column may change: whoever asks (generated columns, column triggers) gets all.
        let offset = -pg_sys::FirstLowInvalidHeapAttributeNumber;
        let last = i32::from((*(*relation).rd_rel).relnatts) + offset;
        (*entry).updatedCols = pg_sys::bms_add_range(null_mut(), 1 + offset, last);
        let cell = pg_sys::ListCell { ptr_value: entry.cast() };
        let table_list = pg_sys::list_make1_impl(pg_sys::NodeTag::T_List, cell);
        pg_sys::ExecInitRangeTable(estate, table_list);
        let result =
            pgrx::PgBox::<pg_sys::ResultRelInfo>::alloc_node(pg_sys::NodeTag::T_ResultRelInfo)
                .into_pg();
        pg_sys::InitResultRelInfo(result, relation, 1, null_mut(), 0);
        if (*entry).relkind as u8 != pg_sys::RELKIND_PARTITIONED_TABLE {
            pg_sys::ExecOpenIndices(result, looks_for_conflicts);
        }
        result
    }
}

/// Deforms the whole row.
///
/// # Safety
/// The slot must hold a row.
unsafe fn slot_values(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: see above.
    unsafe { pg_sys::slot_getallattrs(slot) };
}

/// The columns of a row in a slot, taken apart.
///
/// # Safety
/// The slot must hold the row for as long as its columns are used.
unsafe fn columns_of<'a>(slot: *mut pg_sys::TupleTableSlot) -> Columns<'a> {
    // SAFETY: see above.
    unsafe {
        if usize::try_from((*slot).tts_nvalid).unwrap_or(0)
            < (*(*slot).tts_tupleDescriptor).natts as usize
        {
            slot_values(slot);
        }
        let (values, nulls) = slot_arrays(slot);
        (&*values, &*nulls)
    }
}

/// # Safety
/// The slot must be valid for as long as the slices are used.
pub(super) unsafe fn slot_arrays(slot: *mut pg_sys::TupleTableSlot) -> (*mut [Datum], *mut [bool]) {
    // SAFETY: a slot with a fixed descriptor has arrays of its number of attributes.
    unsafe {
        let len = (*(*slot).tts_tupleDescriptor).natts as usize;
        (
            slice_from_raw_parts_mut((*slot).tts_values, len),
            slice_from_raw_parts_mut((*slot).tts_isnull, len),
        )
    }
}
