//! Reading a part. It comes from outside: nothing is believed before it is checked, and memory
//! grows only with bytes that are really there.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use thiserror::Error;

use crate::decode::{DecodeError, Reader};
use crate::limits;
use crate::version::Version;

use super::{CHECKSUM_LEN, FIXED_LEN, FLAG_ZSTD, FORMAT_VERSION, Header, MAGIC};
use super::{TAG_BEGIN, TAG_END, TAG_FRAME};

/// Why bytes are not a part of a sync set.
#[derive(Debug, Error)]
pub enum SetError {
    #[error("this is not a sync set")]
    NotASet,
    #[error("the sync set has format {found}, newer than the {supported} that is known here")]
    NewerFormat { found: u16, supported: u16 },
    #[error("the sync set is damaged: its checksum does not match")]
    Checksum,
    #[error("the sync set is damaged: {0}")]
    Damaged(#[from] DecodeError),
    #[error("the sync set is damaged: its body cannot be read: {0}")]
    Body(#[from] io::Error),
}

/// A part whose lengths, checksum and header have been checked.
#[derive(Clone, Debug)]
pub struct SetPart<'a> {
    pub header: Header,
    stored: &'a [u8],
    compressed: bool,
    body_len: u64,
}

impl<'a> SetPart<'a> {
    /// # Errors
    /// [`SetError`]; a newer format is told apart from damage.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SetError> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>("sync set").map_err(|_| SetError::NotASet)? != MAGIC {
            return Err(SetError::NotASet);
        }
        let found = u16::from_le_bytes(reader.array("format")?);
        if found > FORMAT_VERSION {
            return Err(SetError::NewerFormat { found, supported: FORMAT_VERSION });
        }
        let flags = u16::from_le_bytes(reader.array("flags")?);
        let header_len = u32::from_le_bytes(reader.array("length of the header")?) as usize;
        let body_len = u64::from_le_bytes(reader.array("length of the body")?);
        let stored_len = u64::from_le_bytes(reader.array("length of the body")?);
        let covered = (reader.rest().len() as u64).checked_sub(CHECKSUM_LEN as u64);
        if covered != (header_len as u64).checked_add(stored_len) {
            return Err(DecodeError::Truncated("the sync set").into());
        }
        let (covered, checksum) = bytes.split_at(bytes.len() - CHECKSUM_LEN);
        if xxhash_rust::xxh3::xxh3_128(covered).to_be_bytes() != checksum {
            return Err(SetError::Checksum);
        }
        if found == 0 || flags & !FLAG_ZSTD != 0 || header_len > limits::HEADER_MAX_BYTES {
            return Err(DecodeError::Invalid("sync set").into());
        }
        let header = Header::decode(&covered[FIXED_LEN..FIXED_LEN + header_len], found)?;
        let stored = &covered[FIXED_LEN + header_len..];
        Ok(Self { header, stored, compressed: flags & FLAG_ZSTD != 0, body_len })
    }

    /// The transactions and frames, one after another.
    ///
    /// # Errors
    /// [`SetError::Body`] where the body is not what its header says.
    pub fn records(&self) -> Result<Records<'a>, SetError> {
        let input: Box<dyn BufRead + 'a> = if self.compressed {
            let mut plain = zstd::stream::read::Decoder::with_buffer(self.stored)?;
            plain.window_log_max(limits::ZSTD_WINDOW_LOG_MAX)?;
            Box::new(BufReader::with_capacity(1 << 17, plain))
        } else {
            Box::new(self.stored)
        };
        Ok(Records {
            input: input.take(self.body_len),
            frame: Vec::new(),
            relations: self.header.layouts.len() as u64,
            left: Counts {
                transactions: self.header.transactions,
                frames: self.header.frames,
                entries: self.header.entries,
            },
            in_transaction: false,
        })
    }
}

/// One step through a part's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Begin {
        xid: u64,
        lsn: u64,
    },
    Frame {
        /// Place of the layout in the header.
        layout: usize,
        id: Version,
        entries: u64,
        bytes: &'a [u8],
    },
    End,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    transactions: u64,
    frames: u64,
    entries: u64,
}

/// Lends one record at a time; see [`SetPart::records`].
pub struct Records<'a> {
    input: io::Take<Box<dyn BufRead + 'a>>,
    frame: Vec<u8>,
    relations: u64,
    left: Counts,
    in_transaction: bool,
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Records<'_> {
    /// The next record; `None` after the last, once counts and length have proved right.
    ///
    /// # Errors
    /// [`SetError`]; nothing that was lent before is thereby wrong, but the part as a whole is.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, SetError> {
        let Some(tag) = self.tag()? else { return Ok(None) };
        match tag {
            TAG_BEGIN if !self.in_transaction => {
                self.in_transaction = true;
                count_down(&mut self.left.transactions, 1)?;
                Ok(Some(Record::Begin { xid: self.varint()?, lsn: self.varint()? }))
            }
            TAG_FRAME if self.in_transaction => self.read_frame().map(Some),
            TAG_END if self.in_transaction => {
                self.in_transaction = false;
                Ok(Some(Record::End))
            }
            _ => Err(DecodeError::Invalid("order of the records").into()),
        }
    }

    fn read_frame(&mut self) -> Result<Record<'_>, SetError> {
        let layout = self.varint()?;
        let entries = self.varint()?;
        let mut id = [0; 16];
        self.input.read_exact(&mut id)?;
        let length = self.varint()?;
        if layout >= self.relations || entries == 0 {
            return Err(DecodeError::Invalid("head of a frame").into());
        }
        if length > limits::FRAME_MAX_BYTES {
            let limit = limits::FRAME_MAX_BYTES;
            let what = "length of a frame";
            return Err(DecodeError::TooLarge { what, found: length, limit }.into());
        }
        count_down(&mut self.left.frames, 1)?;
        count_down(&mut self.left.entries, entries)?;
        // Grows with what arrives, not with what the length claims.
        self.frame.clear();
        let arrived = self.input.by_ref().take(length).read_to_end(&mut self.frame)?;
        if arrived as u64 != length {
            return Err(DecodeError::Truncated("a frame").into());
        }
        let id = Version::from_bytes(id);
        Ok(Record::Frame { layout: layout as usize, id, entries, bytes: &self.frame })
    }

    /// The next record's tag, or `None` at the proper end.
    fn tag(&mut self) -> Result<Option<u8>, SetError> {
        let mut tag = [0];
        if self.input.read(&mut tag)? == 1 {
            return Ok(Some(tag[0]));
        }
        let Counts { transactions, frames, entries } = self.left;
        let whole = self.input.limit() == 0 && !self.in_transaction;
        self.input.set_limit(1);
        let over = self.input.read(&mut tag)? > 0;
        self.input.set_limit(0);
        if !whole || over || transactions + frames + entries > 0 {
            return Err(DecodeError::Invalid("length of the body").into());
        }
        Ok(None)
    }

    fn varint(&mut self) -> Result<u64, SetError> {
        let mut bytes = [0; 10];
        for at in 0..bytes.len() {
            self.input.read_exact(&mut bytes[at..=at])?;
            if bytes[at] & 0x80 == 0 {
                return Ok(Reader::new(&bytes[..=at]).varint("number")?);
            }
        }
        Err(DecodeError::Invalid("number").into())
    }
}

fn count_down(left: &mut u64, by: u64) -> Result<(), DecodeError> {
    *left = left.checked_sub(by).ok_or(DecodeError::Invalid("counts in the header"))?;
    Ok(())
}
