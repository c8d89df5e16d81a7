//! The frames of a row of the journal table, as the stream brings it.

use crate::error::{Error, Result};
use crate::pgoutput::{Cell, Relation, Tuple};
use bytes::Bytes;
use syncjournal_core::Version;
use syncjournal_core::bundle::{self, Member};

/// A frame with what the journal says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalRow {
    pub(crate) frame: Version,
    pub(crate) xid: u64,
    pub(crate) lsn: u64,
    pub(crate) layout: i32,
    /// The peer it came from; 0: written at the source.
    pub(crate) origin: i16,
    pub(crate) entries: u64,
    pub(crate) data: Bytes,
    /// Whom it is for, see `syncjournal_core::slice`; empty for a table without slices.
    pub(crate) reach: Bytes,
}

/// Where the journal's columns stand in a tuple; learned from pgoutput's relation message.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalColumns {
    relation_id: u32,
    frame: usize,
    xid: usize,
    lsn: usize,
    layout: usize,
    origin: usize,
    entries: usize,
    data: usize,
    reach: usize,
    bundled: usize,
}

impl JournalColumns {
    /// None for any other table that somebody has added to the publication.
    pub(super) fn of(relation: &Relation) -> Result<Option<Self>> {
        if relation.schema != "syncjournal" || relation.name != "journal" {
            return Ok(None);
        }
        let place = |name: &str| {
            relation.columns.iter().position(|column| column == name).ok_or_else(|| {
                Error::protocol(format!("the source's journal has no column \"{name}\""))
                    .hint("Both ends need versions of the extension that this agent knows.")
            })
        };
        Ok(Some(Self {
            relation_id: relation.relation_id,
            frame: place("frame")?,
            xid: place("xid")?,
            lsn: place("lsn")?,
            layout: place("layout")?,
            origin: place("origin")?,
            entries: place("entries")?,
            data: place("data")?,
            reach: place("reach")?,
            bundled: place("bundled")?,
        }))
    }

    pub(super) fn is_of(&self, relation_id: u32) -> bool {
        self.relation_id == relation_id
    }

    /// The frames of a row, of which there is one at least.
    pub(super) fn read(&self, tuple: &Tuple) -> Result<Vec<JournalRow>> {
        let cell = |place: usize| match tuple.0.get(place) {
            Some(Cell::Binary(bytes)) => Ok(bytes),
            _ => Err(Error::protocol("a journal row lacks a value or is not in binary form")),
        };
        let first = JournalRow {
            frame: Version::from_bytes(array(cell(self.frame)?)?),
            xid: u64::from_be_bytes(array(cell(self.xid)?)?),
            lsn: u64::from_be_bytes(array(cell(self.lsn)?)?),
            layout: i32::from_be_bytes(array(cell(self.layout)?)?),
            origin: i16::from_be_bytes(array(cell(self.origin)?)?),
            entries: u64::try_from(i32::from_be_bytes(array(cell(self.entries)?)?))
                .map_err(|_| Error::protocol("a journal row has a negative number of entries"))?,
            data: cell(self.data)?.clone(),
            reach: cell(self.reach)?.clone(),
        };
        with_bundled(first, cell(self.bundled)?)
    }
}

/// The row's first frame, and those that stand behind it.
fn with_bundled(first: JournalRow, bundled: &Bytes) -> Result<Vec<JournalRow>> {
    let mut frames = vec![first];
    for member in bundle::members(frames[0].frame, bundled) {
        let Member { id, layout_id, entries, data } =
            member.map_err(|error| Error::protocol(format!("a journal row: {error}")))?;
        let entries = u64::from(entries);
        let first = &mut frames[0];
        first.entries = first.entries.saturating_sub(entries);
        let data = bundled.slice_ref(data);
        let frame = JournalRow { frame: id, layout: layout_id, entries, data, ..first.clone() };
        frames.push(frame);
    }
    Ok(frames)
}

fn array<const N: usize>(bytes: &Bytes) -> Result<[u8; N]> {
    bytes[..]
        .try_into()
        .map_err(|_| Error::protocol("a journal row has a value of unexpected length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(columns: &[&str]) -> Relation {
        Relation {
            relation_id: 5,
            schema: "syncjournal".into(),
            name: "journal".into(),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn columns_are_found_by_name() {
        let names = [
            "data", "entries", "origin", "layout", "segment", "lsn", "xid", "reach", "bundled",
            "frame",
        ];
        let columns = JournalColumns::of(&relation(&names)).unwrap().unwrap();
        let cell = |bytes: &[u8]| Cell::Binary(Bytes::copy_from_slice(bytes));
        let first = Version::from_bytes([7; 16]);
        let id = first.with_index(first.index() + 9);
        let member = Member { id, layout_id: 6, entries: 2, data: b"uv" };
        let mut bundled = Vec::new();
        bundle::put(&mut bundled, first, &member);
        let tuple = Tuple(vec![
            cell(b"xyz"),
            cell(&3_i32.to_be_bytes()),
            cell(&0_i16.to_be_bytes()),
            cell(&4_i32.to_be_bytes()),
            cell(&1_i32.to_be_bytes()),
            cell(&8_u64.to_be_bytes()),
            cell(&9_u64.to_be_bytes()),
            cell(b""),
            cell(&bundled),
            cell(&first.to_bytes()),
        ]);
        let frames = columns.read(&tuple).unwrap();
        let told = |row: &JournalRow| (row.frame, row.xid, row.lsn, row.layout, row.entries);
        assert_eq!(
            frames.iter().map(told).collect::<Vec<_>>(),
            [(first, 9, 8, 4, 1), (member.id, 9, 8, 6, 2)]
        );
        assert_eq!((&frames[0].data[..], &frames[1].data[..]), (&b"xyz"[..], &b"uv"[..]));
        let short = Tuple(tuple.0[..5].to_vec());
        assert!(columns.read(&short).is_err());
    }

    #[test]
    fn other_tables_are_none_of_ours() {
        let mut other = relation(&[]);
        other.name = "tombstone".into();
        assert!(JournalColumns::of(&other).unwrap().is_none());
        assert!(JournalColumns::of(&relation(&["frame"])).is_err());
    }
}
