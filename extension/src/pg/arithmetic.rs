//! Sums in a column's own type, by the operators that the type brings along.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::{CStr, CString};

use crate::error::Failure;
use crate::pg::type_io;
use crate::value::ColumnCodec;

/// `value + (new - old)` of wire forms, NULL counting as zero.
pub fn counted(
    codec: &ColumnCodec,
    type_oid: Oid,
    value: Option<&[u8]>,
    (new, old): (Option<&[u8]>, Option<&[u8]>),
) -> Option<Vec<u8>> {
    // SAFETY: what the codec decodes are values of the type, and so is what its operators give.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        let decode = |bytes: Option<&[u8]>| bytes.map(|bytes| codec.decode(bytes));
        let call = |name, a, b| pg_sys::OidFunctionCall2Coll(function(name, base), NONE, a, b);
        let difference = match (decode(new), decode(old)) {
            (Some(new), Some(old)) => Some(call(c"-", new, old)),
            (Some(new), None) => Some(new),
            // Nothing is a type's zero but what is left when a value is taken from itself.
            (None, Some(old)) => Some(call(c"-", call(c"-", old, old), old)),
            (None, None) => None,
        };
        let sum: Datum = match (decode(value), difference) {
            (Some(value), Some(difference)) => call(c"+", value, difference),
            (one, other) => one.or(other)?,
        };
        let mut bytes = Vec::new();
        codec.encode(sum, &mut bytes);
        Some(bytes)
    }
}

const NONE: Oid = Oid::INVALID;

/// The function of the operator of this name which stands in the type's own schema, takes two
/// values of the type and gives one.
fn function(name: &CStr, type_oid: Oid) -> Oid {
    let schema = type_io::type_facts(type_oid)
        .and_then(|facts| type_io::schema_name(facts.namespace))
        .and_then(|schema| CString::new(schema).ok())
        .unwrap_or_default();
    // SAFETY: the list's strings live through the look-up; the rest are look-ups by number.
    unsafe {
        let mut names = std::ptr::null_mut();
        for part in [schema.as_ptr(), name.as_ptr()] {
            names = pg_sys::lappend(names, pg_sys::makeString(part.cast_mut()).cast());
        }
        let operator = pg_sys::OpernameGetOprid(names, type_oid, type_oid);
        if operator != NONE && pg_sys::get_func_rettype(pg_sys::get_opcode(operator)) == type_oid {
            return pg_sys::get_opcode(operator);
        }
    }
    let type_name = type_io::type_name(type_oid).unwrap_or_default();
    let operator = name.to_string_lossy();
    Failure::new(
        PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
        format!("type {type_name} has no operator \"{operator}\" by which counters are added"),
    )
    .hint(
        "Take the column off the counters: syncjournal.alter_tracking(relation, counters => ...).",
    )
    .raise()
}
