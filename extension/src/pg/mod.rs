//! The wrappers of Postgres's C functions: whatever needs `unsafe` to talk to the server.

pub mod setting;
pub mod type_io;
pub mod varlena;
