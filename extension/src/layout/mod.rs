//! What frames know of relations: which columns they carry, under which number.
//!
//! ```text
//! relation  --describe-->  RelationLayout  --register-->  layout_id in relation_layout
//!    |                                                        |
//!  tracked(relid): how the trigger reads a row         by_id(layout_id): how a frame is read
//! ```
//!
//! Layouts are known by content and never change, so a layout found is good for ever, except where
//! the transaction that registered it rolls back. What is known of a relation is dropped when
//! Postgres says that the relation changed; the callback only leaves a note, which is read at the
//! next look-up.

mod describe;
mod stored;
mod tracked;

pub use stored::{StoredLayout, by_id, register};
pub use tracked::{Tracked, missing_identity, owner_of, table_of, tracked};

use crate::apply::source;
use crate::pg::invalidation::{self, Stale};
use crate::{journal, node};

/// Drops what is out of date by now.
pub fn refresh() {
    match invalidation::take() {
        Stale::Nothing => return,
        Stale::Everything => {
            tracked::forget_all();
            node::forget(None);
            source::forget(None);
        }
        Stale::Relations(relations) => {
            for relation in relations {
                tracked::forget(relation);
                node::forget(Some(relation));
                source::forget(Some(relation));
            }
        }
    }
    stored::forget_all();
    journal::forget();
}

/// A savepoint was rolled back: layouts that it may have registered are not there. Whether there
/// may have been any.
pub fn rolled_back() -> bool {
    let has_registered = stored::has_registered();
    if has_registered {
        tracked::forget_all();
        stored::forget_all();
    }
    has_registered
}

/// The transaction has ended, maybe by being prepared: then what it registered is not there yet.
pub fn transaction_over() {
    rolled_back();
    stored::end_transaction();
}
