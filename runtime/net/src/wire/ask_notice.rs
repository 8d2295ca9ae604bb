//! What is said about asks beside the messages.

use phoenix_core::{AskLink, AskNotice, MAX_PROBE_LINKS, Probe};

use super::codec::{Wire, choice, record};
use super::input::{Input, Malformed};
use super::output::Output;

choice!(AskNotice as "a notice of an ask" {
    0 => Probe(probe),
    1 => Cancel { to, ask },
});

record!(AskLink {
    asker,
    incarnation,
    ask,
    made,
    lane,
    number,
});

impl Wire for Probe {
    fn put(&self, out: &mut Output) {
        let Self {
            to,
            sent,
            budget,
            again,
            links,
        } = self;
        to.put(out);
        sent.put(out);
        budget.put(out);
        again.put(out);
        links.put(out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        let probe = Self {
            to: Wire::get(input)?,
            sent: Wire::get(input)?,
            budget: Wire::get(input)?,
            again: Wire::get(input)?,
            links: Wire::get(input)?,
        };
        if probe.links.len() > MAX_PROBE_LINKS {
            return Err(Malformed::Range("the links of a probe"));
        }
        Ok(probe)
    }
}
