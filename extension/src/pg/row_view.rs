//! A row of a table in hand, to be read.

use super::trigger::ColumnAccess;
use pgrx::pg_sys::Datum;

/// The values of a row that is pinned elsewhere; columns count from 1.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    values: &'a [Datum],
    nulls: &'a [bool],
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

    /// Appends the column's payload; false where it is NULL.
    pub fn encode(&self, column: &ColumnAccess, out: &mut Vec<u8>) -> bool {
        let Some(datum) = self.datum(column.number) else { return false };
        // SAFETY: the codec was made for the type of this very column.
        unsafe { column.codec.encode(datum, out) };
        true
    }
}
