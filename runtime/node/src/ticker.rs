//! The node's heartbeat: epochs, relief of slow turns, deadlines of what waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use phoenix_host::Host;

use crate::clock;
use crate::counters::count;
use crate::pressure::Gauge;
use crate::shared::Shared;
use crate::worker::Event;

/// How often deadlines of clients, fetches and directory requests are looked at.
const SWEEP: Duration = Duration::from_millis(20);
/// How often the memory the system has left is looked at.
const GAUGE: Duration = Duration::from_secs(1);

/// Starts the thread. It ends soon after `stop` is set.
pub(crate) fn start(
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name("ticker".to_owned())
        .spawn(move || {
            let mut swept = Instant::now();
            let mut gauged = Instant::now();
            let gauge = Gauge::new();
            while !stop.load(Ordering::Acquire) {
                std::thread::sleep(Host::TICK);
                shared.host.tick();
                let now = clock::now();
                for seat in &shared.seats {
                    if seat.relieve(now) {
                        count(&shared.counters.handovers);
                    }
                }
                if gauged.elapsed() >= GAUGE {
                    gauged = Instant::now();
                    gauge_memory(&shared, &gauge);
                }
                if swept.elapsed() >= SWEEP {
                    swept = Instant::now();
                    shared.clients.expire(now.millis());
                    shared.directory.expire(now.millis());
                    shared.expire_fetches(now.millis());
                    shared.ask_again(now.millis());
                    shared.lease_again(now.millis());
                    shared.expire_flows(now.millis());
                }
            }
        })
}

/// While memory is short, sleeping agents leave it, and idle ones fall asleep.
fn gauge_memory(shared: &Shared, gauge: &Gauge) {
    let Some(memory) = gauge.read() else {
        return;
    };
    if shared.sleepers.adapt(memory.available, memory.limit) {
        for seat in &shared.seats {
            seat.post(Event::Shrink);
        }
    }
}
