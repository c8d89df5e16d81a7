//! A sync set as a file: its parts, one after another, as `prep_sync` made them.
//!
//! Each part says in its head how long it is. A file of one part is therefore what `apply` takes
//! from plain psql; one of several is split by those lengths.

use crate::error::{Error, Kind, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use syncjournal_core::wire::MAGIC;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, stdin, stdout};

/// Magic, format, flags, and the lengths of header (4), body (8) and stored body (8).
const HEAD_LEN: usize = 32;
const CHECKSUM_LEN: u64 = 16;
/// What a `bytea` can hold: nothing longer can be applied.
const MAX_PART_BYTES: u64 = 0x3fff_ffff;

/// Writes to a file that takes its name only once it is whole, or to standard output.
pub(crate) struct SetWriter {
    out: Box<dyn AsyncWrite + Unpin + Send>,
    /// Where it is written, and where it belongs.
    places: Option<(PathBuf, PathBuf)>,
}

impl SetWriter {
    pub(crate) async fn create(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { out: Box::new(stdout()), places: None });
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".part");
        let unfinished = PathBuf::from(unfinished);
        let file = File::create(&unfinished).await.map_err(|error| failed("write", path, error))?;
        Ok(Self { out: Box::new(file), places: Some((unfinished, path.to_owned())) })
    }

    pub(crate) async fn write(&mut self, part: &[u8]) -> Result<()> {
        self.out.write_all(part).await.map_err(|error| self.failed(error))
    }

    pub(crate) async fn finish(mut self) -> Result<()> {
        self.out.flush().await.map_err(|error| self.failed(error))?;
        let Some((unfinished, path)) = &self.places else { return Ok(()) };
        let rename = async {
            File::open(unfinished).await?.sync_all().await?;
            tokio::fs::rename(unfinished, path).await
        };
        rename.await.map_err(|error| self.failed(error))?;
        self.places = None;
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> Error {
        let path = self.places.as_ref().map_or(Path::new("-"), |(_, path)| path);
        failed("write", path, error)
    }
}

impl Drop for SetWriter {
    fn drop(&mut self) {
        // Half a set is of no use to anyone; if it cannot be removed, its name tells what it is.
        if let Some((unfinished, _)) = &self.places {
            let _ = std::fs::remove_file(unfinished);
        }
    }
}

/// Reads part after part.
pub(crate) struct SetReader {
    input: Box<dyn AsyncRead + Unpin + Send>,
    path: PathBuf,
}

impl SetReader {
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let input: Box<dyn AsyncRead + Unpin + Send> = if path == Path::new("-") {
            Box::new(stdin())
        } else {
            Box::new(File::open(path).await.map_err(|error| failed("read", path, error))?)
        };
        Ok(Self { input, path: path.to_owned() })
    }

    /// The next part; None at the end of the file.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut part = Vec::new();
        self.read(HEAD_LEN as u64, &mut part).await?;
        if part.is_empty() {
            return Ok(None);
        }
        let rest = length_after_head(&part)
            .map_err(|what| self.broken(what))?
            .ok_or_else(|| self.broken("the file ends within a part"))?;
        if self.read(rest, &mut part).await? < rest {
            return Err(self.broken("the file ends within a part"));
        }
        Ok(Some(part))
    }

    /// Grows with what arrives, not with what a length claims.
    async fn read(&mut self, count: u64, part: &mut Vec<u8>) -> Result<u64> {
        let read = (&mut self.input).take(count).read_to_end(part).await;
        read.map(|read| read as u64).map_err(|error| failed("read", &self.path, error))
    }

    fn broken(&self, what: &str) -> Error {
        Error::new(
            Kind::File,
            format!("\"{}\" is not a whole sync set: {what}", self.path.display()),
        )
        .hint("Bring the file again from where it was made, or export a new one.")
    }
}

/// How many bytes follow the head; None where the head itself is cut off.
fn length_after_head(head: &[u8]) -> std::result::Result<Option<u64>, &'static str> {
    let magic = &MAGIC[..head.len().min(MAGIC.len())];
    if !head.starts_with(magic) {
        return Err("it does not begin like one");
    }
    let Some((fixed, _)) = head.split_first_chunk::<HEAD_LEN>() else { return Ok(None) };
    let header = u32::from_le_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]);
    let mut stored = [0; 8];
    stored.copy_from_slice(&fixed[24..]);
    u64::from(header)
        .checked_add(u64::from_le_bytes(stored))
        .and_then(|length| length.checked_add(CHECKSUM_LEN))
        .filter(|length| *length <= MAX_PART_BYTES)
        .map(Some)
        .ok_or("a part says that it is longer than any can be")
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::NotFound => Some("Check the path."),
        ErrorKind::StorageFull => Some("Make room, or write to another place."),
        _ => None,
    };
    let made =
        Error::new(Kind::File, format!("could not {what} \"{}\"", path.display())).caused_by(error);
    match hint {
        Some(hint) => made.hint(hint),
        None => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use syncjournal_core::Snapshot;
    use syncjournal_core::wire::{Header, Mode, NodeInfo, PartWriter, SetPart, Terms};
    use uuid::Uuid;

    fn part(number: u32) -> Vec<u8> {
        let header = Header {
            set_id: Uuid::nil(),
            part: number,
            parts: 2,
            mode: Mode::Full,
            source: NodeInfo::default(),
            destination: "b".into(),
            destination_id: None,
            from: Snapshot::empty(),
            to: Snapshot::empty(),
            received: None,
            include: Vec::new(),
            exclude: Vec::new(),
            created_at: 0,
            resumes: false,
            continues: false,
            terms: Terms::default(),
            layouts: Vec::new(),
            transactions: 0,
            frames: 0,
            entries: 0,
        };
        let mut writer = PartWriter::default();
        writer.begin(u64::from(number), 1);
        writer.end();
        writer.finish(header, Some(1))
    }

    fn reader(bytes: Vec<u8>) -> SetReader {
        SetReader { input: Box::new(std::io::Cursor::new(bytes)), path: "test".into() }
    }

    #[tokio::test]
    async fn parts_come_back_one_by_one() {
        let (one, two) = (part(1), part(2));
        let mut reader = reader([one.clone(), two.clone()].concat());
        assert_eq!(reader.next().await.unwrap().unwrap(), one);
        assert_eq!(reader.next().await.unwrap().unwrap(), two);
        assert!(reader.next().await.unwrap().is_none());
        assert!(SetPart::parse(&two).is_ok());
    }

    #[tokio::test]
    async fn every_cut_is_an_error() {
        let whole = part(1);
        for cut in 1..whole.len() {
            assert!(reader(whole[..cut].to_vec()).next().await.is_err(), "{cut}");
        }
    }

    #[test]
    fn a_lying_length_is_an_error() {
        let mut head = part(1)[..HEAD_LEN].to_vec();
        head[24..].fill(0xff);
        assert!(length_after_head(&head).is_err());
        assert!(length_after_head(b"PGDMP").is_err());
        assert_eq!(length_after_head(b"SYNC"), Ok(None));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = length_after_head(&bytes);
            let _ = length_after_head(&[&MAGIC[..], &bytes].concat());
        }
    }
}
