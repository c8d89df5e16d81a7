//! A row of a table in hand, to be read.

use super::catalog::Attribute;
use super::trigger::ColumnAccess;
use super::{type_io, varlena};
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CStr;

/// The values of a row that is pinned elsewhere; columns count from 1.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    values: &'a [Datum],
    nulls: &'a [bool],
}

/// How to compare and print one column.
#[derive(Clone, Copy, Debug)]
pub struct ViewedColumn {
    number: usize,
    length: i16,
    by_value: bool,
    output: Oid,
}

impl ViewedColumn {
    pub fn of(attribute: &Attribute) -> Self {
        let (mut output, mut is_varlena) = (Oid::INVALID, false);
        // SAFETY: valid out-pointers; the type of a column exists.
        unsafe { pg_sys::getTypeOutputInfo(attribute.type_oid, &mut output, &mut is_varlena) };
        let Attribute { number, length, by_value, .. } = *attribute;
        Self { number, length, by_value, output }
    }
}

impl<'a> RowView<'a> {
    /// # Safety
    /// The values must be those of a whole row, and stay valid as long as the view.
    pub unsafe fn new(values: &'a [Datum], nulls: &'a [bool]) -> Self {
        Self { values, nulls }
    }

    fn datum(&self, number: usize) -> Option<Datum> {
        (!self.nulls[number - 1]).then(|| self.values[number - 1])
    }

    /// The raw values and null flags, by column number less one.
    pub fn columns(&self) -> (&'a [Datum], &'a [bool]) {
        (self.values, self.nulls)
    }

    /// The value of a uuid column.
    pub fn uuid(&self, number: usize) -> Option<[u8; 16]> {
        // SAFETY: callers name columns of type uuid: 16 bytes by reference.
        self.datum(number).map(|datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
    }

    /// Whether a column's value is the same in both rows, which are of one table.
    pub fn is_same(&self, other: &RowView<'_>, column: &ViewedColumn) -> bool {
        match (self.datum(column.number), other.datum(column.number)) {
            (None, None) => true,
            // SAFETY: both are values of the column that `column` describes.
            (Some(a), Some(b)) => unsafe {
                varlena::datum_image_eq(a, b, column.length, column.by_value)
            },
            _ => false,
        }
    }

    /// The column's value as text, none where it is null.
    pub fn text(&self, column: &ViewedColumn) -> Option<String> {
        let datum = self.datum(column.number)?;
        // SAFETY: the function is that of the column's type, and gives a palloc'd string.
        let text = unsafe { CStr::from_ptr(pg_sys::OidOutputFunctionCall(column.output, datum)) };
        let to_utf8 = |utf8: &[u8]| String::from_utf8_lossy(utf8).into_owned();
        Some(type_io::server_to_utf8(text.to_bytes(), to_utf8))
    }

    /// Appends the column's payload; false where it is NULL.
    pub fn encode(&self, column: &ColumnAccess, out: &mut Vec<u8>) -> bool {
        if let Some(reference) = &column.reference {
            return reference.encode_settled(self.columns(), out);
        }
        let Some(datum) = self.datum(column.number) else { return false };
        // SAFETY: the codec was made for the type of this very column.
        unsafe { column.codec.encode(datum, out) };
        true
    }
}
