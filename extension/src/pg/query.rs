//! SQL on the extension's own tables, for what is not a hot path: plans are kept for the
//! backend's life, rows are handed to a closure while they are there.
//!
//! Statements are fixed texts that name the schema of everything, so no search path matters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::mem::ManuallyDrop;

use pgrx::pg_sys::{self, Datum, Oid};

use super::varlena;
use crate::value::ColumnCodec;

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Bool(bool),
    Uuid([u8; 16]),
    Text(&'a str),
    /// NULL of type uuid.
    NoUuid,
    /// NULL of type text; whatever else may be NULL comes as text and is cast.
    NoText,
}

/// Under which snapshot a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// The caller's: nothing that the calling statement does not see.
    Statement,
    /// A new one, which sees all that is committed by now and all of this transaction.
    Newest,
}

/// A row in hand; columns count from 1.
#[derive(Debug)]
pub struct Row {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
}

/// Runs a statement and hands each row to `each`; returns how many rows it had or touched.
pub fn run(view: View, sql: &'static str, args: &[Arg<'_>], mut each: impl FnMut(&Row)) -> u64 {
    // SAFETY: connect and finish are paired (an error closes the connection by itself); values
    // live through the call, and rows are looked at before the connection is finished.
    unsafe {
        pg_sys::SPI_connect();
        let plan = plan(sql, args);
        let (mut values, nulls) = bind(args);
        let read_only = view == View::Statement;
        let outcome =
            pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0);
        assert!(outcome >= 0, "statement failed with SPI code {outcome}: {sql}");
        let count = pg_sys::SPI_processed;
        each_row(&mut each);
        pg_sys::SPI_finish();
        count
    }
}

/// Runs a statement for what it does.
pub fn execute(sql: &'static str, args: &[Arg<'_>]) -> u64 {
    run(View::Newest, sql, args, |_| ())
}

/// The first row's answer, if there is a row.
pub fn first<R>(
    view: View,
    sql: &'static str,
    args: &[Arg<'_>],
    mut read: impl FnMut(&Row) -> R,
) -> Option<R> {
    let mut answer = None;
    run(view, sql, args, |row| {
        if answer.is_none() {
            answer = Some(read(row));
        }
    });
    answer
}

/// The first row's answer to a statement that is made for the case; its plan is not kept.
pub fn once<R>(sql: &str, args: &[Arg<'_>], mut read: impl FnMut(&Row) -> R) -> Option<R> {
    let mut types: Vec<Oid> = args.iter().map(Arg::type_oid).collect();
    let text = CString::new(sql).expect("statement without NUL");
    let (mut values, nulls) = bind(args);
    let mut answer = None;
    // SAFETY: as in `run`.
    unsafe {
        pg_sys::SPI_connect();
        let outcome = pg_sys::SPI_execute_with_args(
            text.as_ptr(),
            types.len() as i32,
            types.as_mut_ptr(),
            values.as_mut_ptr(),
            nulls.as_ptr(),
            false,
            1,
        );
        assert!(outcome >= 0, "statement failed with SPI code {outcome}: {sql}");
        each_row(&mut |row| answer = Some(read(row)));
        pg_sys::SPI_finish();
    }
    answer
}

/// A query that is read piece by piece, under the snapshot of the statement that opened it. It
/// ends with the transaction at the latest.
#[derive(Debug)]
pub struct Cursor {
    name: CString,
}

impl Cursor {
    pub fn open(sql: &'static str, args: &[Arg<'_>]) -> Self {
        // SAFETY: as in `run`; the portal outlives the connection and is found by its name.
        unsafe {
            pg_sys::SPI_connect();
            let plan = plan(sql, args);
            let (mut values, nulls) = bind(args);
            let (name, values) = (std::ptr::null(), values.as_mut_ptr());
            let portal = pg_sys::SPI_cursor_open(name, plan, values, nulls.as_ptr(), true);
            let name = std::ffi::CStr::from_ptr((*portal).name).to_owned();
            pg_sys::SPI_finish();
            Self { name }
        }
    }

    /// Reads up to `count` rows; fewer mean that there are no more.
    pub fn fetch(&mut self, count: i64, mut each: impl FnMut(&Row)) -> u64 {
        // SAFETY: as in `run`.
        unsafe {
            pg_sys::SPI_connect();
            let portal = pg_sys::SPI_cursor_find(self.name.as_ptr());
            assert!(!portal.is_null(), "cursor is gone");
            pg_sys::SPI_cursor_fetch(portal, true, count);
            let fetched = pg_sys::SPI_processed;
            each_row(&mut each);
            pg_sys::SPI_finish();
            fetched
        }
    }

    pub fn close(self) {
        // SAFETY: the name leads to the portal, or to nothing.
        unsafe {
            let portal = pg_sys::SPI_cursor_find(self.name.as_ptr());
            if !portal.is_null() {
                pg_sys::SPI_cursor_close(portal);
            }
        }
    }
}

impl Row {
    /// The value of a column, NULL as `None`.
    fn get(&self, column: i32) -> Option<Datum> {
        let mut is_null = true;
        // SAFETY: the row is valid while it is lent; a column out of range gives NULL.
        let datum =
            unsafe { pg_sys::SPI_getbinval(self.tuple, self.descriptor, column, &mut is_null) };
        (!is_null).then_some(datum)
    }

    pub fn int2(&self, column: i32) -> Option<i16> {
        self.get(column).map(|datum| datum.value() as i16)
    }

    pub fn int4(&self, column: i32) -> Option<i32> {
        self.get(column).map(|datum| datum.value() as i32)
    }

    pub fn oid(&self, column: i32) -> Option<Oid> {
        self.get(column).map(|datum| Oid::from(datum.value() as u32))
    }

    /// Also xid8 and pg_lsn.
    pub fn int8(&self, column: i32) -> Option<i64> {
        self.get(column).map(|datum| datum.value() as i64)
    }

    pub fn bool(&self, column: i32) -> Option<bool> {
        self.get(column).map(|datum| datum.value() != 0)
    }

    pub fn uuid(&self, column: i32) -> Option<[u8; 16]> {
        // SAFETY: statements give a uuid here.
        self.get(column).map(|datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
    }

    pub fn bytes<R>(&self, column: i32, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        // SAFETY: statements give bytea or text here.
        self.get(column).map(|datum| unsafe { varlena::with_bytes(datum, read) })
    }

    /// The wire form of a value of the codec's type.
    pub fn payload(&self, column: i32, codec: &ColumnCodec) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        // SAFETY: statements give a value of the codec's type here.
        self.get(column).map(|datum| unsafe { codec.encode(datum, &mut payload) })?;
        Some(payload)
    }

    /// Text as UTF-8.
    pub fn text(&self, column: i32) -> Option<String> {
        let to_utf8 = |bytes: &[u8]| {
            super::type_io::server_to_utf8(bytes, |utf8| String::from_utf8_lossy(utf8).into_owned())
        };
        self.bytes(column, to_utf8)
    }
}

/// # Safety
/// A statement must just have been run on the open connection.
pub(super) unsafe fn each_row(each: &mut impl FnMut(&Row)) {
    // SAFETY: the result belongs to the open connection; a statement in `each` may replace the
    // global, not the result.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return;
        }
        let rows = std::slice::from_raw_parts((*table).vals, (*table).numvals as usize);
        for &tuple in rows {
            each(&Row { tuple, descriptor: (*table).tupdesc });
        }
        pg_sys::SPI_freetuptable(table);
    }
}

thread_local! {
    static PLANS: ManuallyDrop<RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>>> =
        ManuallyDrop::new(RefCell::new(HashMap::new()));
}

/// The kept plan of a statement.
///
/// # Safety
/// A connection must be open.
unsafe fn plan(sql: &'static str, args: &[Arg<'_>]) -> pg_sys::SPIPlanPtr {
    if let Some(plan) = PLANS.with(|plans| plans.borrow().get(sql).copied()) {
        return plan;
    }
    let mut types: Vec<Oid> = args.iter().map(Arg::type_oid).collect();
    let text = CString::new(sql).expect("statement without NUL");
    // SAFETY: text and types live through the call.
    unsafe {
        let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
        assert!(!plan.is_null(), "statement cannot be prepared: {sql}");
        pg_sys::SPI_keepplan(plan);
        PLANS.with(|plans| plans.borrow_mut().insert(sql, plan));
        plan
    }
}

/// Values and null flags as SPI wants them.
pub(super) fn bind(args: &[Arg<'_>]) -> (Vec<Datum>, Vec<std::ffi::c_char>) {
    let values = args.iter().map(Arg::datum).collect();
    let null = |arg: &Arg<'_>| matches!(arg, Arg::NoUuid | Arg::NoText);
    let nulls = args.iter().map(|arg| if null(arg) { b'n' } else { b' ' } as _).collect();
    (values, nulls)
}

impl Arg<'_> {
    fn type_oid(&self) -> Oid {
        match self {
            Arg::Int2(_) => pg_sys::INT2OID,
            Arg::Int4(_) => pg_sys::INT4OID,
            Arg::Int8(_) => pg_sys::INT8OID,
            Arg::Bool(_) => pg_sys::BOOLOID,
            Arg::Uuid(_) | Arg::NoUuid => pg_sys::UUIDOID,
            Arg::Text(_) | Arg::NoText => pg_sys::TEXTOID,
        }
    }

    fn datum(&self) -> Datum {
        match self {
            Arg::Int2(value) => Datum::from(*value),
            Arg::Int4(value) => Datum::from(*value),
            Arg::Int8(value) => Datum::from(*value),
            Arg::Bool(value) => Datum::from(*value),
            Arg::Uuid(bytes) => varlena::make_fixed(bytes),
            Arg::Text(text) => {
                super::type_io::utf8_to_server(text.as_bytes(), varlena::make_varlena)
            }
            Arg::NoUuid | Arg::NoText => Datum::from(0),
        }
    }
}
