//! The wrappers of Postgres's C functions: whatever needs `unsafe` to talk to the server.

pub mod open_table;
pub mod routing;
pub mod row_writer;
pub mod setting;
pub mod triggers;
pub mod type_io;
pub mod varlena;
