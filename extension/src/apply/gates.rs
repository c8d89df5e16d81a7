//! What the gates hold back: operations that a peer may not do here, pushes that go backward, and
//! peers that have switched this database off.

use std::collections::BTreeMap;

use pgrx::PgSqlErrorCode;
use syncjournal_core::operations::Restriction;
use syncjournal_core::wire::Header;
use syncjournal_core::{DecodeError, Operation, RowId, Version};

use super::set_error;
use crate::error::Failure;
use crate::pg::query::{self, Arg, Row, View};

/// Entries of one table that are not permitted, by operation.
#[derive(Debug, Default)]
pub struct Refused(BTreeMap<&'static str, (i64, RowId, Version)>);

impl Refused {
    pub fn add(&mut self, operation: Operation, row: RowId, version: Version) {
        let word = match operation {
            Operation::Insert => "insert",
            Operation::Update | Operation::State => "update",
            Operation::Delete | Operation::Leave => "delete",
            Operation::Truncate => "truncate",
        };
        let (entries, last_row, last) = self.0.entry(word).or_insert((0, row, version));
        (*entries, *last_row, *last) = (*entries + 1, row, version);
    }

    /// Writes down what there is, for view `not_permitted`.
    pub fn record(&mut self, peer_id: i16, relation_id: i32) {
        for (operation, (entries, row, version)) in std::mem::take(&mut self.0) {
            query::execute(
                "insert into syncjournal.refused_operation as r (peer_id, relation_id, operation, \
                    entries, last_row_id, last_version, last_at) \
                values ($1, $2, $3, $4, $5, $6, pg_catalog.now()) \
                on conflict (peer_id, relation_id, operation) do update set \
                    entries = r.entries + excluded.entries, \
                    last_row_id = excluded.last_row_id, last_version = excluded.last_version, \
                    last_at = excluded.last_at",
                &[
                    Arg::Int2(peer_id),
                    Arg::Int4(relation_id),
                    Arg::Text(operation),
                    Arg::Int8(entries),
                    Arg::Uuid(row.0),
                    Arg::Uuid(version.to_bytes()),
                ],
            );
        }
    }
}

/// Restrictions as SQL gives them.
pub fn restrictions(texts: Vec<String>) -> Vec<Restriction> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Refuses what comes from a higher rank, unless it was asked for.
pub fn check_rank(header: &Header, allow_backward: bool) {
    let Some(rank) = header.terms.rank else { return };
    let sql = "select k.rank from syncjournal.local_node join syncjournal.known_node k \
        using (node_id)";
    let here = query::first(View::Newest, sql, &[], |row: &Row| row.int4(1)).flatten();
    let Some(here) = here.filter(|here| rank > *here && !allow_backward) else { return };
    let name = &header.source.name;
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("a push from node \"{name}\" to this one would go backward"),
    )
    .detail(format!("Node \"{name}\" has rank {rank}, this one has {here}."))
    .hint(
        "Push from lower to higher ranks, or ask for it: syncjournal.apply(data, \
            allow_backward => true), in an agent's link allow_backward = true.",
    )
    .raise()
}

/// Notes the rank that a source says of itself.
pub fn remember_rank(header: &Header) {
    let Some(rank) = header.terms.rank else { return };
    query::execute(
        "update syncjournal.known_node set rank = $2 \
        where node_id = $1 and rank is distinct from $2",
        &[Arg::Uuid(*header.source.node_id.as_bytes()), Arg::Int4(rank)],
    );
}

/// The source has switched this database off: its peer here goes off, too.
///
/// Such a set leads nowhere: one that brought rows would be taken for applied.
pub fn switch_off(header: &Header, peer_id: i16) {
    if header.entries > 0 || header.from != header.to {
        set_error::raise(&DecodeError::Invalid("a set of a source that is off").into());
    }
    query::execute("select syncjournal.switch_off_as_source($1)", &[Arg::Int2(peer_id)]);
}
