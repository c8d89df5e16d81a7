//! `syncjournal-agent`.
fn main() {}
