//! Where agents were found last.

use phoenix_core::AgentId;

/// Places for agents; a power of two.
const PLACES: usize = 8;

/// A few agents and their slots, found without hashing an id: messages go back and
/// forth between the same ones.
#[derive(Debug, Default)]
pub(super) struct Recent([Option<(AgentId, u32)>; PLACES]);

impl Recent {
    /// Its slot, if it was noted and not forgotten.
    #[inline]
    pub(super) fn get(&self, agent: &AgentId) -> Option<u32> {
        let (known, slot) = self.0.get(place(agent))?.as_ref()?;
        // Of one sender's messages the ids are most often the same allocation.
        let is_it = std::ptr::eq(known.as_str(), agent.as_str()) || known == agent;
        is_it.then_some(*slot)
    }

    /// Notes an agent's slot. Another may be forgotten for it.
    pub(super) fn note(&mut self, agent: &AgentId, slot: u32) {
        if let Some(at) = self.0.get_mut(place(agent)) {
            *at = Some((agent.clone(), slot));
        }
    }

    /// The agent has left its slot, or has another.
    pub(super) fn forget(&mut self, agent: &AgentId) {
        if let Some(at) = self.0.get_mut(place(agent)) {
            *at = None;
        }
    }
}

/// Keys that are counted up differ in their last byte.
#[inline]
fn place(agent: &AgentId) -> usize {
    let text = agent.as_str().as_bytes();
    let last = text.last().copied().unwrap_or_default();
    (usize::from(last) ^ text.len()) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_not_found() {
        let id = |key: u32| AgentId::new(&format!("a/{key}")).unwrap();
        let mut recent = Recent::default();
        recent.note(&id(1), 10);
        recent.note(&id(2), 20);
        assert_eq!(recent.get(&id(1)), Some(10));
        assert_eq!(recent.get(&id(2)), Some(20));
        recent.forget(&id(1));
        assert_eq!((recent.get(&id(1)), recent.get(&id(2))), (None, Some(20)));
        // The last and the first digit differ by as many as there are places.
        recent.note(&id(10), 100);
        recent.note(&id(18), 180);
        assert_eq!(
            (recent.get(&id(10)), recent.get(&id(18))),
            (None, Some(180))
        );
    }
}
