//! The syncjournal Postgres extension.
pgrx::pg_module_magic!();

mod error;
mod guc;
mod identity;
mod journal;
mod layout;
mod node;
mod pg;
mod selection;
mod track_lock;
mod value;
