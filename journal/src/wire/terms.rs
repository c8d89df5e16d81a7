//! What a set says beside its rows: on which terms the source deals with its peer.
//!
//! Most sets say nothing here, and are then written in the format that was before there were terms.

use crate::decode::{DecodeError, Reader, put_string, put_varint};
use crate::limits;
use crate::operations::{Operations, Restriction};

/// The terms of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The source has switched this peer off: no rows come, and the peer is to know.
    pub switched_off: bool,
    /// The source's place in the order in which changes are pushed, where it has one.
    pub rank: Option<i32>,
    /// What of this set's entries may be applied: the rest is journaled only.
    pub restrictions: Vec<Restriction>,
}

const SWITCHED_OFF: u8 = 1;
const HAS_RANK: u8 = 2;

impl Terms {
    /// Nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(flag(self.switched_off, SWITCHED_OFF) | flag(self.rank.is_some(), HAS_RANK));
        if let Some(rank) = self.rank {
            out.extend_from_slice(&rank.to_le_bytes());
        }
        put_varint(out, self.restrictions.len() as u64);
        for Restriction { pattern, operations } in &self.restrictions {
            put_string(out, &pattern.to_string());
            out.push(operations.bits());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8("terms")?;
        if flags & !(SWITCHED_OFF | HAS_RANK) != 0 {
            return Err(DecodeError::Invalid("terms"));
        }
        let rank = match flags & HAS_RANK {
            0 => None,
            _ => Some(i32::from_le_bytes(reader.array("rank")?)),
        };
        let mut restrictions = Vec::new();
        for _ in 0..reader.bounded(limits::MAX_LIST, "number of restrictions")? {
            let pattern = reader.string(limits::MAX_NAME_BYTES, "pattern")?;
            let pattern = pattern.parse().map_err(|_| DecodeError::Invalid("pattern"))?;
            let operations = Operations::from_bits(reader.u8("operations")?)
                .ok_or(DecodeError::Invalid("operations"))?;
            restrictions.push(Restriction { pattern, operations });
        }
        Ok(Self { switched_off: flags & SWITCHED_OFF != 0, rank, restrictions })
    }
}
