//! Nodes between which UDP does not get through.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::copy;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::spawn;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Node;
use crate::process::{Process, phoenix};

/// What lies before a node: UDP and TCP are passed on to it, UDP only while it is
/// not blocked. Its threads end with the process.
struct Passage {
    /// Where others find the node.
    address: SocketAddr,
    /// Where it is to listen: at the same port of another address of the loopback,
    /// which nobody else uses.
    target: SocketAddr,
    udp_blocked: Arc<AtomicBool>,
}

impl Passage {
    fn new() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            // What is free for the one may be taken for the other.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let target = SocketAddr::from(([127, 0, 0, 2], address.port()));
        let udp_blocked = Arc::new(AtomicBool::new(true));
        let blocked = Arc::clone(&udp_blocked);
        spawn(move || pass_packets(udp, target, &blocked));
        spawn(move || {
            for front in tcp.incoming().flatten() {
                // A node that does not listen yet refuses, as it would without this.
                if let Ok(back) = TcpStream::connect(target) {
                    pass_streams(&front, &back);
                }
            }
        });
        Self {
            address,
            target,
            udp_blocked,
        }
    }

    fn block_udp(&self, blocked: bool) {
        self.udp_blocked.store(blocked, Ordering::Relaxed);
    }

    /// Flags of the node behind it.
    fn flags(&self) -> [String; 6] {
        let (target, address) = (self.target.to_string(), self.address.to_string());
        let [api, any, listen, advertise] =
            ["--api", "127.0.0.1:0", "--listen", "--advertise"].map(str::to_owned);
        [api, any, listen, target, advertise, address]
    }
}

/// Passes packets on, with a socket of its own towards `target` for each sender.
fn pass_packets(front: UdpSocket, target: SocketAddr, blocked: &Arc<AtomicBool>) {
    let front = Arc::new(front);
    let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut packet = vec![0; 1 << 16];
    while let Ok((length, client)) = front.recv_from(&mut packet) {
        let back = backs.entry(client).or_insert_with(|| {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
            back.connect(target).unwrap();
            let (answers, front, blocked) = (back.clone(), front.clone(), blocked.clone());
            spawn(move || {
                let mut packet = vec![0; 1 << 16];
                loop {
                    // That nobody listens there shows as an error, now and then.
                    if let Ok(length) = answers.recv(&mut packet)
                        && !blocked.load(Ordering::Relaxed)
                    {
                        let _ = front.send_to(&packet[..length], client);
                    }
                }
            });
            back
        });
        if !blocked.load(Ordering::Relaxed) {
            let _ = back.send(&packet[..length]);
        }
    }
}

fn pass_streams(front: &TcpStream, back: &TcpStream) {
    for (from, to) in [(front, back), (back, front)] {
        from.set_nodelay(true).unwrap();
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        spawn(move || {
            // Either side may end it.
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}

/// How `node` reaches `other`, once that is over `protocol`.
fn await_path(node: &Node, other: &str, protocol: &str) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = node.ask(&["nodes"]);
        let mut nodes = answer["nodes"].as_array().unwrap().iter();
        let path = nodes
            .find(|one| one["node"] == other)
            .map(|one| &one["path"]);
        if let Some(path) = path
            && path["protocol"] == protocol
        {
            return path.clone();
        }
        assert!(Instant::now() < until, "not over {protocol}: {answer}");
    }
}

/// What a person sees.
fn table(node: &Node) -> String {
    let mut command = phoenix();
    command.args(["--data", node.data.path().to_str().unwrap(), "nodes"]);
    let output = Process::start(&mut command).end();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn where_udp_is_blocked_nodes_talk_over_http2_and_go_back_to_quic_when_it_opens() {
    let passages = [Passage::new(), Passage::new()];
    let start = |passage: &Passage, more: &[&str]| {
        let flags = passage.flags();
        let flags: Vec<&str> = flags
            .iter()
            .map(String::as_str)
            .chain(more.to_vec())
            .collect();
        Node::start_as_it_is(&flags).0
    };
    let first = start(&passages[0], &[]);
    // Joining goes the same way.
    let second = start(&passages[1], &["--join", &first.token()]);
    let path = await_path(&first, "node-2", "http2");
    assert_eq!(
        (&path["bulk"], &path["datagrams"]),
        (&"http2".into(), &false.into())
    );
    let reason = path["reason"].as_str().unwrap();
    assert!(reason.starts_with("http2: "), "{reason}");
    await_path(&second, "node-1", "http2");
    let shown = table(&first);
    assert!(shown.contains("http2: "), "{shown}");
    first.ask(&["deploy", "--sample", "counter"]);
    first.counter_on("node-2", "counter/alice", 5);

    for passage in &passages {
        passage.block_udp(false);
    }
    await_path(&first, "node-2", "quic");
    await_path(&second, "node-1", "quic");
    let answer = first.ask(&["call", "counter/alice", "add", "1"])["answer"].clone();
    assert_eq!(answer, 6, "nothing was lost on the way");
    assert!(!table(&first).contains("http2: "));

    // UDP that is blocked under way is noticed, and left again.
    for passage in &passages {
        passage.block_udp(true);
    }
    let path = await_path(&first, "node-2", "http2");
    let reason = path["reason"].as_str().unwrap();
    assert!(reason.contains("QUIC fell silent"), "{reason}");
    let answer = first.ask(&["call", "counter/alice", "add", "1"])["answer"].clone();
    assert_eq!(answer, 7);
}
