//! The messages.

use super::reader::Reader;
use super::tuple::Tuple;
use crate::error::{Error, Result};
use crate::replication::Lsn;
use bytes::Bytes;

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Begin {
        final_lsn: Lsn,
        xid: u32,
    },
    Commit {
        commit_lsn: Lsn,
        end_lsn: Lsn,
    },
    Relation(Relation),
    Insert {
        relation_id: u32,
        tuple: Tuple,
    },
    /// Truncation, origin, type or a logical message: nothing that the journal's stream is made of.
    Other(u8),
}

/// What the rows of a relation look like from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) relation_id: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
}

impl Message {
    pub(crate) fn decode(bytes: Bytes) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            b'B' => {
                let final_lsn = Lsn(reader.u64()?);
                let _commit_time = reader.u64()?;
                Ok(Self::Begin { final_lsn, xid: reader.u32()? })
            }
            b'C' => {
                let _flags = reader.u8()?;
                let commit_lsn = Lsn(reader.u64()?);
                Ok(Self::Commit { commit_lsn, end_lsn: Lsn(reader.u64()?) })
            }
            b'R' => relation(&mut reader).map(Self::Relation),
            b'I' => {
                let relation_id = reader.u32()?;
                if reader.u8()? != b'N' {
                    return Err(Error::protocol("pgoutput: insert without a new row"));
                }
                Ok(Self::Insert { relation_id, tuple: Tuple::read(&mut reader)? })
            }
            other @ (b'T' | b'O' | b'Y' | b'M') => Ok(Self::Other(other)),
            b'U' | b'D' => {
                Err(Error::protocol("pgoutput: the publication sends more than inserts")
                    .hint("Publication syncjournal must have publish = 'insert'."))
            }
            _ => Err(Error::protocol("pgoutput: unknown message")),
        }
    }
}

fn relation(reader: &mut Reader) -> Result<Relation> {
    let relation_id = reader.u32()?;
    let schema = reader.text()?;
    let name = reader.text()?;
    let _replica_identity = reader.u8()?;
    let count = reader.u16()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let _flags = reader.u8()?;
        columns.push(reader.text()?);
        let (_type_oid, _type_modifier) = (reader.u32()?, reader.u32()?);
    }
    Ok(Relation { relation_id, schema, name, columns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::Cell;
    use proptest::prelude::*;

    fn insert() -> Vec<u8> {
        let mut bytes = vec![b'I', 0, 0, 0, 9, b'N', 0, 3, b'n', b'b', 0, 0, 0, 2, 1, 2];
        bytes.extend([b't', 0, 0, 0, 1, b'x']);
        bytes
    }

    #[test]
    fn inserts() {
        let Message::Insert { relation_id, tuple } = Message::decode(insert().into()).unwrap()
        else {
            panic!()
        };
        assert_eq!(relation_id, 9);
        let expected =
            [Cell::Null, Cell::Binary(Bytes::from_static(&[1, 2])), Cell::Text("x".into())];
        assert_eq!(tuple.0, expected);
    }

    #[test]
    fn relations() {
        let mut bytes = b"R\0\0\0\x09s\0t\0d\0\x01\x01frame\0".to_vec();
        bytes.extend([0; 8]);
        let Message::Relation(relation) = Message::decode(bytes.into()).unwrap() else { panic!() };
        assert_eq!((relation.schema.as_str(), relation.name.as_str()), ("s", "t"));
        assert_eq!(relation.columns, ["frame"]);
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = insert();
        for cut in 0..whole.len() {
            assert!(Message::decode(whole[..cut].to_vec().into()).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_not_ours_is_passed_over_or_refused() {
        assert_eq!(Message::decode(Bytes::from_static(b"T")).unwrap(), Message::Other(b'T'));
        assert!(Message::decode(Bytes::from_static(b"U")).is_err());
        assert!(Message::decode(Bytes::from_static(b"?")).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            tag in proptest::sample::select(b"BCRITOYMUD".to_vec()),
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Message::decode([&[tag][..], &rest].concat().into());
            let _ = Message::decode(rest.into());
        }
    }
}
