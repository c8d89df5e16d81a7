//! What is done to the rows.

pub(crate) mod flows;
pub(crate) mod pgbench;
pub(crate) mod rows;
