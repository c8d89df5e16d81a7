//! Values as SQL's `to_jsonb` shows them.

use std::ffi::CStr;
use std::ptr::null_mut;

use pgrx::pg_sys::{self, Oid};

use crate::pg::type_io;
use crate::value::ColumnCodec;

/// `to_jsonb` for values of one type.
#[derive(Debug)]
pub struct ToJson {
    function: *mut pg_sys::FmgrInfo,
}

impl ToJson {
    /// What the look-up keeps lives in `context`, which must outlive this value.
    pub fn new(type_oid: Oid, context: pg_sys::MemoryContext) -> Self {
        // SAFETY: `to_jsonb` learns its argument's type from the call's expression, which is made
        // of nodes in `context`, as the parser would make it.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(context);
            let function = pg_sys::palloc0(size_of::<pg_sys::FmgrInfo>()).cast();
            pg_sys::fmgr_info_cxt(Oid::from(pg_sys::F_TO_JSONB), function, context);
            let argument = pg_sys::makeNullConst(type_oid, -1, Oid::INVALID);
            let call = pg_sys::makeFuncExpr(
                Oid::from(pg_sys::F_TO_JSONB),
                pg_sys::JSONBOID,
                pg_sys::lappend(null_mut(), argument.cast()),
                Oid::INVALID,
                Oid::INVALID,
                pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
            );
            (*function).fn_expr = call.cast();
            pg_sys::MemoryContextSwitchTo(outer);
            Self { function }
        }
    }

    /// The JSON text of a value that travelled. The codec must be of the same type.
    pub fn render(&self, codec: &ColumnCodec, bytes: &[u8]) -> String {
        // SAFETY: what the codec gives is a value of the type. The result is a jsonb value of one container, which its header precedes; the
        // text is palloc'd and NUL-terminated.
        unsafe {
            let datum = codec.decode(bytes);
            let made = pg_sys::FunctionCall1Coll(self.function, Oid::INVALID, datum);
            let made: *mut pg_sys::Jsonb = made.cast_mut_ptr();
            let size = pgrx::varsize_any(made.cast()) as i32;
            let text = pg_sys::JsonbToCString(null_mut(), &raw mut (*made).root, size);
            let bytes = CStr::from_ptr(text).to_bytes();
            type_io::server_to_utf8(bytes, |utf8| String::from_utf8_lossy(utf8).into_owned())
        }
    }
}
