//! A peer that does not keep to the protocol, with a certificate and without.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use phoenix_core::{Member, NodeId};
use phoenix_net::TransportLimits;
use phoenix_net::wire::VERSION;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::net::{Net, QUIC, quick};
use crate::recorder::Told;
use crate::suite::{Started, numbered, send, start};

const TWO: NodeId = NodeId(2);

/// What `node.json` says.
#[derive(serde::Deserialize)]
pub(crate) struct NodeFile {
    pub(crate) cluster: String,
    pub(crate) certificate: String,
    pub(crate) authority: String,
}

impl NodeFile {
    /// Of the node whose directory this is.
    pub(crate) fn read(directory: &Path) -> Self {
        let file = std::fs::read_to_string(directory.join("node.json")).unwrap();
        serde_json::from_str(&file).unwrap()
    }
}

/// A hello as a node of the cluster would send it.
pub(crate) fn hello(file: &NodeFile, version: u16, node: u8) -> Vec<u8> {
    let cluster = data_encoding::HEXLOWER
        .decode(file.cluster.as_bytes())
        .unwrap();
    hello_of(version, node, &cluster)
}

fn hello_of(version: u16, node: u8, cluster: &[u8]) -> Vec<u8> {
    let mut body = vec![16];
    body.extend_from_slice(cluster);
    // Node, boot, an empty address, an empty name of the software, no wish, and
    // nothing read but what every node reads.
    body.extend_from_slice(&[node, 1, 0, 0, 0, 1, 1]);
    let mut hello = b"PHXN".to_vec();
    hello.extend_from_slice(&version.to_le_bytes());
    hello.extend_from_slice(&u16::try_from(body.len()).unwrap().to_le_bytes());
    hello.extend_from_slice(&body);
    hello
}

/// Node 1, as it should be, and somebody who holds the keys of node 2.
struct Scene {
    world: Net,
    one: Started,
    address: SocketAddr,
    file: NodeFile,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new() -> Self {
        Self::with(quick())
    }

    fn with(limits: TransportLimits) -> Self {
        let world = Net::with(QUIC, limits);
        world.cluster.identity(TWO);
        let file = NodeFile::read(&world.cluster.path("2"));
        let one = start(&world, 1, 1);
        Self {
            address: one.node.member().address.parse().unwrap(),
            file,
            runtime: tokio::runtime::Runtime::new().unwrap(),
            world,
            one,
        }
    }

    async fn connect(&self, with_certificate: bool) -> Connection {
        let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(pem(&self.file.authority)).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = if with_certificate {
            let key = self.world.cluster.path("2").join("node.key");
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            builder
                .with_client_auth_cert(vec![pem(&self.file.certificate)], key)
                .unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![b"phoenix-peer".to_vec()];
        let config = QuicClientConfig::try_from(config).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(config));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let name = format!("node-1.{}.phoenix", self.file.cluster);
        endpoint
            .connect_with(config, self.address, &name)
            .unwrap()
            .await
            .unwrap()
    }

    /// Listens as node 2 and closes each connection as soon as it stands. Returns
    /// where, and how many there were.
    fn listen_and_close(&self) -> (SocketAddr, Arc<AtomicUsize>) {
        let key = self.world.cluster.path("2").join("node.key");
        let certificate = CertificateDer::from_pem_slice(self.file.certificate.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"phoenix-peer".to_vec()];
        let config = QuicServerConfig::try_from(config).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(config));
        let _context = self.runtime.enter();
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let (hello, counted) = (self.hello(VERSION, 2), Arc::clone(&count));
        self.runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                // One that the dialler gives up is none of our business.
                let _ = close_once_it_stands(incoming, &hello).await;
            }
        });
        (address, count)
    }

    /// A hello as node 2 would send it.
    fn hello(&self, version: u16, node: u8) -> Vec<u8> {
        hello(&self.file, version, node)
    }

    /// Says hello and returns how the connection ends.
    fn end_after(&self, with_certificate: bool, hello: &[u8]) -> (u64, String) {
        self.runtime.block_on(async {
            let connection = self.connect(with_certificate).await;
            if let Ok((mut send, _receive)) = connection.open_bi().await {
                let _ = send.write_all(hello).await;
                return end(&connection).await;
            }
            end(&connection).await
        })
    }

    /// Connects as node 2 in good order, then writes `bytes` to a stream.
    fn end_after_bytes(&self, bytes: &[u8]) -> (u64, String) {
        self.runtime.block_on(async {
            let connection = self.connect(true).await;
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.write_all(&self.hello(VERSION, 2)).await.unwrap();
            let mut theirs = [0; 8];
            receive.read_exact(&mut theirs).await.unwrap();
            let mut rest = vec![0; usize::from(theirs[6])];
            receive.read_exact(&mut rest).await.unwrap();
            let mut verdict = [0; 9];
            receive.read_exact(&mut verdict).await.unwrap();
            assert_eq!(verdict[0], 1, "node 1 decides that it stands");
            let mut stream = connection.open_uni().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            end(&connection).await
        })
    }
}

async fn close_once_it_stands(
    incoming: quinn::Incoming,
    hello: &[u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let connection = incoming.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    send.write_all(hello).await?;
    let mut theirs = [0; 8];
    receive.read_exact(&mut theirs).await?;
    let mut rest = vec![0; usize::from(theirs[6]) + 9];
    receive.read_exact(&mut rest).await?;
    connection.close(13_u32.into(), b"not \x1b today");
    Ok(())
}

async fn end(connection: &Connection) -> (u64, String) {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => (
            close.error_code.into_inner(),
            String::from_utf8(close.reason.to_vec()).unwrap(),
        ),
        other => panic!("{other} is no close"),
    }
}

#[test]
fn another_version_is_refused_with_a_reason() {
    let scene = Scene::new();
    let (code, reason) = scene.end_after(true, &scene.hello(VERSION + 1, 2));
    assert_eq!(code, 3);
    assert!(reason.contains("version mismatch"), "{reason}");
    assert!(reason.contains(&(VERSION + 1).to_string()), "{reason}");
}

#[test]
fn who_is_not_who_they_say_is_refused() {
    let scene = Scene::new();
    assert_eq!(scene.end_after(true, &scene.hello(VERSION, 3)).0, 6);
    assert_eq!(scene.end_after(true, &scene.hello(VERSION, 1)).0, 6);
    assert_eq!(scene.end_after(true, &hello_of(VERSION, 2, &[0; 16])).0, 5);
    assert_eq!(scene.end_after(true, b"GET / HTTP/1.1\r\n").0, 4);
    let mut long = scene.hello(VERSION, 2);
    long[6..8].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(scene.end_after(true, &long).0, 8);
    assert_eq!(scene.one.events.story(TWO), []);
}

#[test]
fn who_shows_no_certificate_is_refused() {
    let scene = Scene::new();
    assert_eq!(scene.end_after(false, &scene.hello(VERSION, 2)).0, 9);
    assert_eq!(scene.one.events.story(TWO), []);
}

#[test]
fn who_says_nothing_is_let_go() {
    let scene = Scene::with(TransportLimits {
        handshake_timeout: Duration::from_millis(100),
        ..quick()
    });
    assert_eq!(scene.end_after(true, b"PHX").0, 0);
}

#[test]
fn a_peer_whose_links_break_at_once_is_not_dialled_without_rest() {
    let scene = Scene::with(TransportLimits {
        backoff_first: Duration::from_secs(3_600),
        backoff_most: Duration::from_secs(3_600),
        ..quick()
    });
    let (address, count) = scene.listen_and_close();
    scene.one.node.learn(Member {
        node: TWO,
        address: address.to_string(),
    });
    scene.one.events.wait_disconnected(TWO);
    let why = scene.world.stats(scene.one.id).peers[0].last_end.clone();
    assert_eq!(why.as_deref(), Some("not \\u{1b} today"));
    // While it waits it takes the connections that it is offered.
    for offered in 1..=5 {
        assert_eq!(scene.end_after_bytes(&[7, 0, 0, 0, 0]).0, 12);
        crate::suite::eventually("the offered link's end", || {
            scene.one.events.story(TWO).len() == 2 + 2 * offered
        });
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn who_has_not_said_hello_is_given_little() {
    let scene = Scene::with(TransportLimits {
        handshake_timeout: Duration::from_secs(1),
        ..quick()
    });
    scene.runtime.block_on(async {
        let connection = scene.connect(true).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        let written = async {
            let mut written = 0;
            let mut next: &[u8] = b"PHX";
            while let Ok(more) = send.write(next).await {
                written += more;
                next = &[b'X'; 1 << 10];
            }
            written
        };
        let opened = async {
            let opened = connection.open_uni().await.is_ok();
            connection.closed().await;
            opened
        };
        let (written, opened) = tokio::join!(written, opened);
        assert!(written <= 64 << 10, "{written} bytes");
        assert!(!opened, "a stream before the hello");
    });
}

#[test]
fn a_malformed_frame_ends_its_connection_and_no_other() {
    let scene = Scene::new();
    let three = start(&scene.world, 3, 1);
    three.node.learn(scene.one.node.member());
    scene.one.events.wait_connected(three.id, 1);
    three.events.wait_connected(scene.one.id, 1);
    let (ordered, frame) = (0_u8, |bytes: &[u8]| {
        let mut frame = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
        frame.extend_from_slice(bytes);
        frame
    });
    let bad = [
        // A length over the bound, an empty frame, an unknown tag, a name that
        // is none, bytes that follow the end, a list of more than there is.
        (u32::MAX.to_le_bytes().to_vec(), "bound"),
        (frame(&[]), "ends within"),
        (frame(&[0, 99]), "unknown"),
        (frame(&[0, 5, 1, b'x', 0]), "agent's id"),
        (frame(&[0, 15, 0]), "follow the end"),
        (frame(&[0, 12, 200]), "ends within"),
    ];
    for (count, (bytes, why)) in (1..).zip(&bad) {
        // The class and the number of its first segment come before.
        let bytes = [&[ordered, 0, 0, 0, 0], &bytes[..]].concat();
        let (code, reason) = scene.end_after_bytes(&bytes);
        assert_eq!(code, 8, "{reason}");
        assert!(reason.contains(why), "{reason} is about {why}");
        let one = &scene.one.events;
        crate::suite::eventually("both events", || one.story(TWO).len() == 2 * count);
    }
    assert_eq!(
        scene.end_after_bytes(&[7, 0, 0, 0, 0]).0,
        12,
        "there is no class 7"
    );
    let malformed = scene.world.stats(scene.one.id).malformed;
    assert_eq!(malformed, bad.len() as u64);
    // The other peer's connection is as it was.
    send(&three, scene.one.id, &numbered(0, 1));
    scene.one.events.wait_messages(three.id, 1);
    assert_eq!(
        scene.one.events.story(three.id),
        [Told::Connected(three.id, 1)]
    );
}
