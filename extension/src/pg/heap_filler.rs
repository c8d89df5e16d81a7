//! Rows into a heap that stands beside its table: as a table of the user's in everything that is
//! asked of a row, and many rows at a time. No index, no trigger.

use crate::pg::open_table::OpenTable;
use crate::pg::row_writer::{result_relation, slot_arrays};
use pgrx::pg_sys::{self, Datum};
use std::ptr::null_mut;

unsafe extern "C-unwind" {
    fn ExecComputeStoredGenerated(
        result: *mut pg_sys::ResultRelInfo,
        estate: *mut pg_sys::EState,
        slot: *mut pg_sys::TupleTableSlot,
        command: pg_sys::CmdType::Type,
    );
}

/// Rows and bytes that are written at once; COPY's own figures are 1000 and 64 kB.
const MOST_ROWS: usize = 1000;
const MOST_BYTES: usize = 256 << 10;
/// `TABLE_INSERT_SKIP_FSM`: nothing is ever free in a heap that only grows.
const SKIP_FREE_SPACE: i32 = 2;

/// Fills a heap. `close` it; after an error Postgres cleans up.
#[derive(Debug)]
pub struct HeapFiller {
    table: OpenTable,
    heap: OpenTable,
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    bulk: pg_sys::BulkInsertState,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
    bytes: usize,
    /// Of the values that wait.
    batch: pg_sys::MemoryContext,
    /// Identity and version of each row that waits.
    uuids: Vec<Uuids>,
    has_generated: bool,
    has_checks: bool,
    /// Columns that must not be NULL, by number less one.
    required: Vec<usize>,
}

/// Room for two values of type uuid.
pub type Uuids = [[u8; 16]; 2];

impl HeapFiller {
    /// The heap stands beside the table, which rules over its rows.
    pub fn open(table: OpenTable, heap: OpenTable) -> Self {
        // SAFETY: all structures are made by Postgres's own constructors in the current memory
        // context, which outlives the filler, and belong to the relations that it keeps open.
        unsafe {
            let relation = table.raw();
            let estate = pg_sys::CreateExecutorState();
            let outer = pg_sys::MemoryContextSwitchTo((*estate).es_query_cxt);
            let result = result_relation(estate, relation, false);
            let bulk = pg_sys::GetBulkInsertState();
            let batch = pg_sys::AllocSetContextCreateInternal(
                (*estate).es_query_cxt,
                c"syncjournal rows".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            pg_sys::MemoryContextSwitchTo(outer);
            let descriptor = (*relation).rd_att;
            let constraints = (*descriptor).constr;
            let columns = (*descriptor).attrs.as_slice((*descriptor).natts as usize);
            let is_required =
                |place: &usize| columns[*place].attnotnull && !columns[*place].attisdropped;
            let required = (0..columns.len()).filter(is_required).collect();
            Self {
                estate,
                result,
                bulk,
                slots: Vec::new(),
                filled: 0,
                bytes: 0,
                batch,
                uuids: vec![Uuids::default(); MOST_ROWS],
                has_generated: !constraints.is_null() && (*constraints).has_generated_stored,
                has_checks: !constraints.is_null() && (*constraints).num_check > 0,
                required,
                table,
                heap,
            }
        }
    }

    /// Adds a row. `fill` sets every value and null flag (by column number less one), in memory that
    /// lasts until the row is written, as does the room for uuids; `bytes`: how much it is, roughly.
    pub fn add(&mut self, bytes: usize, fill: impl FnOnce(&mut [Datum], &mut [bool], &mut Uuids)) {
        let slot = self.next_slot();
        // SAFETY: the slot is empty, new or cleared by `flush`, so its arrays are ours; the values live
        // in the batch's context or in `uuids`, which are reused only when the slots are empty again.
        // A slot with all its values and without the mark of being empty holds a virtual row.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.batch);
            let (values, nulls) = slot_arrays(slot);
            fill(&mut *values, &mut *nulls, &mut self.uuids[self.filled]);
            (*slot).tts_flags &= !(pg_sys::TTS_FLAG_EMPTY as u16);
            (*slot).tts_nvalid = values.len() as i16;
            self.check(slot);
            pg_sys::MemoryContextSwitchTo(outer);
        }
        self.filled += 1;
        self.bytes += bytes;
        if self.filled == MOST_ROWS || self.bytes >= MOST_BYTES {
            self.flush();
        }
    }

    fn next_slot(&mut self) -> *mut pg_sys::TupleTableSlot {
        if self.filled == self.slots.len() {
            // SAFETY: the slot belongs to the executor state's context, as those before.
            self.slots.push(unsafe {
                let outer = pg_sys::MemoryContextSwitchTo((*self.estate).es_query_cxt);
                let slot = pg_sys::table_slot_create(self.table.raw(), null_mut());
                pg_sys::MemoryContextSwitchTo(outer);
                slot
            });
        }
        self.slots[self.filled]
    }

    /// Generated columns, then NOT NULL and CHECK; a partition's bounds are the router's affair.
    ///
    /// # Safety
    /// The slot must hold a stored virtual row.
    unsafe fn check(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the executor's own checks; the unbound function is guarded by hand, with no
        // destructor in scope.
        unsafe {
            if self.has_generated {
                let (result, estate) = (self.result, self.estate);
                pg_sys::ffi::pg_guard_ffi_boundary(|| {
                    let command = pg_sys::CmdType::CMD_INSERT;
                    ExecComputeStoredGenerated(result, estate, slot, command);
                });
            }
            let nulls = &*slot_arrays(slot).1;
            if self.has_checks || self.required.iter().any(|place| nulls[*place]) {
                pg_sys::ExecConstraints(self.result, slot, self.estate);
            }
        }
    }

    /// Writes the rows that wait.
    pub fn flush(&mut self) {
        if self.filled == 0 {
            return;
        }
        // SAFETY: the slots hold rows of the table's descriptor, which is the heap's as well.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.batch);
            pg_sys::table_multi_insert(
                self.heap.raw(),
                self.slots.as_mut_ptr(),
                self.filled as i32,
                pg_sys::GetCurrentCommandId(true),
                SKIP_FREE_SPACE,
                self.bulk,
            );
            pg_sys::MemoryContextSwitchTo(outer);
            for slot in &self.slots[..self.filled] {
                pg_sys::ExecClearTuple(*slot);
            }
            pg_sys::MemoryContextReset(self.batch);
            let per_tuple = (*self.estate).es_per_tuple_exprcontext;
            if !per_tuple.is_null() {
                pg_sys::MemoryContextReset((*per_tuple).ecxt_per_tuple_memory);
            }
        }
        (self.filled, self.bytes) = (0, 0);
    }

    /// Writes what waits, and closes.
    pub fn close(mut self) {
        self.flush();
        // SAFETY: everything was opened by `open` and is closed once.
        unsafe {
            for slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(*slot);
            }
            pg_sys::table_finish_bulk_insert(self.heap.raw(), SKIP_FREE_SPACE);
            pg_sys::FreeBulkInsertState(self.bulk);
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::ExecResetTupleTable((*self.estate).es_tupleTable, false);
            pg_sys::FreeExecutorState(self.estate);
        }
        self.heap.close();
        self.table.close();
    }
}
