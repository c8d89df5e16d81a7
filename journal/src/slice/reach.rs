//! Whom a frame is for, as the journal has it beside the frame.
//!
//! ```text
//! reach   = nothing                  the table has no slices
//!         | 1 passage*               one for each entry
//!         | 2 passage*               the same, of a frame for peers with slices alone
//!         | 3 peer                   a frame for one peer
//!         | 4                        a frame for nobody: what peers may have has changed
//! passage = count slice* count slice*     before, after
//! ```

use crate::decode::{DecodeError, Reader, put_varint};
use crate::limits;
use crate::slice::SliceId;

const PASSAGES: u8 = 1;
const SLICES_ONLY: u8 = 2;
const ONE_PEER: u8 = 3;
const NOTICE: u8 = 4;

/// The slices that a row was in before an entry, and those that it is in after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    pub old: Vec<SliceId>,
    pub new: Vec<SliceId>,
}

/// Whom a frame is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Whoever has the table; it had no slices when this was written.
    #[default]
    Table,
    /// Whoever has the table, and peers with slices as each entry's passage says.
    Passages(Vec<Passage>),
    /// Peers with slices alone: what others know from an entry of its own.
    SlicesOnly(Vec<Passage>),
    /// One peer: what its lists have shown or hidden.
    Peer(i16),
    /// Nobody: slices of the table were locked or opened, and who follows the journal is to know.
    Notice,
}

/// Whether, from a frame of this reach on, other lists hold for this peer: it is one of those that
/// its lists show or hide, or says so.
#[must_use]
pub fn tells_of_lists(reach: &[u8], peer: i16) -> bool {
    match reach.first() {
        Some(&ONE_PEER) => Reach::decode(reach) == Ok(Reach::Peer(peer)),
        kind => kind == Some(&NOTICE),
    }
}

/// Appends one passage.
pub fn put_passage(out: &mut Vec<u8>, old: &[SliceId], new: &[SliceId]) {
    for slices in [old, new] {
        put_varint(out, slices.len() as u64);
        slices.iter().for_each(|slice| put_varint(out, u64::from(*slice)));
    }
}

impl Reach {
    /// What precedes the passages of a frame that a user's writes made.
    pub const PASSAGES_BEGIN: u8 = PASSAGES;

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (kind, passages) = match self {
            Self::Table => return out,
            Self::Peer(peer) => {
                out.push(ONE_PEER);
                out.extend_from_slice(&peer.to_be_bytes());
                return out;
            }
            Self::Notice => {
                out.push(NOTICE);
                return out;
            }
            Self::Passages(passages) => (PASSAGES, passages),
            Self::SlicesOnly(passages) => (SLICES_ONLY, passages),
        };
        out.push(kind);
        passages.iter().for_each(|passage| put_passage(&mut out, &passage.old, &passage.new));
        out
    }

    /// # Errors
    /// [`DecodeError`] where the bytes are not what `encode` makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.is_empty() {
            return Ok(Self::Table);
        }
        let kind = reader.u8("reach of a frame")?;
        if kind == ONE_PEER {
            let peer = i16::from_be_bytes(reader.array("peer of a frame")?);
            return match reader.is_empty() {
                true => Ok(Self::Peer(peer)),
                false => Err(DecodeError::Invalid("reach of a frame")),
            };
        }
        if kind == NOTICE && reader.is_empty() {
            return Ok(Self::Notice);
        }
        let mut passages = Vec::new();
        while !reader.is_empty() {
            passages.push(Passage { old: slices(&mut reader)?, new: slices(&mut reader)? });
        }
        match kind {
            PASSAGES => Ok(Self::Passages(passages)),
            SLICES_ONLY => Ok(Self::SlicesOnly(passages)),
            _ => Err(DecodeError::Invalid("reach of a frame")),
        }
    }
}

fn slices(reader: &mut Reader<'_>) -> Result<Vec<SliceId>, DecodeError> {
    let count = reader.bounded(limits::MAX_LIST, "number of slices")?;
    let number = |reader: &mut Reader<'_>| {
        SliceId::try_from(reader.varint("slice")?).map_err(|_| DecodeError::Invalid("slice"))
    };
    (0..count).map(|_| number(reader)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passages() -> impl Strategy<Value = Vec<Passage>> {
        let side = || prop::collection::vec(any::<u32>(), 0..3);
        prop::collection::vec((side(), side()).prop_map(|(old, new)| Passage { old, new }), 0..6)
    }

    proptest! {
        #[test]
        fn a_reach_comes_back(passages in passages(), peer: i16) {
            for reach in [
                Reach::Table,
                Reach::Peer(peer),
                Reach::Notice,
                Reach::Passages(passages.clone()),
                Reach::SlicesOnly(passages),
            ] {
                prop_assert_eq!(Reach::decode(&reach.encode()), Ok(reach));
            }
        }

        #[test]
        fn any_bytes_are_a_reach_or_an_error(bytes: Vec<u8>) {
            if let Ok(reach) = Reach::decode(&bytes) {
                prop_assert_eq!(reach.encode(), bytes);
            }
        }
    }
}
