//! What a part says of itself before its frames.

use uuid::Uuid;

use crate::decode::{DecodeError, Reader, put_string, put_varint};
use crate::layout::RelationLayout;
use crate::limits;
use crate::snapshot::Snapshot;

use super::Terms;

/// How a set came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// A window of the journal.
    Changes = 1,
    /// The present state of everything the peer may have.
    Full = 2,
    /// A batch of the live stream.
    Stream = 3,
}

impl Mode {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Full => "full",
            Self::Stream => "stream",
        }
    }
}

/// The database a set comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    pub node_id: Uuid,
    pub name: String,
    /// The tag in the versions that this node writes.
    pub tag: u32,
    /// Of the Postgres cluster: a copy of the database has another.
    pub system_identifier: u64,
}

/// The header of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub set_id: Uuid,
    /// Counted from 1.
    pub part: u32,
    /// 0 where the number is not known beforehand (a stream).
    pub parts: u32,
    pub mode: Mode,
    pub source: NodeInfo,
    /// The peer's name at the source, and its node id where the source knows it.
    pub destination: String,
    pub destination_id: Option<Uuid>,
    /// The set takes a node that is at `from` to `to`.
    pub from: Snapshot,
    pub to: Snapshot,
    /// What the source itself has received from the destination: how far sets that went the other
    /// way have arrived. `None` where that is nothing, or somebody else sees to it.
    pub received: Option<Snapshot>,
    /// Patterns of what was selected.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    /// Microseconds since the Unix epoch.
    pub created_at: u64,
    /// The first transaction began in the part before.
    pub resumes: bool,
    /// The last transaction runs on into the next part.
    pub continues: bool,
    /// On which terms the source deals with the destination.
    pub terms: Terms,
    /// The layouts of this part's frames; frames name them by their place here.
    pub layouts: Vec<RelationLayout>,
    /// Of this part.
    pub transactions: u64,
    pub frames: u64,
    pub entries: u64,
}

impl Header {
    /// The format in which it is written: the oldest that can say it.
    pub(super) fn format(&self) -> u16 {
        if self.terms.is_empty() { 1 } else { 2 }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(self.set_id.as_bytes());
        put_varint(&mut out, self.part.into());
        put_varint(&mut out, self.parts.into());
        out.push(self.mode as u8);
        out.extend_from_slice(self.source.node_id.as_bytes());
        put_string(&mut out, &self.source.name);
        put_varint(&mut out, self.source.tag.into());
        put_varint(&mut out, self.source.system_identifier);
        put_string(&mut out, &self.destination);
        // The nil uuid stands for a peer that has not been met.
        out.extend_from_slice(self.destination_id.unwrap_or_default().as_bytes());
        put_string(&mut out, &self.from.to_string());
        put_string(&mut out, &self.to.to_string());
        let received = self.received.as_ref().map(ToString::to_string);
        put_string(&mut out, received.as_deref().unwrap_or_default());
        for list in [&self.include, &self.exclude] {
            put_varint(&mut out, list.len() as u64);
            list.iter().for_each(|text| put_string(&mut out, text));
        }
        put_varint(&mut out, self.created_at);
        out.push(u8::from(self.resumes) | u8::from(self.continues) << 1);
        put_varint(&mut out, self.layouts.len() as u64);
        for layout in &self.layouts {
            let definition = layout.encode();
            put_varint(&mut out, definition.len() as u64);
            out.extend_from_slice(&definition);
        }
        for count in [self.transactions, self.frames, self.entries] {
            put_varint(&mut out, count);
        }
        if self.format() > 1 {
            self.terms.encode(&mut out);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8], format: u16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        let header = Self {
            set_id: Uuid::from_bytes(reader.array("set id")?),
            part: number(reader, "part")?,
            parts: number(reader, "number of parts")?,
            mode: match reader.u8("mode")? {
                1 => Mode::Changes,
                2 => Mode::Full,
                3 => Mode::Stream,
                _ => return Err(DecodeError::Invalid("mode")),
            },
            source: NodeInfo {
                node_id: Uuid::from_bytes(reader.array("node id")?),
                name: name(reader, "node name")?,
                tag: number(reader, "node tag")?,
                system_identifier: reader.varint("system identifier")?,
            },
            destination: name(reader, "peer name")?,
            destination_id: Some(Uuid::from_bytes(reader.array("node id")?))
                .filter(|id| !id.is_nil()),
            from: snapshot(reader)?,
            to: snapshot(reader)?,
            received: optional_snapshot(reader)?,
            include: patterns(reader)?,
            exclude: patterns(reader)?,
            created_at: reader.varint("time")?,
            resumes: false,
            continues: false,
            terms: Terms::default(),
            layouts: Vec::new(),
            transactions: 0,
            frames: 0,
            entries: 0,
        };
        header.decode_rest(reader, format)
    }

    fn decode_rest(mut self, reader: &mut Reader<'_>, format: u16) -> Result<Self, DecodeError> {
        let flags = reader.u8("flags")?;
        if flags > 3 {
            return Err(DecodeError::Invalid("flags"));
        }
        (self.resumes, self.continues) = (flags & 1 != 0, flags & 2 != 0);
        for _ in 0..reader.bounded(limits::MAX_LIST, "number of relations")? {
            let length = reader.bounded(limits::HEADER_MAX_BYTES, "length of a layout")?;
            self.layouts.push(RelationLayout::decode(reader.bytes(length, "layout")?)?);
        }
        self.transactions = reader.varint("number of transactions")?;
        self.frames = reader.varint("number of frames")?;
        self.entries = reader.varint("number of entries")?;
        if format > 1 {
            self.terms = Terms::decode(reader)?;
        }
        if !reader.is_empty() || self.part == 0 || (self.parts > 0 && self.part > self.parts) {
            return Err(DecodeError::Invalid("header"));
        }
        Ok(self)
    }
}

fn number(reader: &mut Reader<'_>, what: &'static str) -> Result<u32, DecodeError> {
    u32::try_from(reader.varint(what)?).map_err(|_| DecodeError::Invalid(what))
}

fn name(reader: &mut Reader<'_>, what: &'static str) -> Result<String, DecodeError> {
    reader.string(limits::MAX_NAME_BYTES, what).map(str::to_owned)
}

fn snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, DecodeError> {
    optional_snapshot(reader)?.ok_or(DecodeError::Invalid("snapshot"))
}

/// The empty text stands for none.
fn optional_snapshot(reader: &mut Reader<'_>) -> Result<Option<Snapshot>, DecodeError> {
    match reader.string(limits::HEADER_MAX_BYTES, "snapshot")? {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| DecodeError::Invalid("snapshot")),
    }
}

fn patterns(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let count = reader.bounded(limits::MAX_LIST, "number of patterns")?;
    (0..count).map(|_| name(reader, "pattern")).collect()
}
