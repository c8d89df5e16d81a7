//! Values between rows and the wire.
//!
//! A column's values travel in one form: the type's send form, or its output text in UTF-8
//! (`format_for` says which, and the layout carries it). Common types are copied here without a
//! call of their I/O functions; all others go through cached look-ups.
//!
//! Callers: `capture` (encode), `prep_sync` (encode), `apply` and the readers of the journal
//! (decode). Invariant: the caller holds `PortableSettings` while it decodes, and while it encodes
//! a column that `needs_settings`.

mod codec;
mod format;
mod settings;

pub use codec::ColumnCodec;
pub use format::{format_for, resolve_type, type_identity};
pub use settings::PortableSettings;
