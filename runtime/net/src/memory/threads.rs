//! The threads of a network that delivers by itself.

use std::sync::Arc;

use super::Shared;
use super::network::{Next, PathKey};

/// Starts the thread that delivers what comes on one path. It ends with the
/// node, or with the network.
pub(super) fn spawn(shared: &Arc<Shared>, key: PathKey) {
    let shared = Arc::clone(shared);
    let (from, to) = (key.from, key.to);
    let spawned = std::thread::Builder::new()
        .name(format!("memory {}-{}", from.0, to.0))
        .spawn(move || deliver(&shared, &key));
    if let Err(error) = spawned {
        tracing::error!(%error, %from, %to, "no thread for a path of the memory network");
    }
}

fn deliver(shared: &Arc<Shared>, key: &PathKey) {
    let mut network = shared.network.lock();
    loop {
        let next = network.next(key);
        // Connecting again may have made paths.
        let started = network.take_started();
        if !started.is_empty() {
            drop(network);
            for path in started {
                spawn(shared, path);
            }
            network = shared.network.lock();
        }
        match next {
            Next::Tell(events, arrived) => {
                drop(network);
                arrived.tell(key.from, &*events);
                drop(events);
                network = shared.network.lock();
            }
            Next::Again => {}
            Next::WaitUntil(at) => {
                key.wake.wait_until(&mut network, at);
            }
            Next::Wait => key.wake.wait(&mut network),
            Next::End => return,
        }
    }
}
