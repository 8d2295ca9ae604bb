//! HTTP/2 over TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use phoenix_core::NodeId;
use phoenix_net::TransportLimits;
use phoenix_net::wire::VERSION;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::runtime::Runtime;

use crate::intruder::{NodeFile, hello};
use crate::net::{HTTP2, Net, Outdoors, quick};
use crate::recorder::Told;
use crate::suite::{Started, eventually, numbered, send, start, transport_suite};
use crate::weather::weather_suite;

transport_suite!(Net::new(HTTP2));
weather_suite!(Outdoors(HTTP2));

const TWO: NodeId = NodeId(2);

/// Node 1, as it should be, and somebody who holds the keys of node 2.
struct Scene {
    world: Net,
    one: Started,
    address: SocketAddr,
    file: NodeFile,
    runtime: Runtime,
}

/// A stream both ways.
type Both = (h2::SendStream<Bytes>, h2::RecvStream);

impl Scene {
    fn new() -> Self {
        Self::with(quick())
    }

    fn with(limits: TransportLimits) -> Self {
        let world = Net::with(HTTP2, limits);
        world.cluster.identity(TWO);
        let file = NodeFile::read(&world.cluster.path("2"));
        let one = start(&world, 1, 1);
        Self {
            address: one.node.member().address.parse().unwrap(),
            file,
            runtime: Runtime::new().unwrap(),
            world,
            one,
        }
    }

    async fn connect(&self, with_certificate: bool) -> SendRequest<Bytes> {
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
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(format!("node-1.{}.phoenix", self.file.cluster)).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tls = connector.connect(name, tcp).await.unwrap();
        let (requests, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        requests
    }

    /// Opens the three streams of a peer.
    async fn streams(&self, requests: &SendRequest<Bytes>) -> [Both; 3] {
        let mut streams = Vec::new();
        for path in ["control", "ordered", "bulk"] {
            let (answer, send) = request(requests, &format!("/phoenix/peer/{path}"));
            streams.push((send, answer));
        }
        let mut both = Vec::new();
        for (send, answer) in streams {
            both.push((send, answer.await.unwrap().into_body()));
        }
        both.try_into().unwrap()
    }

    /// Says `hello` and returns what node 1 says when it closes.
    fn end_after(&self, with_certificate: bool, hello: Vec<u8>) -> (u16, String) {
        self.runtime.block_on(async {
            let requests = self.connect(with_certificate).await;
            let [(mut send, mut receive), ..] = self.streams(&requests).await;
            // One without a certificate is not listened to.
            let _ = send.send_data(hello.into(), false);
            closed(&mut receive, &mut Vec::new()).await
        })
    }

    /// Connects as node 2 in good order, then writes `bytes` to the ordered stream.
    fn end_after_bytes(&self, bytes: Vec<u8>) -> (u16, String) {
        self.runtime.block_on(async {
            let requests = self.connect(true).await;
            let [(mut send, mut receive), (mut ordered, _), _bulk] = self.streams(&requests).await;
            let hello = hello(&self.file, VERSION, 2);
            send.send_data(hello.into(), false).unwrap();
            let mut said = Vec::new();
            let theirs = read(&mut receive, &mut said, 8).await;
            assert_eq!(theirs[..4], *b"PHXN");
            read(&mut receive, &mut said, usize::from(theirs[6])).await;
            let verdict = read(&mut receive, &mut said, 9).await;
            assert_eq!(verdict[0], 1, "node 1 decides that it stands");
            ordered.send_data(bytes.into(), false).unwrap();
            closed(&mut receive, &mut said).await
        })
    }
}

fn request(
    requests: &SendRequest<Bytes>,
    path: &str,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let request = http::Request::post(format!("https://node{path}"));
    let request = request.body(()).unwrap();
    requests.clone().send_request(request, false).unwrap()
}

/// The next `count` bytes; what came beyond them is left in `said`.
async fn read(stream: &mut h2::RecvStream, said: &mut Vec<u8>, count: usize) -> Vec<u8> {
    while said.len() < count {
        let bytes = stream.data().await.unwrap().unwrap();
        said.extend_from_slice(&bytes);
        stream.flow_control().release_capacity(bytes.len()).unwrap();
    }
    said.drain(..count).collect()
}

/// Why it is closed.
async fn closed(stream: &mut h2::RecvStream, said: &mut Vec<u8>) -> (u16, String) {
    let head = read(stream, said, 5).await;
    assert_eq!(head[0], 0, "the tag of a close");
    let code = u16::from_le_bytes([head[1], head[2]]);
    let length = u16::from_le_bytes([head[3], head[4]]);
    let text = read(stream, said, usize::from(length)).await;
    (code, String::from_utf8(text).unwrap())
}

#[test]
fn who_is_not_who_they_say_is_refused() {
    let scene = Scene::new();
    let of = |version, node| hello(&scene.file, version, node);
    let (code, reason) = scene.end_after(true, of(VERSION + 1, 2));
    assert_eq!(code, 3);
    assert!(reason.contains("version mismatch"), "{reason}");
    assert_eq!(scene.end_after(true, of(VERSION, 3)).0, 6);
    assert_eq!(scene.end_after(true, of(VERSION, 1)).0, 6);
    assert_eq!(scene.end_after(true, b"GET / HTTP/1.1\r\n".to_vec()).0, 4);
    assert_eq!(scene.end_after(false, of(VERSION, 2)).0, 9);
    assert_eq!(scene.one.events.story(TWO), []);
}

#[test]
fn what_is_no_http2_is_let_go() {
    let scene = Scene::with(TransportLimits {
        handshake_timeout: Duration::from_millis(200),
        ..quick()
    });
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[22, 3, 1], b""] {
        let mut tcp = TcpStream::connect(scene.address).unwrap();
        tcp.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // It may be let go with a word or without.
        let _ = tcp.read_to_end(&mut answer);
    }
    // What nobody asks for is not there, and what comes in another order is not taken.
    for path in ["/", "/phoenix/peer/bulk"] {
        scene.runtime.block_on(async {
            let requests = scene.connect(true).await;
            let (answer, _send) = request(&requests, path);
            if let Ok(answer) = answer.await {
                assert_eq!(answer.status(), 404);
            }
        });
    }
    assert_eq!(scene.one.events.told(), []);
}

#[test]
fn who_has_not_said_hello_is_given_little() {
    let scene = Scene::with(TransportLimits {
        handshake_timeout: Duration::from_secs(1),
        ..quick()
    });
    scene.runtime.block_on(async {
        let requests = scene.connect(true).await;
        let [_control, (mut ordered, _), (mut bulk, _)] = scene.streams(&requests).await;
        let mut written = 0;
        for stream in [&mut ordered, &mut bulk] {
            stream.reserve_capacity(1 << 20);
            // As long as it is not let go, what it has is all it gets.
            while let Some(Ok(room)) =
                std::future::poll_fn(|context| stream.poll_capacity(context)).await
            {
                written += room;
                if stream.send_data(vec![0; room].into(), false).is_err() {
                    break;
                }
                stream.reserve_capacity(1 << 20);
            }
        }
        assert!(written <= 64 << 10, "{written} bytes");
    });
}

#[test]
fn a_malformed_frame_ends_its_connection_and_no_other() {
    let scene = Scene::new();
    let three = start(&scene.world, 3, 1);
    three.node.learn(scene.one.node.member());
    scene.one.events.wait_connected(three.id, 1);
    three.events.wait_connected(scene.one.id, 1);
    let segment = |class: u8, bytes: &[u8]| [&[class, 0, 0, 0, 0], bytes].concat();
    let bad = [
        (segment(0, &u32::MAX.to_le_bytes()), 8, "bound"),
        (segment(0, &[2, 0, 0, 0, 0, 99]), 8, "unknown"),
        (segment(7, &[]), 12, "stream"),
    ];
    for (count, (bytes, code, why)) in (1..).zip(bad) {
        let (found, reason) = scene.end_after_bytes(bytes);
        assert_eq!(found, code, "{reason}");
        assert!(reason.contains(why), "{reason} is about {why}");
        let one = &scene.one.events;
        eventually("both events", || one.story(TWO).len() == 2 * count);
    }
    send(&three, scene.one.id, &numbered(0, 1));
    scene.one.events.wait_messages(three.id, 1);
    let story = [Told::Connected(three.id, 1)];
    assert_eq!(scene.one.events.story(three.id), story);
}

#[test]
fn a_held_up_handler_stands_any_number_of_small_frames() {
    // Each is sent by itself, and none is read: the library's guard against floods
    // of small frames must not take that for one.
    const COUNT: u64 = 20_000;
    let world = Net::new(HTTP2);
    let (one, two) = crate::suite::pair(&world);
    two.events.block(one.id);
    send(&one, two.id, &numbered(0, 0));
    two.events.wait_blocked(one.id);
    for number in 1..COUNT {
        send(&one, two.id, &numbered(0, number * 3 + 1));
        let sent = world.stats(one.id).peers[0].sent_messages;
        assert!(sent > number);
        std::thread::yield_now();
    }
    two.events.unblock(one.id);
    let count = usize::try_from(COUNT).unwrap();
    two.events.wait_messages(one.id, count);
    assert_eq!(one.events.story(two.id), [Told::Connected(two.id, 1)]);
}
