//! What becomes of rows that only the destination has when a full set is brought.

use super::file::{LinkTable, OnExtraWord};
use crate::error::{Error, Result};

/// More than half of a table goes only by explicit wish: an empty source looks like that.
const DEFAULT_MILLIONTHS: u32 = 500_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnExtra {
    Keep,
    Report,
    Delete,
}

/// What a link says of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) action: OnExtra,
    /// So many rows go at most, over all tables.
    pub(crate) max_rows: Option<u64>,
    /// Such a part of a table goes at most.
    pub(crate) most_millionths: u32,
}

impl Extra {
    pub(super) fn of(table: &LinkTable) -> Result<Option<Self>> {
        let limited = table.max_delete_rows.is_some() || table.max_delete_fraction.is_some();
        if limited && !matches!(table.on_extra, Some(OnExtraWord::Delete)) {
            return Err(Error::config("a limit of deletes goes with on_extra = \"delete\" only")
                .hint("Leave max_delete_rows and max_delete_fraction out."));
        }
        let Some(word) = table.on_extra else { return Ok(None) };
        let action = match word {
            OnExtraWord::Keep => OnExtra::Keep,
            OnExtraWord::Report => OnExtra::Report,
            OnExtraWord::Delete => OnExtra::Delete,
        };
        let most_millionths = match table.max_delete_fraction {
            None => DEFAULT_MILLIONTHS,
            Some(fraction) if (0.0..=1.0).contains(&fraction) => (fraction * 1e6).round() as u32,
            Some(_) => {
                return Err(Error::config("max_delete_fraction is out of range")
                    .hint("Give a number from 0.0 to 1.0, such as 0.1 for a tenth of a table."));
            }
        };
        Ok(Some(Self { action, max_rows: table.max_delete_rows, most_millionths }))
    }
}
