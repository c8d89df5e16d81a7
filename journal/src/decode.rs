//! Reading and writing the primitives of the formats: little-endian numbers, varints, strings.

use thiserror::Error;

/// What can be wrong with bytes that came from outside.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("the data ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("{0} is not valid")]
    Invalid(&'static str),
    #[error("{what} is {found}, more than the {limit} that are allowed")]
    TooLarge { what: &'static str, found: u64, limit: u64 },
}

/// A cursor over borrowed bytes; every length is checked against what is there.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// LEB128; at most ten bytes, and no longer than the number needs.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return Err(DecodeError::Invalid(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid(what))
    }

    /// A count or a length that may not exceed `limit`.
    pub fn bounded(&mut self, limit: usize, what: &'static str) -> Result<usize, DecodeError> {
        let found = self.varint(what)?;
        let limit = limit as u64;
        if found > limit {
            return Err(DecodeError::TooLarge { what, found, limit });
        }
        usize::try_from(found).map_err(|_| DecodeError::TooLarge { what, found, limit })
    }

    pub fn string(&mut self, limit: usize, what: &'static str) -> Result<&'a str, DecodeError> {
        let len = self.bounded(limit, what)?;
        std::str::from_utf8(self.bytes(len, what)?).map_err(|_| DecodeError::Invalid(what))
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint("number"), Ok(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint("number") {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(&bytes[..again.len()], &again[..], "one number, one encoding");
            }
        }
    }
}
