//! Getting components from other nodes, and making them ready off the workers' threads.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use parking_lot::Mutex;
use phoenix_core::control::KindInfo;
use phoenix_core::{Digest, KindPolicy, Level, Millis, NodeId, PeerMessage};

use crate::clock;
use crate::kinds::{Kind, Known};
use crate::shared::Shared;

/// Bytes of a component in one message.
const PART: usize = 256 << 10;
/// Largest component that is fetched.
const MAX_COMPONENT: u64 = 256 << 20;
/// How long nothing may come before the fetch is given up.
const SILENCE: Millis = Millis(30_000);
/// The first wait before the components of kinds that are announced and not here
/// are asked for once more; it doubles with each.
const ASK_AGAIN: Millis = Millis(1_000);
/// The longest such wait.
const ASK_AGAIN_MOST: Millis = Millis(60_000);

/// Called once when a component is ready, or cannot be had.
pub(crate) type Fetched = Box<dyn FnOnce(Result<(), String>) + Send + 'static>;

/// Components on their way.
#[derive(Default)]
pub(crate) struct Fetches {
    open: Mutex<HashMap<Digest, Fetch>>,
    again: Mutex<Again>,
}

/// When to ask once more for what misses.
#[derive(Default)]
struct Again {
    at: Millis,
    pause: Millis,
}

struct Fetch {
    bytes: BytesMut,
    last: Millis,
    admitting: bool,
    waiting: Vec<(String, Fetched)>,
}

impl Shared {
    /// Sees that `component` is ready for the kind `kind`, fetching it from `from` if it is not here.
    pub(crate) fn fetch_component(
        self: &Arc<Self>,
        component: Digest,
        kind: &str,
        from: NodeId,
        done: Fetched,
    ) {
        if self.kinds.with_component(kind, &component).is_some() {
            done(Ok(()));
            return;
        }
        let mut open = self.fetches.open.lock();
        let fetch = open.entry(component);
        let is_new = matches!(fetch, hashbrown::hash_map::Entry::Vacant(_));
        fetch
            .or_insert_with(|| Fetch {
                bytes: BytesMut::new(),
                last: clock::now_ms(),
                // Where the directory is the disk is looked at first.
                admitting: self.kind_store.is_some(),
                waiting: Vec::new(),
            })
            .waiting
            .push((kind.to_owned(), done));
        drop(open);
        if !is_new {
            return;
        }
        if self.kind_store.is_none() {
            return self.want_component(component, from);
        }
        let shared = self.clone();
        self.in_background("admit", move || {
            let Some(whole) = shared.component_bytes(&component) else {
                return shared.want_component(component, from);
            };
            let result = shared.admit_fetched(component, &whole);
            shared.fetched(component, result);
        });
    }

    /// Asks a peer for a component that is not on this node's disk.
    fn want_component(&self, component: Digest, from: NodeId) {
        if let Some(fetch) = self.fetches.open.lock().get_mut(&component) {
            fetch.admitting = false;
            fetch.last = clock::now_ms();
        }
        let wanted = PeerMessage::ComponentWanted { component };
        if self.send(from, wanted).is_err() {
            self.fetched(component, Err(format!("{from} cannot be reached")));
        }
    }

    /// A part of a component came.
    pub(crate) fn component_part(
        self: &Arc<Self>,
        component: Digest,
        offset: u64,
        total: u64,
        bytes: &Bytes,
    ) {
        let mut open = self.fetches.open.lock();
        let Some(fetch) = open.get_mut(&component) else {
            return;
        };
        let expected = fetch.bytes.len() as u64;
        if total > MAX_COMPONENT || offset != expected || expected + bytes.len() as u64 > total {
            drop(open);
            self.fetched(component, Err("its parts came wrong".to_owned()));
            return;
        }
        fetch.last = clock::now_ms();
        fetch.bytes.extend_from_slice(bytes);
        if (fetch.bytes.len() as u64) < total || fetch.admitting {
            return;
        }
        fetch.admitting = true;
        let whole = std::mem::take(&mut fetch.bytes).freeze();
        drop(open);
        if Digest::of(&whole) != component {
            self.fetched(component, Err("its digest is wrong".to_owned()));
            return;
        }
        let shared = self.clone();
        let admit = move || {
            let result = shared.admit_fetched(component, &whole);
            shared.fetched(component, result);
        };
        self.in_background("admit", admit);
    }

    /// A peer has no such component.
    pub(crate) fn component_missing(&self, component: Digest, from: NodeId) {
        let open = self.fetches.open.lock();
        let waits = open.get(&component).is_some_and(|fetch| !fetch.admitting);
        drop(open);
        if waits {
            self.fetched(component, Err(format!("{from} does not have it")));
        }
    }

    /// Makes a fetched component ready for every kind that waits for it, each
    /// under its own policy.
    fn admit_fetched(&self, component: Digest, whole: &Bytes) -> Result<(), String> {
        let admit = |policy: &KindPolicy| match self.kinds.component(&component, policy) {
            Some(ready) => Ok(ready),
            None => self
                .host
                .admit(whole, policy)
                .map_err(|error| error.to_string()),
        };
        for info in self.kinds.waiting_for(&component) {
            let ready = admit(&info.policy)?;
            self.install(Kind::new(info, ready));
        }
        // Agents that arrive may run an earlier component of their kind.
        let names: Vec<String> = {
            let open = self.fetches.open.lock();
            let waiting = open.get(&component).map(|fetch| &fetch.waiting);
            waiting
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect()
        };
        for name in names {
            if let Known::Ready(kind) = self.kinds.get(&name) {
                let ready = admit(&kind.policy)?;
                self.kinds.keep(component, &kind.policy, ready);
            }
        }
        Ok(())
    }

    /// A fetch ended: tells everybody who waited.
    fn fetched(&self, component: Digest, result: Result<(), String>) {
        let fetch = self.fetches.open.lock().remove(&component);
        if let Err(why) = &result {
            let text = format!("component {component} cannot be had: {why}");
            self.log(None, Level::Error, &text);
        }
        for (kind, done) in fetch.into_iter().flat_map(|fetch| fetch.waiting) {
            let usable = matches!(self.kinds.get(&kind), Known::Ready(_));
            done(match &result {
                Ok(()) if usable => Ok(()),
                Ok(()) => Err(format!("the kind {kind} is not deployed here")),
                Err(why) => Err(why.clone()),
            });
        }
    }

    /// A peer wants a component.
    pub(crate) fn send_component(self: &Arc<Self>, to: NodeId, component: Digest) {
        let shared = self.clone();
        let send = move || {
            let Some(whole) = shared.component_bytes(&component) else {
                // The asker need not wait; it is told again if this is lost.
                let _ = shared.send(to, PeerMessage::ComponentMissing { component });
                return;
            };
            let total = whole.len() as u64;
            let mut offset = 0;
            while offset < whole.len() {
                let end = (offset + PART).min(whole.len());
                let part = PeerMessage::ComponentPart {
                    component,
                    offset: offset as u64,
                    total,
                    bytes: whole.slice(offset..end),
                };
                if shared.send_patiently(to, &part).is_err() {
                    return;
                }
                offset = end;
            }
        };
        self.in_background("send-component", send);
    }

    /// From now on agents of this kind come to life so.
    pub(crate) fn install(&self, kind: Kind) {
        let flow = kind.policy.flow.clone();
        let before = match self.kinds.get(kind.info.kind.as_str()) {
            Known::Ready(before) => before.policy.flow.clone(),
            Known::Coming | Known::Unknown => None,
        };
        self.kinds.install(Arc::new(kind));
        if flow != before {
            self.flows_changed();
        }
    }

    /// Announces a kind to this node; its component is fetched if it is not here. One
    /// that is part of this node stays what it is.
    pub(crate) fn kind_announced(self: &Arc<Self>, from: NodeId, info: &KindInfo) {
        if !self.kinds.is_built_in(info.kind.as_str()) && self.kinds.announce(info) {
            *self.fetches.again.lock() = Again::default();
            self.fetch_kind(from, info);
        }
    }

    fn fetch_kind(self: &Arc<Self>, from: NodeId, info: &KindInfo) {
        if let Some(ready) = self.kinds.component(&info.component, &info.policy) {
            self.install(Kind::new(info.clone(), ready));
            return;
        }
        let (shared, name) = (self.clone(), info.kind.clone());
        let done = Box::new(move |result: Result<(), String>| {
            if let Err(why) = result {
                let text = format!("the kind {name} cannot run here: {why}");
                shared.log(None, Level::Error, &text);
            }
        });
        self.fetch_component(info.component, info.kind.as_str(), from, done);
    }

    /// Asks again for what kinds still miss: a fetch may have failed with the
    /// node it was asked of.
    pub(crate) fn ask_again(self: &Arc<Self>, now: Millis) {
        let from = self.directory.node();
        if now < self.fetches.again.lock().at || from == self.node || !self.is_connected(from) {
            return;
        }
        let missing: Vec<KindInfo> = {
            let open = self.fetches.open.lock();
            let mut coming = self.kinds.coming();
            coming.retain(|info| !open.contains_key(&info.component));
            coming
        };
        {
            let mut again = self.fetches.again.lock();
            let doubled = Millis(again.pause.0.saturating_mul(2));
            again.pause = match missing.is_empty() {
                true => ASK_AGAIN,
                false => doubled.clamp(ASK_AGAIN, ASK_AGAIN_MOST),
            };
            again.at = now + again.pause;
        }
        for info in missing {
            self.fetch_kind(from, &info);
        }
    }

    /// Gives up fetches that nothing comes of.
    pub(crate) fn expire_fetches(&self, now: Millis) {
        let late: Vec<Digest> = self
            .fetches
            .open
            .lock()
            .iter()
            .filter(|(_, fetch)| !fetch.admitting && fetch.last + SILENCE <= now)
            .map(|(component, _)| *component)
            .collect();
        for component in late {
            self.fetched(component, Err("nothing came for too long".to_owned()));
        }
    }
}
