//! One row: two sides, sampled in turns, and the medians of both.

use crate::load::{Load, Watch};

/// What a row measures.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What one unit of it is, in a sentence.
    pub(crate) what: &'static str,
    /// The unit of both sides.
    pub(crate) unit: &'static str,
    /// What stands on the other side.
    pub(crate) peer_name: &'static str,
    /// Highest ratio of ours to the peer's that will do.
    pub(crate) bar: f64,
    /// The ratio hoped for.
    pub(crate) aim: f64,
    /// Samples are taken at most so many times, whatever is asked for.
    pub(crate) max_rounds: u32,
    /// Sets both sides up.
    pub(crate) open: fn() -> anyhow::Result<Pair>,
}

/// One side of a row.
pub(crate) trait Side {
    /// Measures once, in the row's unit.
    fn sample(&mut self) -> anyhow::Result<f64>;

    /// What all samples come to, where that is not their median.
    fn outcome(&self) -> Option<f64> {
        None
    }

    /// Lines for people about what the samples consist of.
    fn details(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<F: FnMut() -> anyhow::Result<f64>> Side for F {
    fn sample(&mut self) -> anyhow::Result<f64> {
        self()
    }
}

/// Both sides of a row, ready to be sampled.
pub(crate) struct Pair {
    /// Phoenix.
    pub(crate) ours: Box<dyn Side>,
    /// The peer, or why it is not here.
    pub(crate) peer: Result<Box<dyn Side>, String>,
}

/// What a row's run gave.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Median of ours.
    pub(crate) ours: f64,
    /// Median of the peer's, or why there is none.
    pub(crate) peer: Result<f64, String>,
    /// How busy the machine was.
    pub(crate) load: Load,
    /// What ours consists of, for people.
    pub(crate) details: Vec<String>,
}

impl Measured {
    /// Ours over the peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let peer = *self.peer.as_ref().ok()?;
        (peer > 0.0).then_some(self.ours / peer)
    }
}

/// Runs a row: a warm-up of both sides, then `rounds` samples of each in turns.
pub(crate) fn measure(row: &Row, rounds: u32) -> anyhow::Result<Measured> {
    let mut pair = (row.open)()?;
    let rounds = rounds.min(row.max_rounds);
    let watch = Watch::start();
    let mut ours = Vec::new();
    let mut peers = Vec::new();
    // One sample of a row that takes seconds needs no warm-up.
    let warm_ups = u32::from(row.max_rounds > 1);
    for round in 0..rounds + warm_ups {
        let our = pair.ours.sample()?;
        let peer = match &mut pair.peer {
            Ok(side) => Some(side.sample()?),
            Err(_) => None,
        };
        if round >= warm_ups {
            ours.push(our);
            peers.extend(peer);
        }
    }
    let load = watch.stop();
    let outcome =
        |side: &dyn Side, samples: &mut [f64]| side.outcome().unwrap_or_else(|| median(samples));
    Ok(Measured {
        ours: outcome(&*pair.ours, &mut ours),
        peer: pair.peer.map(|peer| outcome(&*peer, &mut peers)),
        load,
        details: pair.ours.details(),
    })
}

/// The middle value, the mean of the two middle ones of an even number; 0 of none.
pub(crate) fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let upper = samples.get(samples.len() / 2).copied().unwrap_or(0.0);
    if samples.len() % 2 == 1 {
        return upper;
    }
    let lower = samples.get((samples.len() / 2).saturating_sub(1));
    f64::midpoint(lower.copied().unwrap_or(0.0), upper)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    thread_local!(static CALLS: Rc<RefCell<String>> = Rc::default());

    fn row(open: fn() -> anyhow::Result<Pair>) -> Row {
        Row {
            name: "row",
            what: "what",
            unit: "ns",
            peer_name: "peer",
            bar: 1.0,
            aim: 1.0,
            max_rounds: 100,
            open,
        }
    }

    fn lettered(letter: char, value: f64) -> Box<dyn Side> {
        Box::new(move || {
            CALLS.with(|calls| calls.borrow_mut().push(letter));
            Ok(value)
        })
    }

    #[test]
    fn the_sides_take_turns_after_a_warm_up() {
        let measured = measure(
            &row(|| {
                Ok(Pair {
                    ours: lettered('A', 30.0),
                    peer: Ok(lettered('B', 20.0)),
                })
            }),
            3,
        )
        .unwrap();
        assert_eq!(CALLS.with(|calls| calls.borrow().clone()), "ABABABAB");
        assert_eq!(measured.ratio(), Some(1.5));
    }

    #[test]
    fn a_peer_that_is_missing_leaves_ours() {
        let measured = measure(
            &row(|| {
                Ok(Pair {
                    ours: lettered('A', 30.0),
                    peer: Err("it is not installed".to_owned()),
                })
            }),
            1,
        )
        .unwrap();
        assert_eq!(measured.ours, 30.0);
        assert_eq!(measured.ratio(), None);
        assert_eq!(measured.peer, Err("it is not installed".to_owned()));
    }

    #[test]
    fn medians() {
        assert_eq!(median(&mut [5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
