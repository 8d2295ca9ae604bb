//! What happens while messages flow.

use std::collections::VecDeque;
use std::time::Duration;

use phoenix_core::control::Request;
use phoenix_net::memory::Faults;

use super::{NODES, Simulation};
use crate::{Random, node_id};

/// Things that are done in a storm, one every few milliseconds.
const STEPS: usize = 120;

impl Simulation {
    /// Lets the network fail and agents move and sleep. Returns how often nodes were
    /// parted.
    pub(super) fn storm(&self) -> u64 {
        let mut random = self.random(3);
        self.set_faults(&weather(&mut random));
        let network = self.cluster.network();
        let movers = self.movers();
        let pairs: Vec<(usize, usize)> = Self::pairs().collect();
        // Which are parted, and until which step.
        let mut parted: VecDeque<(usize, (usize, usize))> = VecDeque::new();
        let mut partings = 0;
        for step in 0..STEPS {
            while let Some((_, (one, other))) = parted.pop_front_if(|(until, _)| *until <= step) {
                network.heal(node_id(one), node_id(other));
            }
            let agent = movers[random.below(movers.len())].parse().unwrap();
            // Nobody waits for these: an agent may be on its way, and requests be lost.
            let client = self.cluster.client(1 + random.below(NODES));
            match random.below(20) {
                0..9 => {
                    let to = node_id(1 + random.below(NODES));
                    drop(client.begin(Request::Migrate { agent, to }));
                }
                9..16 => drop(client.begin(Request::Hibernate { agent })),
                16 if parted.is_empty() => {
                    let (one, other) = pairs[random.below(pairs.len())];
                    network.partition(node_id(one), node_id(other));
                    parted.push_back((step + 5 + random.below(20), (one, other)));
                    partings += 1;
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_micros(1_000 + random.below(6_000) as u64));
        }
        partings
    }
}

/// What the network does to every pair.
fn weather(random: &mut Random) -> Faults {
    let mut one_in = |least, most| {
        let many = least + random.below(most - least);
        Some(u32::try_from(many).unwrap())
    };
    Faults {
        drop_one_in: Some(20),
        repeat_one_in: one_in(5, 30),
        late_one_in: one_in(5, 30),
        break_one_in: one_in(300, 1_000),
        late_by: Duration::from_millis(20),
        delay_least: Duration::ZERO,
        delay_most: Duration::from_millis(random.below(5) as u64),
    }
}
