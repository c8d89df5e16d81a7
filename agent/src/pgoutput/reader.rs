//! Integers and strings off the front of a message.

use crate::error::{Error, Result};
use bytes::{Buf, Bytes};

/// What is left of a message.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.0.try_get_u8().map_err(|_| truncated())
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.0.try_get_u16().map_err(|_| truncated())
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.0.try_get_u32().map_err(|_| truncated())
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.0.try_get_u64().map_err(|_| truncated())
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<Bytes> {
        if count > self.0.len() {
            return Err(truncated());
        }
        Ok(self.0.split_to(count))
    }

    /// Text up to a zero byte.
    pub(super) fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(truncated)?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.to_vec()).map_err(|_| Error::protocol("pgoutput: text is not UTF-8"))
    }
}

fn truncated() -> Error {
    Error::protocol("pgoutput: truncated message")
}
