//! TLS over TCP, as HTTP/2 uses it: with a note of when something last came.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{ALPN, Http2Error};

/// Counts what comes in, for whoever wants to know whether anything does.
pub(super) type Heard = Arc<AtomicU64>;

/// A TLS connection that both sides have agreed to speak HTTP/2 on.
pub(super) struct Io {
    stream: TlsStream<TcpStream>,
    heard: Heard,
}

impl Io {
    pub(super) async fn connect(
        connector: &TlsConnector,
        tcp: TcpStream,
        name: ServerName<'static>,
    ) -> Result<Self, Http2Error> {
        // Whoever writes has gathered what there is to write.
        tcp.set_nodelay(true).map_err(Http2Error::Tcp)?;
        let stream = connector.connect(name, tcp).await;
        Self::new(stream.map_err(Http2Error::Tls)?.into())
    }

    pub(super) async fn accept(acceptor: &TlsAcceptor, tcp: TcpStream) -> Result<Self, Http2Error> {
        tcp.set_nodelay(true).map_err(Http2Error::Tcp)?;
        let stream = acceptor.accept(tcp).await;
        Self::new(stream.map_err(Http2Error::Tls)?.into())
    }

    fn new(stream: TlsStream<TcpStream>) -> Result<Self, Http2Error> {
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Http2Error::Alpn);
        }
        Ok(Self {
            stream,
            heard: Heard::default(),
        })
    }

    /// What counts its bytes.
    pub(super) fn heard(&self) -> Heard {
        Arc::clone(&self.heard)
    }

    /// The other side's certificates, its own first; none if it showed none.
    pub(super) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.stream.get_ref().1.peer_certificates();
        let owned = |one: &CertificateDer<'_>| one.clone().into_owned();
        chain.unwrap_or_default().iter().map(owned).collect()
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let more = buffer.filled().len().saturating_sub(before);
        self.heard.fetch_add(more as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
