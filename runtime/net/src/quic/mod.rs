//! QUIC: the endpoint, its parameters, and a connection as a link of a session.
//!
//! Each class of messages has a stream of its own each way, so neither waits for
//! what the other lost. Small messages that may be lost can go as datagrams.

mod socket;
mod tuning;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, SendStream, TokioRuntime};
use rustls::pki_types::CertificateDer;

use crate::identity::{Fingerprint, Identity, JOIN_PROTOCOL};
use crate::select::Distance;
use crate::tls::{self, Stranger, TlsError};
use crate::transport::{Class, End, Lost, Protocols, TransportLimits, shown};

pub(crate) use tuning::DATAGRAM_BUFFER;

/// ALPN of connections between nodes. Their version is in the hello.
const PEER_PROTOCOL: &[u8] = b"phoenix-peer";

/// QUIC's configurations, for loopback and for elsewhere.
pub(crate) struct QuicConfigs {
    client: [quinn::ClientConfig; 2],
    server: [Arc<quinn::ServerConfig>; 2],
}

impl QuicConfigs {
    pub(crate) fn new(
        identity: &Identity,
        limits: &TransportLimits,
        protocols: Protocols,
    ) -> Result<Self, TlsError> {
        let client = tls::client(identity, &[PEER_PROTOCOL])?;
        let client = Arc::new(QuicClientConfig::try_from(client).map_err(TlsError::new)?);
        let server = tls::server(identity, &[PEER_PROTOCOL, JOIN_PROTOCOL])?;
        let server = Arc::new(QuicServerConfig::try_from(server).map_err(TlsError::new)?);
        let datagrams = protocols.datagrams;
        let places = [true, false];
        Ok(Self {
            client: places.map(|loopback| {
                let mut config = quinn::ClientConfig::new(client.clone());
                let transport = tuning::transport(limits, loopback, datagrams);
                config.transport_config(Arc::new(transport));
                config
            }),
            server: places.map(|loopback| {
                let mut config = quinn::ServerConfig::with_crypto(server.clone());
                let transport = tuning::for_strangers(limits, loopback, datagrams);
                config.transport_config(Arc::new(transport));
                Arc::new(config)
            }),
        })
    }

    pub(crate) fn client(&self, address: SocketAddr) -> quinn::ClientConfig {
        Self::pick(&self.client, address).clone()
    }

    pub(crate) fn server(&self, address: SocketAddr) -> Arc<quinn::ServerConfig> {
        Arc::clone(Self::pick(&self.server, address))
    }

    /// An endpoint on `socket`. Must be called within a runtime.
    pub(crate) fn endpoint(
        &self,
        identity: &Identity,
        socket: std::net::UdpSocket,
    ) -> std::io::Result<Endpoint> {
        let [server, _] = &self.server;
        Endpoint::new_with_abstract_socket(
            tuning::endpoint(identity),
            Some((**server).clone()),
            Arc::new(socket::Socket::new(socket)?),
            Arc::new(TokioRuntime),
        )
    }

    fn pick<T>([loopback, elsewhere]: &[T; 2], address: SocketAddr) -> &T {
        if is_loopback(address) {
            loopback
        } else {
            elsewhere
        }
    }
}

/// Opens a UDP socket with buffers large enough for bursts.
pub(crate) fn udp(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    // The system may give less; that costs speed and nothing else.
    let _ = socket.set_recv_buffer_size(tuning::SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(tuning::SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// For [`crate::identity::join`]: how to connect to the authority with this fingerprint.
pub(crate) fn joiner_config(
    expected: Fingerprint,
    found: Arc<Mutex<Option<Stranger>>>,
) -> Result<quinn::ClientConfig, TlsError> {
    let config = tls::joiner(expected, found, &[JOIN_PROTOCOL])?;
    let config = Arc::new(QuicClientConfig::try_from(config).map_err(TlsError::new)?);
    let mut config = quinn::ClientConfig::new(config);
    let transport = tuning::transport(&TransportLimits::default(), false, false);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Whether whoever connects is no peer but wants to become one.
pub(crate) fn is_joiner(connection: &Connection) -> bool {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    data.and_then(|data| data.protocol).as_deref() == Some(JOIN_PROTOCOL)
}

/// It is a peer: from now on it has what peers have.
pub(crate) fn trust(connection: &Connection) {
    tuning::trust(connection, is_loopback(connection.remote_address()));
}

/// A QUIC connection to a peer.
#[derive(Clone, Debug)]
pub(crate) struct QuicLink(Connection);

impl QuicLink {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0
    }

    /// The other side's certificates, its own first; none if it showed none.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let identity = self.0.peer_identity();
        let chain = identity.and_then(|chain| chain.downcast().ok());
        chain.map(|chain| *chain).unwrap_or_default()
    }

    pub(crate) async fn open(&self, class: Class) -> Result<SendStream, Lost> {
        let stream = self.0.open_uni().await.map_err(|_| Lost)?;
        // Small messages go before bulk that waits for the network.
        let priority = match class {
            Class::Ordered => 1,
            Class::Bulk => 0,
        };
        stream.set_priority(priority).map_err(|_| Lost)?;
        Ok(stream)
    }

    /// How far away the peer is.
    pub(crate) fn distance(&self) -> Distance {
        let loopback = is_loopback(self.0.remote_address());
        Distance::of(loopback, Some(self.0.rtt()))
    }

    /// Packets that came so far: of a path that is open, more and more.
    pub(crate) fn heard(&self) -> u64 {
        self.0.stats().udp_rx.datagrams
    }
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::There(shown(&close.reason)),
            ConnectionError::LocallyClosed => Self::Here("closed".to_owned()),
            ConnectionError::TimedOut => Self::Silent,
            error if is_refusal(&error) => Self::Refused(error.to_string()),
            error => Self::Broken(error.to_string()),
        }
    }
}

/// Whether one side did not accept the other's certificate.
fn is_refusal(error: &ConnectionError) -> bool {
    /// QUIC's errors that carry an alert of TLS (RFC 9000, 20.1).
    const CRYPTO: std::ops::Range<u64> = 0x100..0x200;
    match error {
        ConnectionError::TransportError(error) => CRYPTO.contains(&error.code.into()),
        ConnectionError::ConnectionClosed(close) => CRYPTO.contains(&close.error_code.into()),
        _ => false,
    }
}
