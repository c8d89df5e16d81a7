//! A set on its way without a connection between the ends.

mod file;

pub(crate) use file::{SetReader, SetWriter};
