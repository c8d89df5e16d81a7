//! What a peer has of each table, by its lists and its slices.

use std::collections::HashMap;

use syncjournal_core::slice::{Audience, SliceId};

use crate::pg::query::{self, Arg, View};

/// The slices that are named for a peer.
#[derive(Debug, Default)]
pub struct Audiences {
    by_relation: HashMap<i32, Audience>,
}

impl Audiences {
    /// The slices of these names, joined by character 1.
    pub fn of(names: &str) -> Self {
        let sql = "select s.relation_id, s.slice_id, s.on_leave = 'keep', not s.allow_sync \
            from syncjournal.slice s \
            where s.slice_name = any (pg_catalog.string_to_array($1, E'\\x01')) \
            order by s.slice_id";
        let mut by_relation: HashMap<i32, Audience> = HashMap::new();
        query::run(View::Statement, sql, &[Arg::Text(names)], |row| {
            let (Some(relation_id), Some(slice)) = (row.int4(1), row.int4(2)) else { return };
            let none =
                Audience::Slices { slices: Vec::new(), locked: Vec::new(), keep: Vec::new() };
            let audience = by_relation.entry(relation_id).or_insert(none);
            if let Audience::Slices { slices, locked, keep } = audience {
                let slice = slice as SliceId;
                slices.push(slice);
                keep.extend(row.bool(3).unwrap_or(false).then_some(slice));
                locked.extend(row.bool(4).unwrap_or(false).then_some(slice));
            }
        });
        Self { by_relation }
    }

    /// What the peer has of a relation by slices; none where it has it by its lists, or not.
    pub fn by_slices(&self, relation_id: i32) -> Option<&Audience> {
        self.by_relation.get(&relation_id)
    }
}
