//! The syncjournal Postgres extension.
pgrx::pg_module_magic!();

mod pg;
mod value;
