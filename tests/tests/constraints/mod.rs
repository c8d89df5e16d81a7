//! Foreign keys, checks and triggers at the target.

mod options;
mod triggers;
