//! A conflict as it is logged.

use crate::merge::Winner;
use crate::merge::history::{Change, RowState, Write};
use crate::version::Version;

/// Two sides changed the row without knowing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub kind: ConflictKind,
    /// Where the two parted; nil: before the row's first write; `None`: not in the journal.
    pub base: Option<Version>,
    pub local: Version,
    pub remote: Version,
    pub settled: Settled,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Winner(Winner),
    Merged,
    /// A person has to say.
    Pending,
}

/// Postgres's own names, of the conflicts that a row has with its own history. Those with other
/// rows (`update_exists`, `multiple_unique_conflicts`) are found by the constraints, not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConflictKind {
    InsertExists,
    UpdateOriginDiffers,
    UpdateDeleted,
    DeleteOriginDiffers,
    DeleteMissing,
}

impl ConflictKind {
    pub(super) fn of(local: &RowState, entry: &Write) -> Self {
        match (&entry.change, local.alive) {
            (Change::Insert(_), true) => Self::InsertExists,
            (Change::Update(_), true) => Self::UpdateOriginDiffers,
            (Change::Insert(_) | Change::Update(_), false) => Self::UpdateDeleted,
            (Change::Delete(_), true) => Self::DeleteOriginDiffers,
            (Change::Delete(_), false) => Self::DeleteMissing,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InsertExists => "insert_exists",
            Self::UpdateOriginDiffers => "update_origin_differs",
            Self::UpdateDeleted => "update_deleted",
            Self::DeleteOriginDiffers => "delete_origin_differs",
            Self::DeleteMissing => "delete_missing",
        }
    }
}
