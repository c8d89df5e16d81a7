//! The pure core of syncjournal.
#![forbid(unsafe_code)]
