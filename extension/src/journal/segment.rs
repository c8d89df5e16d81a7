//! The segments of the journal: its partitions `journal_N`, newest first.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use pgrx::pg_sys::Oid;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use crate::error::{Failure, not_installed};
use crate::layout;
use crate::pg::catalog;

/// One partition of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub number: i32,
    pub relid: Oid,
}

const NAME_PREFIX: &str = "journal_";

thread_local! {
    static SEGMENTS: ManuallyDrop<RefCell<Option<Vec<Segment>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// All segments, newest first.
pub fn all() -> Vec<Segment> {
    layout::refresh();
    if let Some(known) = SEGMENTS.with(|segments| segments.borrow().clone()) {
        return known;
    }
    let found = read();
    SEGMENTS.with(|segments| segments.replace(Some(found.clone())));
    found
}

/// Whether these are all, still.
pub fn are_all(segments: &[Segment]) -> bool {
    layout::refresh();
    SEGMENTS.with(|known| known.borrow().as_deref() == Some(segments))
}

/// The segment that is written to.
pub fn newest() -> Segment {
    layout::refresh();
    let known = SEGMENTS.with(|segments| segments.borrow().as_ref()?.first().copied());
    known.or_else(|| all().first().copied()).unwrap_or_else(|| {
        Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the journal has no segment to write to",
        )
        .hint("Name the database first: select syncjournal.create_node('name').")
        .raise()
    })
}

fn read() -> Vec<Segment> {
    let journal = catalog::own_relation(c"journal").unwrap_or_else(|| not_installed().raise());
    let segment = |(relid, name): (Oid, String)| {
        let number = name.strip_prefix(NAME_PREFIX)?.parse().ok()?;
        Some(Segment { number, relid })
    };
    let mut segments: Vec<_> = catalog::children(journal).into_iter().filter_map(segment).collect();
    segments.sort_by_key(|segment| std::cmp::Reverse(segment.number));
    segments
}

/// Segments came or went.
pub fn forget() {
    SEGMENTS.with(|segments| segments.replace(None));
}
