//! Foreign keys, checks and triggers at the target.

mod foreign_keys;
mod held;
mod options;
mod triggers;
