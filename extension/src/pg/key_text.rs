//! A column's value as its cast to text gives it, without SQL: what `track` hashes by SQL and the
//! trigger by this must be the same text.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use super::trigger::Row;
use super::{type_io, varlena};

/// How one column becomes text.
#[derive(Debug)]
pub struct KeyText {
    /// From 1.
    number: usize,
    cast: Cast,
    /// Whether the session's settings could show in it.
    pub needs_settings: bool,
}

#[derive(Debug)]
enum Cast {
    /// It is text by another name.
    Same,
    /// A cast's function, and how many arguments it takes.
    Function(Oid, i32),
    /// The type's output function.
    Output(Oid),
}

impl KeyText {
    pub fn new(number: usize, type_oid: Oid) -> Self {
        // SAFETY: catalogue look-ups by id; what they fill in is ours.
        let (base, cast) = unsafe {
            let base = pg_sys::getBaseType(type_oid);
            let mut function = Oid::INVALID;
            let explicit = pg_sys::CoercionContext::COERCION_EXPLICIT;
            let path =
                pg_sys::find_coercion_pathway(pg_sys::TEXTOID, base, explicit, &mut function);
            let cast = match path {
                _ if base == pg_sys::TEXTOID => Cast::Same,
                pg_sys::CoercionPathType::COERCION_PATH_RELABELTYPE => Cast::Same,
                pg_sys::CoercionPathType::COERCION_PATH_FUNC if function != Oid::INVALID => {
                    Cast::Function(function, pg_sys::get_func_nargs(function))
                }
                _ => {
                    let (mut output, mut is_varlena) = (Oid::INVALID, false);
                    pg_sys::getTypeOutputInfo(base, &mut output, &mut is_varlena);
                    Cast::Output(output)
                }
            };
            (base, cast)
        };
        const SETTLED: [Oid; 7] = [
            pg_sys::INT2OID,
            pg_sys::INT4OID,
            pg_sys::INT8OID,
            pg_sys::BPCHAROID,
            pg_sys::BOOLOID,
            pg_sys::UUIDOID,
            pg_sys::NUMERICOID,
        ];
        let needs_settings = !matches!(cast, Cast::Same) && !SETTLED.contains(&base);
        Self { number, cast, needs_settings }
    }

    /// Appends the text of the row's value as UTF-8; false where it is null.
    pub fn append(&self, row: &Row<'_>, out: &mut Vec<u8>) -> bool {
        let Some(value) = row.datum(self.number) else { return false };
        let mut take = |bytes: &[u8]| {
            type_io::server_to_utf8(bytes, |utf8| out.extend_from_slice(utf8));
        };
        // SAFETY: the value is of the column's type, for which the function was looked up; text is
        // a varlena, and an output function gives a NUL-terminated string.
        unsafe {
            match self.cast {
                Cast::Same => varlena::with_bytes(value, take),
                Cast::Function(function, arguments) => {
                    varlena::with_bytes(cast(function, arguments, value), take);
                }
                Cast::Output(function) => {
                    let text = pg_sys::OidOutputFunctionCall(function, value);
                    take(CStr::from_ptr(text).to_bytes());
                    pg_sys::pfree(text.cast());
                }
            }
        }
        true
    }
}

/// # Safety
/// The function must be a cast that takes so many arguments, the first of the value's type.
unsafe fn cast(function: Oid, arguments: i32, value: Datum) -> Datum {
    let collation = pg_sys::DEFAULT_COLLATION_OID;
    let (no_typmod, explicit) = (Datum::from(-1_i32), Datum::from(true));
    // SAFETY: see above; the second argument of a cast is the type modifier, the third a flag.
    unsafe {
        match arguments {
            1 => pg_sys::OidFunctionCall1Coll(function, collation, value),
            2 => pg_sys::OidFunctionCall2Coll(function, collation, value, no_typmod),
            _ => pg_sys::OidFunctionCall3Coll(function, collation, value, no_typmod, explicit),
        }
    }
}
