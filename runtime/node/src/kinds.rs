//! The kinds a node knows, and their components made ready to run.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use phoenix_core::agent::Handlers;
use phoenix_core::control::KindInfo;
use phoenix_core::topics::KindSubscriptions;
use phoenix_core::{Digest, KindPolicy, Millis};
use phoenix_host::Component;

/// A kind, ready to run.
pub(crate) struct Kind {
    pub(crate) info: KindInfo,
    pub(crate) component: Arc<Component>,
    pub(crate) policy: Arc<KindPolicy>,
    /// What durable agents of it run under, as their logs say it.
    pub(crate) terms: Arc<phoenix_core::journal::record::Terms>,
    interleaving: HashSet<Arc<str>>,
}

impl Kind {
    pub(crate) fn new(info: KindInfo, component: Arc<Component>) -> Self {
        let interleaving = component
            .handlers()
            .iter()
            .filter(|handler| handler.interleave)
            .map(|handler| handler.name.clone())
            .collect();
        let terms = phoenix_core::journal::record::Terms {
            component: info.component,
            policy: KindPolicy {
                subscriptions: KindSubscriptions::default(),
                ..(*info.policy).clone()
            },
        };
        Self {
            policy: Arc::new((*info.policy).clone()),
            terms: Arc::new(terms),
            info,
            component,
            interleaving,
        }
    }
}

impl Handlers for Kind {
    fn interleaves(&self, method: &str) -> bool {
        self.interleaving.contains(method)
    }

    fn any_interleaves(&self) -> bool {
        !self.interleaving.is_empty()
    }
}

/// What of a policy a component was admitted under. Kinds that share the bytes
/// of a component share its compiled form only if they agree on these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Terms {
    movable: bool,
    memory_bytes: u64,
    table_elements: u32,
}

impl From<&KindPolicy> for Terms {
    fn from(policy: &KindPolicy) -> Self {
        Self {
            movable: policy.movable,
            memory_bytes: policy.memory_bytes,
            table_elements: policy.table_elements,
        }
    }
}

/// What is known of a kind by name.
pub(crate) enum Known {
    /// It runs here.
    Ready(Arc<Kind>),
    /// The cluster has it; its component is on the way.
    Coming,
    /// Nobody has deployed it.
    Unknown,
}

/// How long a node takes a kind it has not heard of for one it has not heard of
/// yet: word of a new kind may come after the first message for it.
const HEARSAY: Millis = Millis(1_000);
/// How long it does so no more: later it may have been deployed after all.
const RUMOUR_FADES: Millis = Millis(60_000);
/// Names of kinds that somebody thought there are, most that are remembered.
const MAX_RUMOURS: usize = 1_000;

/// All kinds of a node.
#[derive(Default)]
pub(crate) struct Kinds {
    /// Kinds somebody sent messages for that this node has never heard of, since when.
    rumours: Mutex<HashMap<String, Millis>>,
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    ready: HashMap<String, Arc<Kind>>,
    /// Names of those of `ready` that are part of the node.
    built_in: HashSet<String>,
    announced: HashMap<String, KindInfo>,
    /// Components by digest: agents that sleep or arrive keep the one they began with.
    components: HashMap<(Digest, Terms), Arc<Component>>,
}

impl Inner {
    /// Kinds that are ready and no part of the node.
    fn deployed(&self) -> impl Iterator<Item = &Arc<Kind>> {
        let own = &self.built_in;
        self.ready
            .iter()
            .filter(|(name, _)| !own.contains(*name))
            .map(|(_, kind)| kind)
    }
}

impl Kinds {
    /// What is known of the kind of that name.
    pub(crate) fn get(&self, name: &str) -> Known {
        let inner = self.inner.read();
        if let Some(kind) = inner.ready.get(name) {
            Known::Ready(kind.clone())
        } else if inner.announced.contains_key(name) {
            Known::Coming
        } else {
            Known::Unknown
        }
    }

    /// Whether a kind that is not known here is surely not deployed, for a node
    /// that has it from others which kinds there are.
    pub(crate) fn is_surely_unknown(&self, name: &str, now: Millis) -> bool {
        let mut rumours = self.rumours.lock();
        if let Some(since) = rumours.get_mut(name) {
            if *since + RUMOUR_FADES <= now {
                *since = now;
            }
            return *since + HEARSAY <= now;
        }
        if rumours.len() >= MAX_RUMOURS {
            rumours.retain(|_, since| *since + HEARSAY > now);
        }
        // With so many at once it is not the kinds that are new.
        if rumours.len() >= MAX_RUMOURS {
            return true;
        }
        rumours.insert(name.to_owned(), now);
        false
    }

    /// The kind of that name running this component, which may be an earlier one of it.
    pub(crate) fn with_component(&self, name: &str, component: &Digest) -> Option<Arc<Kind>> {
        let inner = self.inner.read();
        let kind = inner.ready.get(name)?;
        if kind.info.component == *component {
            return Some(kind.clone());
        }
        let key = (*component, Terms::from(&*kind.policy));
        let older = inner.components.get(&key)?.clone();
        let mut info = kind.info.clone();
        info.component = *component;
        Some(Arc::new(Kind::new(info, older)))
    }

    /// Notes that the cluster has this kind. Says whether its component is still to be fetched.
    pub(crate) fn announce(&self, info: &KindInfo) -> bool {
        let mut inner = self.inner.write();
        let current = inner
            .ready
            .get(info.kind.as_str())
            .is_some_and(|kind| kind.info == *info);
        if current {
            return false;
        }
        inner
            .announced
            .insert(info.kind.as_str().to_owned(), info.clone());
        true
    }

    /// Kinds that wait for this component.
    pub(crate) fn waiting_for(&self, component: &Digest) -> Vec<KindInfo> {
        let inner = self.inner.read();
        inner
            .announced
            .values()
            .filter(|info| info.component == *component)
            .cloned()
            .collect()
    }

    /// Kinds whose component is not here yet.
    pub(crate) fn coming(&self) -> Vec<KindInfo> {
        self.inner.read().announced.values().cloned().collect()
    }

    /// A component that is ready for kinds of such a policy.
    pub(crate) fn component(&self, digest: &Digest, policy: &KindPolicy) -> Option<Arc<Component>> {
        let key = (*digest, Terms::from(policy));
        self.inner.read().components.get(&key).cloned()
    }

    /// Keeps a component for agents that arrive with it.
    pub(crate) fn keep(&self, digest: Digest, policy: &KindPolicy, component: Arc<Component>) {
        let key = (digest, Terms::from(policy));
        self.inner.write().components.insert(key, component);
    }

    /// From now on agents of this kind come to life with this component.
    pub(crate) fn install(&self, kind: Arc<Kind>) {
        let mut inner = self.inner.write();
        let name = kind.info.kind.as_str().to_owned();
        inner.announced.remove(&name);
        let key = (kind.info.component, Terms::from(&*kind.policy));
        inner.components.insert(key, kind.component.clone());
        inner.ready.insert(name, kind);
    }

    /// This kind is part of the node, and nobody deploys one of its name.
    pub(crate) fn install_built_in(&self, kind: Arc<Kind>) {
        let name = kind.info.kind.as_str().to_owned();
        self.inner.write().built_in.insert(name);
        self.install(kind);
    }

    /// Whether the kind of that name is part of the node.
    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        self.inner.read().built_in.contains(name)
    }

    /// Those that were deployed and are ready, by name.
    pub(crate) fn list(&self) -> Vec<KindInfo> {
        let inner = self.inner.read();
        let mut list: Vec<_> = inner.deployed().map(|kind| kind.info.clone()).collect();
        list.sort_by(|a, b| a.kind.cmp(&b.kind));
        list
    }

    /// Their names, for an error that helps.
    pub(crate) fn names(&self) -> Vec<String> {
        let inner = self.inner.read();
        let name = |kind: &Arc<Kind>| kind.info.kind.as_str().to_owned();
        let mut names: Vec<_> = inner.deployed().map(name).collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_given_time_to_become_known() {
        let kinds = Kinds::default();
        assert!(!kinds.is_surely_unknown("new", Millis(5)));
        assert!(!kinds.is_surely_unknown("new", Millis(1_004)));
        assert!(kinds.is_surely_unknown("new", Millis(1_005)));
        assert!(
            !kinds.is_surely_unknown("new", Millis(60_005)),
            "asked anew"
        );
        for n in 0..2 * MAX_RUMOURS {
            kinds.is_surely_unknown(&format!("flood-{n}"), Millis(60_005));
        }
        assert!(kinds.rumours.lock().len() <= MAX_RUMOURS);
        assert!(kinds.is_surely_unknown("one-more", Millis(60_005)));
    }
}
