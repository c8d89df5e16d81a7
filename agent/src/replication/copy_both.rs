//! The stream itself: log data and keepalives in, status updates out.

use super::framing::{Framed, Incoming};
use super::lsn::Lsn;
use super::server_error::{error_of, log_notice};
use crate::error::{Error, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The protocol counts microseconds from 2000-01-01.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);

/// What the walsender says.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message of the output plugin.
    Data(Bytes),
    /// Everything before `sent` that is for us has been sent.
    Keepalive { sent: Lsn, reply_now: bool },
    /// The server ends the stream (it shuts down): answer and go.
    End,
}

/// The running stream.
#[derive(Debug)]
pub(crate) struct CopyBoth {
    framed: Framed,
    /// Never goes back, whatever the caller says.
    reported: Lsn,
}

impl CopyBoth {
    pub(super) fn new(framed: Framed) -> Self {
        Self { framed, reported: Lsn(0) }
    }

    /// The next message. Safe to drop: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Received> {
        loop {
            match self.framed.next().await? {
                Incoming::CopyData(data) => return received(data),
                Incoming::Other(Message::CopyDone) => return Ok(Received::End),
                Incoming::Other(Message::ErrorResponse(body)) => {
                    return Err(error_of(body.fields()));
                }
                Incoming::Other(Message::NoticeResponse(body)) => log_notice(&body),
                Incoming::Other(Message::ParameterStatus(_)) => {}
                // After our own CopyDone.
                Incoming::Other(Message::CommandComplete(_) | Message::ReadyForQuery(_)) => {
                    return Ok(Received::End);
                }
                Incoming::Other(_) | Incoming::CopyBoth => {
                    return Err(Error::protocol("unexpected message in the replication stream"));
                }
            }
        }
    }

    /// Tells the server how far everything is applied. Not to be dropped half way.
    pub(crate) async fn report(&mut self, applied: Lsn) -> Result<()> {
        self.reported = self.reported.max(applied);
        let mut out = BytesMut::with_capacity(64);
        let update = status_update(self.reported, SystemTime::now());
        frontend::CopyData::new(&update[..])?.write(&mut out);
        self.framed.send(&out).await
    }

    /// A last report and the end of our side, so that the walsender leaves in peace.
    pub(crate) async fn finish(mut self, applied: Lsn) -> Result<()> {
        self.report(applied).await?;
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        frontend::terminate(&mut out);
        self.framed.send(&out).await
    }
}

fn received(mut data: Bytes) -> Result<Received> {
    let truncated = || Error::protocol("truncated message in the replication stream");
    let tag = data.try_get_u8().map_err(|_| truncated())?;
    match tag {
        b'w' => {
            // Start, end and time: with pgoutput all of it stands in the messages as well.
            if data.remaining() < 24 {
                return Err(truncated());
            }
            data.advance(24);
            Ok(Received::Data(data))
        }
        b'k' => {
            let sent = Lsn(data.try_get_u64().map_err(|_| truncated())?);
            data.try_get_u64().map_err(|_| truncated())?;
            let reply_now = data.try_get_u8().map_err(|_| truncated())? != 0;
            Ok(Received::Keepalive { sent, reply_now })
        }
        _ => Err(Error::protocol("unknown message in the replication stream")),
    }
}

/// `r`: written, flushed and applied are one for us, since only what is applied is kept.
fn status_update(applied: Lsn, now: SystemTime) -> BytesMut {
    let since = now.duration_since(UNIX_EPOCH + POSTGRES_EPOCH).unwrap_or_default();
    let mut message = BytesMut::with_capacity(34);
    message.put_u8(b'r');
    message.put_u64(applied.0);
    message.put_u64(applied.0);
    message.put_u64(applied.0);
    message.put_u64(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    message.put_u8(0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalives_and_data() {
        let mut bytes = vec![b'k'];
        bytes.extend(7_u64.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.push(1);
        let Received::Keepalive { sent, reply_now } = received(bytes.clone().into()).unwrap()
        else {
            panic!()
        };
        assert_eq!((sent, reply_now), (Lsn(7), true));
        for cut in 0..bytes.len() {
            assert!(received(bytes[..cut].to_vec().into()).is_err());
        }
        let data = [&[b'w'][..], &[0; 24], b"x"].concat();
        assert!(matches!(received(data.into()).unwrap(), Received::Data(d) if &d[..] == b"x"));
    }

    #[test]
    fn a_status_update_has_34_bytes() {
        let update = status_update(Lsn(0x0102), UNIX_EPOCH + POSTGRES_EPOCH);
        assert_eq!(update.len(), 34);
        assert_eq!(&update[1..9], &update[9..17]);
        assert_eq!(&update[25..33], &[0; 8]);
    }
}
