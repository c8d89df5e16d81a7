//! What is wrong with bytes that should be a part of a sync set.

use pgrx::PgSqlErrorCode;
use syncjournal_core::wire::SetError;

use crate::error::Failure;

/// Raises the Postgres error for it.
pub fn raise(error: &SetError) -> ! {
    let (code, hint) = match error {
        SetError::NotASet => (
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "Give one part, whole, as syncjournal.prep_sync() made it.",
        ),
        SetError::NewerFormat { .. } => (
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "Update the extension here first: alter extension syncjournal update.",
        ),
        SetError::Checksum | SetError::Damaged(_) | SetError::Body(_) => (
            PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            "Bring the file again from where it was made, or make a new set.",
        ),
    };
    Failure::new(code, error.to_string()).hint(hint).raise()
}
