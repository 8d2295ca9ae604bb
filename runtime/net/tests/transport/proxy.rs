//! A UDP proxy on loopback that loses, doubles and delays packets, or loses all of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How often threads look whether they are to end.
const TICK: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Of a thousand packets, so many are lost.
    pub(crate) lost_per_mille: u64,
    /// Of a thousand packets, so many come twice.
    pub(crate) doubled_per_mille: u64,
    /// Packets take this long at least.
    pub(crate) least: Duration,
    /// And up to this much longer, each its own time, so they overtake each other.
    pub(crate) delay: Duration,
    /// Nothing gets through.
    pub(crate) silent: bool,
}

/// Due time, a count to keep the order, socket and receiver, packet.
type Late = Reverse<(Instant, u64, usize, SocketAddr, Vec<u8>)>;

struct State {
    weather: Weather,
    target: SocketAddr,
    random: u64,
    count: u64,
    late: BinaryHeap<Late>,
    /// The socket clients see, and one towards the target for each of them.
    sockets: Vec<Arc<UdpSocket>>,
    clients: BTreeMap<SocketAddr, usize>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    ended: AtomicBool,
}

pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    pub(crate) fn new(target: SocketAddr, seed: u64) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        Self::at(any, target, seed).unwrap()
    }

    /// A proxy that listens at `address`.
    pub(crate) fn at(address: SocketAddr, target: SocketAddr, seed: u64) -> std::io::Result<Self> {
        let front = Arc::new(UdpSocket::bind(address)?);
        let address = front.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                weather: Weather::default(),
                target,
                random: seed | 1,
                count: 0,
                late: BinaryHeap::new(),
                sockets: vec![Arc::clone(&front)],
                clients: BTreeMap::new(),
            }),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let (listening, sending) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::spawn(move || from_clients(&listening, &front));
        std::thread::spawn(move || send_late(&sending));
        Ok(Self { shared, address })
    }

    /// `host:port` that stands for the target.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.shared.state.lock().weather = weather;
    }

    /// Sends what comes from now on elsewhere.
    pub(crate) fn aim(&self, target: SocketAddr) {
        self.shared.state.lock().target = target;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

fn receive(shared: &Shared, socket: &UdpSocket, mut packet: impl FnMut(&[u8], SocketAddr)) {
    socket.set_read_timeout(Some(TICK)).unwrap();
    let mut buffer = vec![0; 1 << 16];
    while !shared.ended.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            packet(&buffer[..length], from);
        }
    }
}

fn from_clients(shared: &Arc<Shared>, front: &UdpSocket) {
    receive(shared, front, |packet, client| {
        let mut state = shared.state.lock();
        let socket = match state.clients.get(&client) {
            Some(socket) => *socket,
            None => {
                let socket = state.sockets.len();
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
                state.sockets.push(Arc::clone(&back));
                state.clients.insert(client, socket);
                let shared = Arc::clone(shared);
                std::thread::spawn(move || {
                    receive(&shared, &back, |packet, _| {
                        pass(&shared, &mut shared.state.lock(), 0, client, packet);
                    });
                });
                socket
            }
        };
        let target = state.target;
        pass(shared, &mut state, socket, target, packet);
    });
}

fn pass(shared: &Shared, state: &mut State, socket: usize, to: SocketAddr, packet: &[u8]) {
    let weather = state.weather;
    if weather.silent || random(state) % 1_000 < weather.lost_per_mille {
        return;
    }
    let times = 1 + u64::from(random(state) % 1_000 < weather.doubled_per_mille);
    for _ in 0..times {
        pass_one(shared, state, socket, to, packet);
    }
}

fn pass_one(shared: &Shared, state: &mut State, socket: usize, to: SocketAddr, packet: &[u8]) {
    let weather = state.weather;
    if weather.least.is_zero() && weather.delay.is_zero() {
        // What cannot be sent is lost, as on any network.
        let _ = state.sockets[socket].send_to(packet, to);
        return;
    }
    let most = u64::try_from(weather.delay.as_micros()).unwrap();
    let delay = weather.least + Duration::from_micros(random(state) % most.max(1));
    state.count += 1;
    let late = (
        Instant::now() + delay,
        state.count,
        socket,
        to,
        packet.to_vec(),
    );
    state.late.push(Reverse(late));
    shared.changed.notify_all();
}

fn random(state: &mut State) -> u64 {
    // Xorshift (Marsaglia).
    state.random ^= state.random << 13;
    state.random ^= state.random >> 7;
    state.random ^= state.random << 17;
    state.random
}

fn send_late(shared: &Shared) {
    let mut state = shared.state.lock();
    while !shared.ended.load(Ordering::Relaxed) {
        let due = state.late.peek().map(|Reverse(late)| late.0);
        if due.is_some_and(|due| due <= Instant::now()) {
            if let Some(Reverse((_, _, socket, to, packet))) = state.late.pop() {
                let _ = state.sockets[socket].send_to(&packet, to);
            }
        } else {
            let until = due.unwrap_or_else(|| Instant::now() + TICK);
            shared.changed.wait_until(&mut state, until);
        }
    }
}
