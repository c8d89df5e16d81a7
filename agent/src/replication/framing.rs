//! Messages out of and into a stream.

use crate::error::{Error, Result};
use crate::net::NetStream;
use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::{Header, Message};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest message that Postgres itself takes or makes.
const MAX_MESSAGE_BYTES: usize = 1 << 30;
/// How far the buffer grows ahead of the bytes: a length that lies costs this much and no more.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// A message of the server, with the two that `postgres-protocol` does not know or that are hot.
pub(super) enum Incoming {
    /// `W`: the stream runs both ways now.
    CopyBoth,
    CopyData(Bytes),
    Other(Message),
}

/// Reads whole messages; bytes of an unfinished one wait in the buffer.
#[derive(Debug)]
pub(super) struct Framed {
    stream: NetStream,
    buffer: BytesMut,
}

impl Framed {
    pub(super) fn new(stream: NetStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub(super) fn stream(&self) -> &NetStream {
        &self.stream
    }

    /// The next message. Safe to drop: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Incoming> {
        loop {
            if let Some(message) = take(&mut self.buffer)? {
                return Ok(message);
            }
            self.buffer.reserve(READ_AHEAD_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Error::connection("server closed the connection unexpectedly"));
            }
        }
    }

    /// Sends bytes. Not to be dropped half way: call it outside of `select!`.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }
}

fn take(buffer: &mut BytesMut) -> Result<Option<Incoming>> {
    let Some(header) = Header::parse(buffer).map_err(malformed)? else { return Ok(None) };
    // The length counts itself and not the tag.
    let total = match usize::try_from(header.len()) {
        Ok(length) if (4..=MAX_MESSAGE_BYTES).contains(&length) => length + 1,
        _ => return Err(Error::protocol("message of impossible length from the server")),
    };
    if buffer.len() < total {
        return Ok(None);
    }
    match header.tag() {
        b'W' => {
            buffer.advance(total);
            Ok(Some(Incoming::CopyBoth))
        }
        b'd' => {
            let mut body = buffer.split_to(total).freeze();
            body.advance(5);
            Ok(Some(Incoming::CopyData(body)))
        }
        _ => {
            // A copy of its own: the parser takes what it is given for the whole message.
            let mut whole = buffer.split_to(total);
            let message = Message::parse(&mut whole).map_err(malformed)?;
            message
                .map(|message| Some(Incoming::Other(message)))
                .ok_or_else(|| Error::protocol("truncated message from the server"))
        }
    }
}

fn malformed(error: io::Error) -> Error {
    Error::protocol("malformed message from the server").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_for_the_whole_message() {
        let whole = [b'd', 0, 0, 0, 7, 1, 2, 3];
        for cut in 0..whole.len() {
            assert!(take(&mut BytesMut::from(&whole[..cut])).unwrap().is_none());
        }
        let mut buffer = BytesMut::from(&whole[..]);
        let Some(Incoming::CopyData(body)) = take(&mut buffer).unwrap() else { panic!() };
        assert_eq!(&body[..], [1, 2, 3]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_lying_length_is_an_error() {
        for length in [0, 3, i32::MAX, i32::MIN, -1] {
            let mut bytes = vec![b'd'];
            bytes.extend(i32::to_be_bytes(length));
            assert!(take(&mut BytesMut::from(&bytes[..])).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut buffer) {}
        }

        #[test]
        fn garbage_in_a_good_frame_never_panics(
            tag in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..100)
        ) {
            let mut buffer = BytesMut::from(&[tag][..]);
            buffer.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            buffer.extend(body);
            let _ = take(&mut buffer);
        }
    }
}
