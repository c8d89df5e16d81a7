//! Which triggers of a table fire while changes from elsewhere are written: row triggers of the
//! users', as the server's own apply fires them under `session_replication_role = replica`.
//!
//! The result relation's description of triggers is its own copy, so it is cut down once, when the
//! table is opened. Callers: `row_writer`.

use std::ptr::{null, null_mut};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, Oid};

use super::catalog;
use super::row_view::RowView;
use super::row_writer::slot_arrays;
use super::trigger_choice::{changed_columns, fires, set_flags};
use crate::error::Failure;

/// Numbers of the columns in which a BEFORE trigger has no say.
#[derive(Clone, Copy, Debug)]
pub struct Ours {
    pub identity: usize,
    pub version: usize,
}

/// The triggers that fire on one table.
#[derive(Debug)]
pub struct RowTriggers {
    ours: Ours,
    result: *mut pg_sys::ResultRelInfo,
    estate: *mut pg_sys::EState,
    any: bool,
    /// Some fire only for changes of certain columns.
    by_column: bool,
    /// Some want to see their rows as tables.
    wants_tables: bool,
}

impl RowTriggers {
    /// Leaves on the result relation the triggers that fire, none at all unless `run` says so.
    ///
    /// # Safety
    /// `result` must be an initialised result relation of `estate`, whose triggers are its own copy.
    pub unsafe fn of(
        estate: *mut pg_sys::EState,
        result: *mut pg_sys::ResultRelInfo,
        ours: Ours,
        run: bool,
    ) -> Self {
        let (any, by_column, wants_tables) = (false, false, false);
        let mut triggers = Self { ours, result, estate, any, by_column, wants_tables };
        // SAFETY: the description has `numtriggers` triggers, all of its own memory; what the
        // executor keeps beside it for each trigger is still empty.
        unsafe {
            let description = (*result).ri_TrigDesc;
            if description.is_null() {
                return triggers;
            }
            let count = (*description).numtriggers as usize;
            let all = std::slice::from_raw_parts_mut((*description).triggers, count);
            let mut kept = 0;
            for place in (0..count).filter(|_| run) {
                if fires(&all[place]) {
                    all.swap(kept, place);
                    triggers.keep(&mut all[kept]);
                    kept += 1;
                }
            }
            if kept == 0 {
                (*result).ri_TrigDesc = null_mut();
                return triggers;
            }
            (*description).numtriggers = kept as i32;
            set_flags(&mut *description, &all[..kept]);
            // By this the executor finds the copy again when it fires what was queued.
            let cell = pg_sys::ListCell { ptr_value: result.cast() };
            (*estate).es_opened_result_relations =
                pg_sys::list_make1_impl(pg_sys::NodeTag::T_List, cell);
        }
        triggers
    }

    fn keep(&mut self, trigger: &mut pg_sys::Trigger) {
        self.any = true;
        self.by_column |= trigger.tgnattr > 0;
        self.wants_tables |= !trigger.tgoldtable.is_null() || !trigger.tgnewtable.is_null();
        // Put off, it would run at the caller's commit with the caller's rights, which Postgres
        // refuses to the code of a table's owner.
        trigger.tgdeferrable = false;
        trigger.tginitdeferred = false;
    }

    pub fn any(&self) -> bool {
        self.any
    }

    /// Whether the BEFORE triggers let the row in.
    ///
    /// # Safety
    /// For this and the following: the change must have been begun, with a query level of AFTER
    /// triggers; slots hold rows of the relation, `fresh` one that may be altered, and `tid` is
    /// the address of a row that is locked.
    pub unsafe fn before_insert(&self, fresh: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: see above.
        unsafe {
            let own = self.own_values(fresh);
            let goes_on = pg_sys::ExecBRInsertTriggers(self.estate, self.result, fresh);
            if goes_on {
                self.keep_own_values(fresh, own);
            }
            goes_on
        }
    }

    /// # Safety
    /// See `before_insert`.
    pub unsafe fn after_insert(
        &self,
        fresh: *mut pg_sys::TupleTableSlot,
        recheck: *mut pg_sys::List,
    ) {
        // SAFETY: see above.
        unsafe {
            let tables = self.tables(pg_sys::CmdType::CMD_INSERT);
            pg_sys::ExecARInsertTriggers(self.estate, self.result, fresh, recheck, tables);
        }
    }

    /// Whether the BEFORE triggers let the row be changed.
    ///
    /// # Safety
    /// See `before_insert`.
    pub unsafe fn before_update(
        &self,
        epq: *mut pg_sys::EPQState,
        current: *mut pg_sys::TupleTableSlot,
        fresh: *mut pg_sys::TupleTableSlot,
    ) -> bool {
        // SAFETY: see above.
        unsafe {
            let own = self.own_values(fresh);
            let _chosen = self.choose(current, fresh);
            let tid = &raw mut (*current).tts_tid;
            let (estate, result, none) = (self.estate, self.result, null_mut());
            let goes_on =
                pg_sys::ExecBRUpdateTriggers(estate, epq, result, tid, none, fresh, null_mut());
            if goes_on {
                self.keep_own_values(fresh, own);
            }
            goes_on
        }
    }

    /// # Safety
    /// See `before_insert`.
    pub unsafe fn after_update(
        &self,
        current: *mut pg_sys::TupleTableSlot,
        fresh: *mut pg_sys::TupleTableSlot,
        recheck: *mut pg_sys::List,
    ) {
        if !self.any {
            return;
        }
        // SAFETY: see above; the new row's columns are there to be compared.
        unsafe {
            pg_sys::slot_getallattrs(fresh);
            let _chosen = self.choose(current, fresh);
            let tables = self.tables(pg_sys::CmdType::CMD_UPDATE);
            let (estate, result, none) = (self.estate, self.result, null_mut());
            let (tid, tuple) = (&raw mut (*current).tts_tid, null_mut());
            pg_sys::ExecARUpdateTriggers(
                estate, result, none, none, tid, tuple, fresh, recheck, tables, false,
            );
        }
    }

    /// Whether the BEFORE triggers let the row go.
    ///
    /// # Safety
    /// See `before_insert`.
    pub unsafe fn before_delete(
        &self,
        epq: *mut pg_sys::EPQState,
        tid: pg_sys::ItemPointer,
    ) -> bool {
        // SAFETY: see above.
        unsafe {
            let (estate, result, none) = (self.estate, self.result, null_mut());
            pg_sys::ExecBRDeleteTriggers(estate, epq, result, tid, none, null_mut())
        }
    }

    /// # Safety
    /// See `before_insert`.
    pub unsafe fn after_delete(&self, tid: pg_sys::ItemPointer) {
        // SAFETY: see above.
        unsafe {
            let tables = self.tables(pg_sys::CmdType::CMD_DELETE);
            let (estate, result, none) = (self.estate, self.result, null_mut());
            pg_sys::ExecARDeleteTriggers(estate, result, tid, none, tables, false);
        }
    }

    /// Where rows are kept that AFTER triggers see as tables; null if none wants to.
    ///
    /// # Safety
    /// See `before_insert`.
    unsafe fn tables(&self, command: pg_sys::CmdType::Type) -> *mut pg_sys::TransitionCaptureState {
        if !self.wants_tables {
            return null_mut();
        }
        // SAFETY: see above; the result lives as long as the caller's memory context.
        unsafe {
            let (triggers, relid) = ((*self.result).ri_TrigDesc, self.relid());
            pg_sys::MakeTransitionCaptureState(triggers, relid, command)
        }
    }

    /// Says which columns change, while the triggers of an UPDATE are chosen.
    ///
    /// # Safety
    /// Both slots must hold rows of the relation, all columns deformed.
    unsafe fn choose(
        &self,
        old: *mut pg_sys::TupleTableSlot,
        new: *mut pg_sys::TupleTableSlot,
    ) -> Chosen {
        // SAFETY: the state's range table has the relation as its only entry; see `row_writer`.
        unsafe {
            let entry: *mut pg_sys::RangeTblEntry =
                (*(*(*self.estate).es_range_table).elements).ptr_value.cast();
            let all = (*entry).updatedCols;
            if self.by_column {
                (*entry).updatedCols = changed_columns(old, new);
            }
            Chosen { entry, all }
        }
    }

    fn relid(&self) -> Oid {
        // SAFETY: the relation stays open as long as this value is used.
        unsafe { (*(*self.result).ri_RelationDesc).rd_id }
    }

    /// Identity and version of the row to be written.
    ///
    /// # Safety
    /// The slot must hold a row of the relation.
    unsafe fn own_values(&self, fresh: *mut pg_sys::TupleTableSlot) -> [Option<[u8; 16]>; 2] {
        // SAFETY: both columns are uuids of this table.
        unsafe {
            pg_sys::slot_getallattrs(fresh);
            let (values, nulls) = slot_arrays(fresh);
            let row = RowView::new(&*values, &*nulls);
            [row.uuid(self.ours.identity), row.uuid(self.ours.version)]
        }
    }

    /// After BEFORE triggers: the row is what the entry says it is, at the entry's version.
    ///
    /// # Safety
    /// As for `own_values`.
    unsafe fn keep_own_values(
        &self,
        fresh: *mut pg_sys::TupleTableSlot,
        before: [Option<[u8; 16]>; 2],
    ) {
        // SAFETY: the tuple is a copy of the row, changed in one column; the slot takes it over.
        unsafe {
            let [identity, version] = self.own_values(fresh);
            if identity != before[0] {
                identity_changed(self.relid());
            }
            if version == before[1] {
                return;
            }
            let mut column = self.ours.version as i32;
            let mut value = Datum::from(before[1].as_ref().map_or(null(), |uuid| uuid.as_ptr()));
            let mut is_null = before[1].is_none();
            let tuple = pg_sys::heap_modify_tuple_by_cols(
                pg_sys::ExecCopySlotHeapTuple(fresh),
                (*fresh).tts_tupleDescriptor,
                1,
                &mut column,
                &mut value,
                &mut is_null,
            );
            pg_sys::ExecForceStoreHeapTuple(tuple, fresh, false);
        }
    }
}

/// While it lives, the changed columns stand where all columns stood.
#[derive(Debug)]
pub struct Chosen {
    entry: *mut pg_sys::RangeTblEntry,
    all: *mut pg_sys::Bitmapset,
}

impl Drop for Chosen {
    fn drop(&mut self) {
        // SAFETY: the range table lives as long as the state, which outlives a change. After an
        // error, too: whoever catches it may go on with the table.
        unsafe { (*self.entry).updatedCols = self.all };
    }
}

/// A row that was found and locked, and has changed since: only the table's own code can have done
/// it. Trying again would fire it again, without end.
pub fn changed_meanwhile(relation: Oid) -> ! {
    let name = catalog::qualified_name(relation);
    Failure::new(
        PgSqlErrorCode::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
        format!("a row of table \"{name}\" was changed by the trigger that fired for its change"),
    )
    .hint("Write to the row itself in a BEFORE trigger by changing NEW, else in an AFTER trigger.")
    .raise()
}

/// A BEFORE trigger has given the row another identity.
pub fn identity_changed(relation: Oid) -> ! {
    let name = catalog::qualified_name(relation);
    Failure::new(
        PgSqlErrorCode::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
        format!("a trigger changed the identity of a row of table \"{name}\" that was applied"),
    )
    .hint(
        "Other databases know the row by its uuid: let the trigger leave it, or do not let the \
        trigger fire for replicas.",
    )
    .raise()
}
