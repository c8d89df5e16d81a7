//! The syncjournal Postgres extension.
pgrx::pg_module_magic!();

mod apply;
mod capture;
mod digest;
mod error;
mod guc;
mod identity;
mod journal;
mod layout;
mod mixer;
mod node;
mod pg;
mod prep_sync;
mod selection;
mod slice;
mod track_lock;
mod value;

use pgrx::prelude::*;

/// Runs once, when Postgres loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::backtrace::mute();
    guc::register();
    pg::invalidation::listen();
    capture::register();
    apply::register();
}
