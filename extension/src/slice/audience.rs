//! What a peer has of each table, by its lists and its slices.

use std::borrow::Cow;
use std::collections::HashMap;

use syncjournal_core::slice::{Audience, Lock, SliceId};

use crate::error::corrupted;
use crate::pg::query::{self, Arg, View};

/// The slices that are named for a peer.
#[derive(Debug, Default)]
pub struct Audiences {
    by_relation: HashMap<i32, Audience>,
    locks: Vec<Lock>,
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
        let locks = if by_relation.is_empty() { Vec::new() } else { locks(names) };
        Self { by_relation, locks }
    }

    /// What of it was open to what a transaction wrote at a place of the WAL.
    pub fn at<'a>(&self, audience: &'a Audience, written: (u64, u64)) -> Cow<'a, Audience> {
        audience.at(&self.locks, written)
    }

    /// What the peer has of a relation by slices; none where it has it by its lists, or not.
    pub fn by_slices(&self, relation_id: i32) -> Option<&Audience> {
        self.by_relation.get(&relation_id)
    }
}

/// When the slices of these names were locked, as far as a peer may lack entries of that time.
fn locks(names: &str) -> Vec<Lock> {
    let sql = "select l from syncjournal.slice_locks(pg_catalog.string_to_array($1, E'\\x01')) l";
    let mut found = Vec::new();
    query::run(View::Statement, sql, &[Arg::Text(names)], |row| {
        found.extend(row.text(1));
    });
    let read = |text: &String| {
        text.parse().unwrap_or_else(|error| corrupted(format_args!("\"{text}\": {error}")).raise())
    };
    found.iter().map(read).collect()
}
