//! Partitioned tables: which leaf a row belongs in, and which leaves there are.

use crate::pg::open_table::OpenTable;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::c_void;
use std::ptr::{null_mut, slice_from_raw_parts_mut};

unsafe extern "C-unwind" {
    fn ExecSetupPartitionTupleRouting(
        estate: *mut pg_sys::EState,
        root: pg_sys::Relation,
    ) -> *mut c_void;
    fn ExecFindPartition(
        state: *mut pg_sys::ModifyTableState,
        root: *mut pg_sys::ResultRelInfo,
        routing: *mut c_void,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
    ) -> *mut pg_sys::ResultRelInfo;
    fn ExecCleanupTupleRouting(state: *mut pg_sys::ModifyTableState, routing: *mut c_void);
}

/// Routes rows of one partitioned table. `close` it; after an error Postgres cleans up.
#[derive(Debug)]
pub struct Router {
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::ModifyTableState,
    routing: *mut c_void,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Router {
    /// `root` must stay open as long as the router.
    pub fn open(root: &OpenTable) -> Self {
        // SAFETY: nodes are made with their tags in the state's own context; the plan-less
        // ModifyTableState is all that routing asks for.
        unsafe {
            let relation = root.raw();
            let estate = pg_sys::CreateExecutorState();
            let old = pg_sys::MemoryContextSwitchTo((*estate).es_query_cxt);
            let result = super::row_writer::result_relation(estate, relation, false);
            let state = pgrx::PgBox::<pg_sys::ModifyTableState>::alloc_node(
                pg_sys::NodeTag::T_ModifyTableState,
            )
            .into_pg();
            (*state).ps.state = estate;
            (*state).operation = pg_sys::CmdType::CMD_INSERT;
            (*state).resultRelInfo = result;
            let routing = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                ExecSetupPartitionTupleRouting(estate, relation)
            });
            let slot = pg_sys::table_slot_create(relation, null_mut());
            pg_sys::MemoryContextSwitchTo(old);
            Self { estate, result, state, routing, slot }
        }
    }

    pub fn close(self) {
        // SAFETY: everything was opened by `open` and is closed once.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            let (state, routing) = (self.state, self.routing);
            pg_sys::ffi::pg_guard_ffi_boundary(|| ExecCleanupTupleRouting(state, routing));
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::ExecResetTupleTable((*self.estate).es_tupleTable, false);
            pg_sys::FreeExecutorState(self.estate);
        }
    }

    /// The row to be routed, in the root's columns: to be filled before `leaf` is asked.
    pub fn row(&mut self) -> (&mut [Datum], &mut [bool]) {
        // SAFETY: clearing makes the arrays ours; `self` is borrowed as long as they are.
        unsafe {
            pg_sys::ExecClearTuple(self.slot);
            let len = (*(*self.slot).tts_tupleDescriptor).natts as usize;
            (
                &mut *slice_from_raw_parts_mut((*self.slot).tts_values, len),
                &mut *slice_from_raw_parts_mut((*self.slot).tts_isnull, len),
            )
        }
    }

    /// The leaf that the row belongs in. That there is none is Postgres's own error.
    pub fn leaf(&mut self) -> Oid {
        // SAFETY: the slot was filled by the caller; per-tuple memory is reset after use.
        unsafe {
            pg_sys::ExecStoreVirtualTuple(self.slot);
            let (state, result, routing) = (self.state, self.result, self.routing);
            let (slot, estate) = (self.slot, self.estate);
            let leaf = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                ExecFindPartition(state, result, routing, slot, estate)
            });
            let per_tuple = (*self.estate).es_per_tuple_exprcontext;
            if !per_tuple.is_null() {
                pg_sys::MemoryContextReset((*per_tuple).ecxt_per_tuple_memory);
            }
            (*(*leaf).ri_RelationDesc).rd_id
        }
    }
}

/// The leaf partitions below a partitioned table, in order of their bounds.
pub fn leaves(root: &OpenTable) -> Vec<Oid> {
    let mut found = Vec::new();
    let mut pending = vec![root.oid()];
    while let Some(table) = pending.pop() {
        // SAFETY: the descriptor belongs to the open relation and is read before it is closed.
        let (children, are_leaves) = unsafe {
            let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
            let description = &*pg_sys::RelationGetPartitionDesc(relation, true);
            let count = description.nparts as usize;
            let all = if count == 0 {
                (Vec::new(), Vec::new())
            } else {
                (
                    std::slice::from_raw_parts(description.oids, count).to_vec(),
                    std::slice::from_raw_parts(description.is_leaf, count).to_vec(),
                )
            };
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            all
        };
        for (child, is_leaf) in children.into_iter().zip(are_leaves) {
            if is_leaf { found.push(child) } else { pending.push(child) }
        }
    }
    found
}
