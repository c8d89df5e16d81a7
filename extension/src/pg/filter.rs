//! A row filter: an SQL condition over the columns of one table, compiled once, asked row by row.

use std::ffi::{CStr, CString};
use std::ptr::null_mut;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum};

use crate::error::{Failure, corrupted};
use crate::pg::open_table::OpenTable;
use crate::pg::setting::SettingScope;
use crate::pg::type_io;

/// Numbers below this one's negation are no columns (`FirstLowInvalidHeapAttributeNumber`).
const LOWEST_COLUMN: i32 = 7;

/// A compiled filter. What it is made of goes with the memory context it was compiled in.
#[derive(Debug)]
pub struct RowFilter {
    state: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
    slot: *mut pg_sys::TupleTableSlot,
}

impl RowFilter {
    /// Compiles a filter of the table, or of one with columns of the same names, in `memory`.
    pub fn compile(table: &OpenTable, filter: &[u8], memory: pg_sys::MemoryContext) -> Self {
        let text = terminated(filter);
        // SAFETY: everything is made in `memory`, which the caller keeps; the table is open.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(memory);
            let planned = pg_sys::expression_planner(parse(table, &text).cast());
            let state = pg_sys::ExecInitExpr(planned, null_mut());
            let context = pg_sys::CreateStandaloneExprContext();
            let descriptor = pg_sys::CreateTupleDescCopy((*table.raw()).rd_att);
            let slot =
                pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual);
            (*context).ecxt_scantuple = slot;
            pg_sys::MemoryContextSwitchTo(outer);
            Self { state, context, slot }
        }
    }

    /// Whether the row is in; NULL is not. `values` are all columns of the table.
    pub fn holds(&self, values: &[Datum], nulls: &[bool]) -> bool {
        // SAFETY: the slot has room for as many columns as the table has, which the values are; they
        // outlive the call. What the filter allocates goes with the reset.
        unsafe {
            let slot = &mut *self.slot;
            let natts = usize::try_from((*slot.tts_tupleDescriptor).natts).unwrap_or(0);
            assert_eq!(values.len(), natts, "columns of a filtered row");
            std::ptr::copy_nonoverlapping(values.as_ptr(), slot.tts_values, natts);
            std::ptr::copy_nonoverlapping(nulls.as_ptr(), slot.tts_isnull, natts);
            pg_sys::ExecClearTuple(slot);
            pg_sys::ExecStoreVirtualTuple(slot);
            let mut is_null = false;
            let value = pg_sys::ExecEvalExprSwitchContext(self.state, self.context, &mut is_null);
            let holds = !is_null && value.value() != 0;
            pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory);
            holds
        }
    }
}

/// The filter with every name in full, if it can be one: an error says what it may not be.
/// It may read the columns of these numbers.
pub fn checked(table: &OpenTable, filter: &str, readable: &[usize]) -> String {
    let text = type_io::utf8_to_server(filter.as_bytes(), terminated);
    // SAFETY: the table is open; what is made lives in the caller's context.
    unsafe {
        let parsed = parse(table, &text);
        if pg_sys::checkExprHasSubLink(parsed) {
            refuse(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, "has a subquery");
        }
        let planned = pg_sys::expression_planner(parsed.cast());
        // Also what planning would dissolve: its definition may be another tomorrow.
        if pg_sys::contain_mutable_functions(parsed)
            || pg_sys::contain_mutable_functions(planned.cast())
        {
            refuse(PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION, "uses what is not immutable");
        }
        if reads_system_columns(parsed) {
            refuse(PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE, "reads a system column");
        }
        if reads_others(parsed, (*(*table.raw()).rd_att).natts, readable) {
            refuse(
                PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE,
                "reads a column that does not travel, whose changes nobody tells of",
            );
        }
        // What is not the server's own is to be shown with its schema.
        let scope = SettingScope::enter();
        scope.set("search_path", "pg_catalog, pg_temp");
        let name = (*(*table.raw()).rd_rel).relname.data.as_ptr();
        let names = pg_sys::deparse_context_for(name, table.oid());
        let shown = CStr::from_ptr(pg_sys::deparse_expression(parsed, names, false, false));
        let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        type_io::server_to_utf8(shown.to_bytes(), utf8)
    }
}

fn refuse(code: PgSqlErrorCode, reason: &str) -> ! {
    Failure::new(code, format!("the row filter {reason}"))
        .hint(
            "Use the row's own columns, and functions that are immutable: whether a row is in must \
                hang on the row alone.",
        )
        .raise()
}

fn terminated(text: &[u8]) -> CString {
    CString::new(text).unwrap_or_else(|_| corrupted("a row filter holds a zero byte").raise())
}

/// Analyses a condition over the table's columns.
///
/// # Safety
/// The table is open. The result lives in the current memory context.
unsafe fn parse(table: &OpenTable, text: &CStr) -> *mut pg_sys::Node {
    // SAFETY: the parser gives a list of one raw statement, a SELECT in this mode; its parts are
    // null where they were not written. Names are looked up in the open table alone.
    unsafe {
        let mode = pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR;
        let statements = pg_sys::raw_parser(text.as_ptr(), mode);
        let raw: *mut pg_sys::RawStmt = (*(*statements).elements).ptr_value.cast();
        let select: *mut pg_sys::SelectStmt = (*raw).stmt.cast();
        let target = sole_target(&*select);
        let state = pg_sys::make_parsestate(null_mut());
        (*state).p_sourcetext = text.as_ptr();
        let lock = pg_sys::AccessShareLock as i32;
        let item = pg_sys::addRangeTableEntryForRelation(
            state,
            table.raw(),
            lock,
            null_mut(),
            false,
            true,
        );
        pg_sys::addNSItemToQuery(state, item, false, true, true);
        let kind = pg_sys::ParseExprKind::EXPR_KIND_WHERE;
        let parsed = pg_sys::transformExpr(state, target, kind);
        let parsed = pg_sys::coerce_to_boolean(state, parsed, c"row filter".as_ptr());
        pg_sys::assign_expr_collations(state, parsed);
        pg_sys::free_parsestate(state);
        parsed
    }
}

/// # Safety
/// A statement that the parser made.
unsafe fn sole_target(select: &pg_sys::SelectStmt) -> *mut pg_sys::Node {
    let is_bare = select.fromClause.is_null()
        && select.whereClause.is_null()
        && select.groupClause.is_null()
        && select.havingClause.is_null()
        && select.windowClause.is_null()
        && select.valuesLists.is_null()
        && select.sortClause.is_null()
        && select.limitOffset.is_null()
        && select.limitCount.is_null()
        && select.lockingClause.is_null()
        && select.distinctClause.is_null()
        && select.withClause.is_null()
        && select.intoClause.is_null()
        && select.op == pg_sys::SetOperation::SETOP_NONE
        && !select.targetList.is_null();
    // SAFETY: the list's cells are targets.
    let target: Option<&pg_sys::ResTarget> = unsafe {
        (is_bare && (*select.targetList).length == 1)
            .then(|| &*(*(*select.targetList).elements).ptr_value.cast::<pg_sys::ResTarget>())
    };
    match target.filter(|target| target.name.is_null() && target.indirection.is_null()) {
        Some(target) => target.val,
        None => Failure::new(
            PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
            "the row filter is not one condition",
        )
        .hint("Give what would stand behind WHERE, for example: region = 'north'.")
        .raise(),
    }
}

/// Whether any but the readable columns is read; a row as a whole has all.
///
/// # Safety
/// An analysed expression over one table of so many columns.
unsafe fn reads_others(parsed: *mut pg_sys::Node, natts: i32, readable: &[usize]) -> bool {
    // SAFETY: as in `reads_system_columns`.
    unsafe {
        let mut columns = null_mut();
        pg_sys::pull_varattnos(parsed, 1, &mut columns);
        let is_readable = |number: i32| readable.contains(&(number as usize));
        (0..=natts).any(|number| {
            !is_readable(number) && pg_sys::bms_is_member(number + LOWEST_COLUMN, columns)
        })
    }
}

/// # Safety
/// An analysed expression over one table.
unsafe fn reads_system_columns(parsed: *mut pg_sys::Node) -> bool {
    // SAFETY: fills a set of numbers, each shifted so that none is negative.
    unsafe {
        let mut columns = null_mut();
        pg_sys::pull_varattnos(parsed, 1, &mut columns);
        (0..LOWEST_COLUMN).any(|place| pg_sys::bms_is_member(place, columns))
    }
}
