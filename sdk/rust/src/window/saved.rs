//! Windows as serde has them: what cannot be worked out from the rest.

use serde::{Deserialize, Serialize, Serializer};

use super::{BadWindow, Hops, Keyed, Merge, Piece, Rules, Shape, Windows, divisor};
use crate::time::Timestamp;

/// First instant, latest event, aggregate.
type Stretch<A> = (u64, u64, A);

/// As they are read.
#[derive(Deserialize)]
pub(super) struct Saved<A, K> {
    rules: Rules,
    watermark: u64,
    late: u64,
    refused: u64,
    armed: Option<Timestamp>,
    /// Each key with its stretches.
    keys: Vec<(K, Vec<Stretch<A>>)>,
}

/// As they are written. A list of keys, because not every key can be a key in JSON.
#[derive(Serialize)]
struct Writing<'a, A, K> {
    rules: Rules,
    watermark: u64,
    late: u64,
    refused: u64,
    armed: Option<Timestamp>,
    keys: Vec<(&'a K, Vec<Stretch<&'a A>>)>,
}

impl<A: Serialize, K: Ord + Serialize> Serialize for Windows<A, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Writing {
            rules: self.rules,
            watermark: self.watermark,
            late: self.late,
            refused: self.refused,
            armed: self.armed,
            keys: self
                .keys
                .iter()
                .map(|(key, keyed)| (key, written(keyed)))
                .collect(),
        }
        .serialize(serializer)
    }
}

fn written<A>(keyed: &Keyed<A>) -> Vec<Stretch<&A>> {
    let pieces = keyed.pieces.iter();
    pieces
        .map(|(start, piece)| (*start, piece.last, &piece.value))
        .collect()
}

impl<A: Merge, K: Ord + Clone> TryFrom<Saved<A, K>> for Windows<A, K> {
    type Error = BadWindow;

    fn try_from(saved: Saved<A, K>) -> Result<Self, BadWindow> {
        let shape = saved.rules.shape.checked()?;
        let mut windows = Self::of(saved.rules);
        windows.watermark = saved.watermark;
        windows.late = saved.late;
        windows.refused = saved.refused;
        windows.armed = saved.armed;
        for (key, stretches) in saved.keys {
            let (keyed, open) = match shape {
                Shape::Hopping { size, hop } => {
                    hopping(Hops { size, hop }, saved.watermark, stretches)?
                }
                Shape::Session { gap } => sessions(gap, saved.watermark, stretches)?,
            };
            windows.open = windows.open.saturating_add(open);
            windows.due.insert((keyed.due, key.clone()));
            if windows.keys.insert(key, keyed).is_some() {
                return Err(refused("a key is there twice"));
            }
        }
        if windows.open > saved.rules.max_open {
            return Err(refused("more windows are open than may be"));
        }
        Ok(windows)
    }
}

fn refused(what: &'static str) -> BadWindow {
    BadWindow::Saved { what }
}

/// One key's panes, and how many windows they keep open.
fn hopping<A: Merge>(
    hops: Hops,
    watermark: u64,
    stretches: Vec<Stretch<A>>,
) -> Result<(Keyed<A>, u64), BadWindow> {
    let pane = divisor(hops.size, hops.hop);
    let mut keyed = Keyed::none();
    let mut open = 0_u64;
    for (start, last, value) in stretches {
        if start % pane != 0 || last < start || last - start >= pane {
            return Err(refused("a stretch is none between two bounds of windows"));
        }
        let first = hops.first(start).max(hops.first(watermark));
        if hops.last(start) < first {
            return Err(refused("a stretch is in no open window"));
        }
        after_the_rest(&keyed, start)?;
        open = open.saturating_add(hops.opened(first, start, Some(&keyed.pieces)));
        if keyed.pieces.is_empty() {
            keyed.next = first;
            keyed.due = hops.end(first);
        }
        keyed.pieces.insert(start, Piece { last, value });
    }
    not_empty(keyed, open)
}

/// One key's sessions, and how many they are.
fn sessions<A: Merge>(
    gap: u64,
    watermark: u64,
    stretches: Vec<Stretch<A>>,
) -> Result<(Keyed<A>, u64), BadWindow> {
    let mut keyed = Keyed::none();
    let open = stretches.len() as u64;
    for (start, last, value) in stretches {
        let end = last.saturating_add(gap);
        if last < start || end <= watermark {
            return Err(refused("a session has ended, or ends before it begins"));
        }
        after_the_rest(&keyed, start)?;
        let before = keyed.pieces.last_key_value();
        if before.is_some_and(|(_, before)| start.saturating_sub(before.last) < gap) {
            return Err(refused("two sessions are less than a gap apart"));
        }
        keyed.pieces.insert(start, Piece { last, value });
    }
    keyed.due = keyed.first_session_end(gap);
    not_empty(keyed, open)
}

fn after_the_rest<A>(keyed: &Keyed<A>, start: u64) -> Result<(), BadWindow> {
    let before = keyed.pieces.last_key_value();
    if before.is_some_and(|(before, _)| *before >= start) {
        return Err(refused("stretches are not in their order"));
    }
    Ok(())
}

fn not_empty<A>(keyed: Keyed<A>, open: u64) -> Result<(Keyed<A>, u64), BadWindow> {
    if keyed.pieces.is_empty() {
        return Err(refused("a key has no event"));
    }
    Ok((keyed, open))
}
