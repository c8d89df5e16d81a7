//! Nodes and their doubles: sequences that take turns, copies of a database, and one that was restored.

mod copies;
mod restored;
mod sequences;
