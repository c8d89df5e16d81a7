//! Rows of a target that a push would meet.

use serde::Serialize;

/// A row that was changed at the target, and that the source has not got.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RowAhead {
    pub(crate) relation: String,
    pub(crate) row_id: String,
    pub(crate) operation: String,
    pub(crate) changed_at: String,
    /// Where it was changed.
    pub(crate) node: Option<String>,
    /// What the source sends replaces it; the log of conflicts will have it.
    pub(crate) would_overwrite: bool,
}
