//! One type for a socket of either family, plain or under TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// A socket of either family.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection to a server, as both sides use it.
#[derive(Debug)]
pub(crate) struct NetStream(Inner);

#[derive(Debug)]
enum Inner {
    Plain(Socket),
    Tls {
        stream: Box<tokio_rustls::client::TlsStream<Socket>>,
        /// `tls-server-end-point` of RFC 5929, where the certificate's algorithm has one.
        end_point: Option<Vec<u8>>,
    },
}

impl NetStream {
    pub(super) fn plain(socket: Socket) -> Self {
        Self(Inner::Plain(socket))
    }

    pub(super) fn tls(
        stream: tokio_rustls::client::TlsStream<Socket>,
        end_point: Option<Vec<u8>>,
    ) -> Self {
        Self(Inner::Tls { stream: Box::new(stream), end_point })
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.0, Inner::Tls { .. })
    }

    /// The hash for SCRAM's channel binding.
    pub(crate) fn end_point(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Plain(_) => None,
            Inner::Tls { end_point, .. } => end_point.as_deref(),
        }
    }
}

impl TlsStream for NetStream {
    fn channel_binding(&self) -> ChannelBinding {
        match self.end_point() {
            Some(hash) => ChannelBinding::tls_server_end_point(hash.to_vec()),
            None => ChannelBinding::none(),
        }
    }
}

/// Whatever a call is handed on to.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl NetStream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match &mut self.get_mut().0 {
            Inner::Plain(socket) => Pin::new(socket),
            Inner::Tls { stream, .. } => Pin::new(stream),
        }
    }
}

impl Socket {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream),
            Self::Tcp(stream) => Pin::new(stream),
        }
    }
}

macro_rules! delegate_io {
    ($stream:ty) => {
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.inner().poll_read(cx, buf)
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.inner().poll_write(cx, buf)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.inner().poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.inner().poll_shutdown(cx)
            }
        }
    };
}

delegate_io!(NetStream);
delegate_io!(Socket);
