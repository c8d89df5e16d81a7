//! Nodes and their doubles: sequences that take turns, and copies of a database.

mod copies;
mod sequences;
