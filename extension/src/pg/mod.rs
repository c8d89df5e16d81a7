//! The wrappers of Postgres's C functions: whatever needs `unsafe` to talk to the server.

pub mod backtrace;
pub mod catalog;
pub mod invalidation;
pub mod json;
pub mod lock;
pub mod memory;
pub mod open_table;
pub mod random;
pub mod role;
pub mod routing;
pub mod row_writer;
pub mod setting;
pub mod sql;
pub mod table;
pub mod transaction;
pub mod trigger;
pub mod triggers;
pub mod type_io;
pub mod varlena;
