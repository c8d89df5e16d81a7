//! What was measured, and how it is shown: [`Book`] collects, the others print.

pub(crate) mod book;
pub(crate) mod curve;
pub(crate) mod json;
pub(crate) mod plot;
pub(crate) mod spread;
pub(crate) mod svg;
pub(crate) mod table;

pub(crate) use book::{Book, Metric};
