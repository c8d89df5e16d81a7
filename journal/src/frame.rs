//! The frame: the entries that one transaction made on one relation, as the journal stores them.
//!
//! ```text
//! frame  = format (1 byte: 1, or 2 where others hold more entries under this id) entry*
//! entry  = head index row [prev] [merged] [version] count value*
//! head   = operation (3 bits) | has prev (8) | has merged (16) | has version (32)
//! index  = varint, twice the number of indexes that are left out before this one
//! value  = 0 for NULL | varint (length + 1) bytes
//! update = count (column old-value new-value)*, column as the distance from the one before
//! ```
//!
//! A frame's id is the version of its first entry. Indexes ascend and may have holes: those of
//! rows that a savepoint took back, or that a trigger suppressed. An entry's version is the frame's
//! prefix with the entry's index, so it need not be stored.

use crate::decode::{DecodeError, Reader, put_varint};
use crate::entry::{Entry, Operation, RowId, Values};
use crate::limits;
use crate::version::Version;

const FORMAT: u8 = 1;
/// A frame that was cut for a peer: the same id may stand elsewhere for more entries.
const PIECE: u8 = 2;
const OPERATION_BITS: u8 = 0b0000_0111;
const HAS_PREV: u8 = 8;
const HAS_MERGED: u8 = 16;
const HAS_VERSION: u8 = 32;

/// What stands before an entry's values.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The entry's index in the frame.
    pub index: u16,
    pub operation: Operation,
    pub row: RowId,
    /// Nil where there is none.
    pub prev: Version,
    /// Nil where there is none.
    pub merged: Version,
    /// The version that a state or a leave names; `None` for every other operation.
    pub state: Option<Version>,
}

impl Head {
    /// An ordinary entry: one parent or none.
    #[must_use]
    pub const fn new(index: u16, operation: Operation, row: RowId, prev: Version) -> Self {
        Self { index, operation, row, prev, merged: Version::NIL, state: None }
    }
}

/// Writes a frame entry by entry.
#[derive(Debug, Default)]
pub struct FrameWriter {
    bytes: Vec<u8>,
    entries: u32,
    first: u16,
    next_index: u32,
    is_piece: bool,
}

impl FrameWriter {
    /// Writes some of another frame's entries, under their own indexes.
    #[must_use]
    pub fn piece() -> Self {
        Self { is_piece: true, ..Self::default() }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Entries written so far.
    #[must_use]
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Begins an insert, delete, state or truncate with `columns` values to follow.
    pub fn row(&mut self, head: &Head, columns: usize) -> ValueWriter<'_> {
        self.head(head, columns);
        ValueWriter::new(&mut self.bytes)
    }

    /// Begins an update with `changed` columns to follow.
    pub fn update(&mut self, head: &Head, changed: usize) -> ChangeWriter<'_> {
        self.head(head, changed);
        ChangeWriter::new(&mut self.bytes)
    }

    /// An entry whose values were written elsewhere, by a [`ValueWriter`] or [`ChangeWriter`].
    pub fn encoded(&mut self, head: &Head, count: usize, values: &[u8]) {
        self.head(head, count);
        self.bytes.extend_from_slice(values);
    }

    fn head(&mut self, head: &Head, count: usize) {
        let index = u32::from(head.index);
        if self.entries == 0 {
            self.bytes.push(if self.is_piece { PIECE } else { FORMAT });
            self.first = head.index;
            self.next_index = index;
        }
        let hole = index.checked_sub(self.next_index).expect("entries come in order of index");
        self.entries += 1;
        self.next_index = index + 1;

        let flag = |bit, on| if on { bit } else { 0 };
        self.bytes.push(
            head.operation as u8
                | flag(HAS_PREV, !head.prev.is_nil())
                | flag(HAS_MERGED, !head.merged.is_nil())
                | flag(HAS_VERSION, head.state.is_some()),
        );
        put_varint(&mut self.bytes, u64::from(hole) * 2);
        self.bytes.extend_from_slice(&head.row.0);
        for parent in [head.prev, head.merged] {
            if !parent.is_nil() {
                self.bytes.extend_from_slice(&parent.to_bytes());
            }
        }
        if let Some(version) = head.state {
            self.bytes.extend_from_slice(&version.to_bytes());
        }
        put_varint(&mut self.bytes, count as u64);
    }

    /// The finished frame: its id (given any version of the frame) and its bytes; the writer is
    /// empty afterwards.
    pub fn finish(&mut self, prefix: Version) -> (Version, Vec<u8>) {
        let whole = std::mem::take(self);
        (prefix.with_index(whole.first), whole.bytes)
    }
}

/// Writes the values of a row, in the layout's order.
#[derive(Debug)]
pub struct ValueWriter<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> ValueWriter<'a> {
    /// Appends to `bytes`, which [`FrameWriter::encoded`] takes later.
    pub fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes }
    }

    pub fn null(&mut self) {
        self.bytes.push(0);
    }

    /// A value whose bytes `write` appends.
    pub fn value_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.begin();
        write(self.bytes)?;
        self.close(start);
        Ok(())
    }

    /// A value whose bytes `write` appends, or NULL where it says that there is none.
    pub fn value_or_null(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let start = self.begin();
        if write(self.bytes) {
            self.close(start);
        } else {
            self.bytes.truncate(start + 1);
        }
    }

    /// One byte of length serves all values below 127 bytes; a longer one is moved up.
    fn begin(&mut self) -> usize {
        self.bytes.push(0);
        self.bytes.len() - 1
    }

    fn close(&mut self, start: usize) {
        let length = (self.bytes.len() - start) as u64;
        if length < 0x80 {
            self.bytes[start] = length as u8;
            return;
        }
        let mut prefix = Vec::with_capacity(10);
        put_varint(&mut prefix, length);
        self.bytes.splice(start..=start, prefix);
    }

    pub fn value(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.null(),
            Some(value) => {
                put_varint(self.bytes, value.len() as u64 + 1);
                self.bytes.extend_from_slice(value);
            }
        }
    }
}

/// Writes the changed columns of an update, in ascending order.
#[derive(Debug)]
pub struct ChangeWriter<'a> {
    values: ValueWriter<'a>,
    next_column: usize,
}

impl<'a> ChangeWriter<'a> {
    /// As [`ValueWriter::new`].
    pub fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { values: ValueWriter::new(bytes), next_column: 0 }
    }

    /// Begins a changed column: the old value and then the new one must follow.
    pub fn column(&mut self, number: usize) -> &mut ValueWriter<'a> {
        debug_assert!(number >= self.next_column, "columns ascend");
        put_varint(self.values.bytes, (number - self.next_column) as u64);
        self.next_column = number + 1;
        &mut self.values
    }
}

/// Whether the frame was cut: the same id may stand elsewhere for more entries.
#[must_use]
pub fn is_piece(bytes: &[u8]) -> bool {
    bytes.first() == Some(&PIECE)
}

/// The entries of a frame, in ascending order of index.
///
/// Each item is checked as it comes: well-formed, indexes ascending, parents older than the entry.
/// The iterator ends after the first error.
#[must_use]
pub fn entries(id: Version, bytes: &[u8]) -> Entries<'_> {
    Entries { walk: Walk::new(id, bytes), least: u32::from(id.index()), first: true }
}

/// See [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    walk: Walk<'a>,
    least: u32,
    first: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let checked = match self.walk.next_entry()? {
            Ok(entry) => self.check(entry),
            Err(error) => Err(error),
        };
        if checked.is_err() {
            self.walk.reader = Reader::new(&[]);
            self.walk.started = true;
        }
        Some(checked)
    }
}

impl<'a> Entries<'a> {
    fn check(&mut self, entry: Entry<'a>) -> Result<Entry<'a>, DecodeError> {
        let index = u32::from(entry.index);
        if index < self.least || (self.first && index != self.least) {
            return Err(DecodeError::Invalid("order of the entries in a frame"));
        }
        self.least = index + 1;
        self.first = false;
        let own = self.walk.id.with_index(entry.index);
        if entry.prev >= own || entry.merged >= own {
            return Err(DecodeError::Invalid("parent of an entry: it is not older"));
        }
        Ok(entry)
    }
}

/// Decodes entries one after another, without the checks that span entries.
#[derive(Clone, Debug)]
struct Walk<'a> {
    id: Version,
    reader: Reader<'a>,
    started: bool,
    next_index: u32,
}

impl<'a> Walk<'a> {
    fn new(id: Version, bytes: &'a [u8]) -> Self {
        let next_index = u32::from(id.index());
        Self { id, reader: Reader::new(bytes), started: false, next_index }
    }

    fn next_entry(&mut self) -> Option<Result<Entry<'a>, DecodeError>> {
        if !self.started {
            self.started = true;
            match self.reader.u8("frame") {
                Ok(FORMAT | PIECE) if !self.reader.is_empty() => {}
                Ok(FORMAT | PIECE) => return Some(Err(DecodeError::Truncated("frame"))),
                Ok(_) => return Some(Err(DecodeError::Invalid("format of the frame"))),
                Err(error) => return Some(Err(error)),
            }
        }
        (!self.reader.is_empty()).then(|| self.entry())
    }

    fn entry(&mut self) -> Result<Entry<'a>, DecodeError> {
        let reader = &mut self.reader;
        let head = reader.u8("entry")?;
        if head & !(OPERATION_BITS | HAS_PREV | HAS_MERGED | HAS_VERSION) != 0 {
            return Err(DecodeError::Invalid("flags of an entry"));
        }
        let operation = Operation::from_code(head & OPERATION_BITS)?;
        if (head & HAS_VERSION != 0) != operation.names_version() {
            return Err(DecodeError::Invalid("flags of an entry"));
        }
        let twice = reader.bounded(2 * limits::FRAME_MAX_ENTRIES, "index of an entry")?;
        let index = u16::try_from(self.next_index as usize + twice / 2)
            .ok()
            .filter(|_| twice % 2 == 0)
            .ok_or(DecodeError::Invalid("index of an entry"))?;
        self.next_index = u32::from(index) + 1;
        let row = RowId(reader.array("row id")?);
        let mut parent = |bit| match head & bit {
            0 => Ok(Version::NIL),
            _ => reader.array("version").map(Version::from_bytes),
        };
        let prev = parent(HAS_PREV)?;
        let merged = parent(HAS_MERGED)?;
        let version = match operation {
            Operation::State | Operation::Leave => parent(HAS_VERSION)?,
            _ => self.id.with_index(index),
        };
        let count = reader.bounded(limits::MAX_COLUMNS, "number of columns")?;
        let values = match operation {
            Operation::Update => Values::take_changes(reader, count)?,
            // Nothing, or what the node had seen: see `merge::TruncateSummary`.
            Operation::Truncate if count != 0 && count != 2 => {
                return Err(DecodeError::Invalid("number of columns"));
            }
            Operation::Leave if count > 1 => {
                return Err(DecodeError::Invalid("number of columns"));
            }
            _ => Values::take(reader, count)?,
        };
        Ok(Entry { version, index, operation, row, prev, merged, values })
    }
}
