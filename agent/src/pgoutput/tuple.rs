//! A row as pgoutput sends it.

use super::reader::Reader;
use crate::error::{Error, Result};
use bytes::Bytes;

/// One column's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    /// A TOASTed value that the row's change left alone.
    Unchanged,
    Text(Bytes),
    Binary(Bytes),
}

/// The row's values in the relation's column order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tuple(pub(crate) Vec<Cell>);

impl Tuple {
    pub(super) fn read(reader: &mut Reader) -> Result<Self> {
        let count = reader.u16()?;
        // Each cell costs a byte at least: no more room is made than bytes have come.
        let mut cells = Vec::new();
        for _ in 0..count {
            cells.push(match reader.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => Cell::Text(sized(reader)?),
                b'b' => Cell::Binary(sized(reader)?),
                _ => return Err(Error::protocol("pgoutput: unknown kind of value")),
            });
        }
        Ok(Self(cells))
    }
}

fn sized(reader: &mut Reader) -> Result<Bytes> {
    let length = reader.u32()?;
    reader.bytes(usize::try_from(length).unwrap_or(usize::MAX))
}
