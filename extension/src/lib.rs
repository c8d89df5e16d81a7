//! The syncjournal Postgres extension.
pgrx::pg_module_magic!();

mod identity;
mod pg;
mod selection;
mod track_lock;
mod value;
