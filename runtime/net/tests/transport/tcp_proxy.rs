//! A TCP proxy on loopback that delays, stalls and cuts connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Most bytes that are passed on at once.
const CHUNK: usize = 16 << 10;

#[derive(Clone, Copy, Default)]
pub(crate) struct TcpWeather {
    /// Each chunk takes up to this long, and those behind it wait.
    pub(crate) delay: Duration,
    /// Each chunk cuts its connection with a chance of one in so many; 0 for never.
    pub(crate) cut_one_in: u64,
    /// Nothing gets through, and nobody is told.
    pub(crate) stalled: bool,
}

struct State {
    weather: TcpWeather,
    target: SocketAddr,
    random: u64,
    ended: bool,
    /// Both ends of each connection there was.
    connections: Vec<(TcpStream, TcpStream)>,
    taken: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub(crate) struct TcpProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl TcpProxy {
    /// A proxy that listens at `address`.
    pub(crate) fn at(address: SocketAddr, target: SocketAddr, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                weather: TcpWeather::default(),
                target,
                random: seed | 1,
                ended: false,
                connections: Vec::new(),
                taken: 0,
            }),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&accepting, &listener));
        Ok(Self { shared, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, weather: TcpWeather) {
        self.shared.state.lock().weather = weather;
        self.shared.changed.notify_all();
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for (front, back) in self.shared.state.lock().connections.drain(..) {
            // Those that have ended are there, too.
            let _ = front.shutdown(Shutdown::Both);
            let _ = back.shutdown(Shutdown::Both);
        }
    }

    /// Connections that there were.
    pub(crate) fn taken(&self) -> usize {
        self.shared.state.lock().taken
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.changed.notify_all();
        self.cut();
        // Wakes the listener, which ends then.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for front in listener.incoming() {
        let mut state = shared.state.lock();
        if state.ended {
            return;
        }
        state.taken += 1;
        let target = state.target;
        drop(state);
        let (Ok(front), Ok(back)) = (front, TcpStream::connect(target)) else {
            continue;
        };
        for stream in [&front, &back] {
            stream.set_nodelay(true).unwrap();
        }
        let clone = |stream: &TcpStream| stream.try_clone().unwrap();
        let ends = (clone(&front), clone(&back));
        shared.state.lock().connections.push(ends);
        for (from, to) in [(clone(&front), clone(&back)), (back, front)] {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || pump(&shared, from, to));
        }
    }
}

fn pump(shared: &Shared, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || !may_pass(shared) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Holds a chunk up for as long as the weather wants; whether it goes on then.
fn may_pass(shared: &Shared) -> bool {
    let mut state = shared.state.lock();
    while state.weather.stalled && !state.ended {
        shared.changed.wait(&mut state);
    }
    let weather = state.weather;
    let cut = weather.cut_one_in > 0 && random(&mut state).is_multiple_of(weather.cut_one_in);
    let most = u64::try_from(weather.delay.as_micros()).unwrap();
    let delay = Duration::from_micros(random(&mut state) % most.max(1));
    let goes_on = !cut && !state.ended;
    drop(state);
    std::thread::sleep(delay);
    goes_on
}

fn random(state: &mut State) -> u64 {
    // Xorshift (Marsaglia).
    state.random ^= state.random << 13;
    state.random ^= state.random >> 7;
    state.random ^= state.random << 17;
    state.random
}
