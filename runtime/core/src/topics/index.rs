//! Which subscriptions a topic matches.
//!
//! A trie over the tokens of patterns, in three tables: nodes, the edges between them by
//! token, and the tokens' numbers. From each node a topic is looked up along at most two
//! edges, its token and `*`: what that costs grows with the prefixes of patterns that the
//! topic's own match, and not with the number of subscriptions. What was found for the
//! topics that came last is kept until a subscription changes.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::pattern::{ANY, REST};
use super::{MAX_TOPIC_TOKENS, TopicName, TopicPattern};

/// Topics of which what was found is kept.
const CACHED_TOPICS: usize = 1_024;
/// The same, subscriptions of all of them together.
const CACHED_MATCHES: usize = 65_536;

/// A token's number.
type Token = u32;
/// A node's number.
type NodeId = u32;

const ROOT: NodeId = 0;
const ANY_TOKEN: Token = 0;
const REST_TOKEN: Token = 1;

/// What is at the end of a prefix of patterns.
#[derive(Clone, Debug)]
struct Node<S> {
    parent: NodeId,
    /// What leads here from there.
    token: Token,
    /// Edges to others.
    children: u32,
    has_any: bool,
    has_rest: bool,
    /// Those whose pattern ends here, in order.
    subscriptions: SmallVec<[S; 1]>,
}

/// A token that patterns use.
#[derive(Clone, Debug)]
struct Known {
    number: Token,
    /// Edges with it.
    uses: u32,
}

/// Subscriptions by the pattern of topics they are to.
#[derive(Clone, Debug)]
pub struct TopicIndex<S> {
    nodes: Vec<Node<S>>,
    free: Vec<NodeId>,
    edges: HashMap<(NodeId, Token), NodeId>,
    tokens: HashMap<Arc<str>, Known>,
    /// The tokens by number; free numbers have none.
    names: Vec<Option<Arc<str>>>,
    free_tokens: Vec<Token>,
    count: usize,
    cache: Cache<S>,
}

#[derive(Clone, Debug)]
struct Cache<S> {
    found: HashMap<TopicName, Arc<[S]>>,
    matches: usize,
}

impl<S> Cache<S> {
    fn clear(&mut self) {
        self.found.clear();
        self.matches = 0;
    }

    fn keep(&mut self, topic: &TopicName, found: &Arc<[S]>) {
        if found.len() > CACHED_MATCHES {
            return;
        }
        // Emptied as a whole: what is in use is back after one look each.
        if self.found.len() >= CACHED_TOPICS || self.matches + found.len() > CACHED_MATCHES {
            self.clear();
        }
        self.matches += found.len();
        self.found.insert(topic.clone(), found.clone());
    }
}

impl<S: Copy + Ord> Default for TopicIndex<S> {
    fn default() -> Self {
        let root = Node {
            parent: ROOT,
            token: ANY_TOKEN,
            children: 0,
            has_any: false,
            has_rest: false,
            subscriptions: SmallVec::new(),
        };
        Self {
            nodes: vec![root],
            free: Vec::new(),
            edges: HashMap::new(),
            tokens: HashMap::new(),
            // Those of the wildcards, which no name has.
            names: vec![None, None],
            free_tokens: Vec::new(),
            count: 0,
            cache: Cache {
                found: HashMap::new(),
                matches: 0,
            },
        }
    }
}

impl<S: Copy + Ord + Hash> TopicIndex<S> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscriptions.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a subscription; `false` if it is there.
    pub fn insert(&mut self, pattern: &TopicPattern, subscription: S) -> bool {
        let mut at = ROOT;
        for token in pattern.tokens() {
            at = self.step(at, token);
        }
        let Some(node) = self.node_mut(at) else {
            return false;
        };
        let Err(place) = node.subscriptions.binary_search(&subscription) else {
            return false;
        };
        node.subscriptions.insert(place, subscription);
        self.count += 1;
        self.cache.clear();
        true
    }

    /// Removes a subscription; whether there was one.
    pub fn remove(&mut self, pattern: &TopicPattern, subscription: S) -> bool {
        let mut at = ROOT;
        for token in pattern.tokens() {
            let next = self.number(token).and_then(|it| self.edges.get(&(at, it)));
            let Some(next) = next else { return false };
            at = *next;
        }
        let Some(node) = self.node_mut(at) else {
            return false;
        };
        let Ok(place) = node.subscriptions.binary_search(&subscription) else {
            return false;
        };
        node.subscriptions.remove(place);
        // Not with each: many may end one after the other.
        if node.subscriptions.len() * 4 <= node.subscriptions.capacity() {
            node.subscriptions.shrink_to_fit();
        }
        self.count -= 1;
        self.cache.clear();
        self.prune(at);
        true
    }

    /// The subscriptions to a topic, in order, each once for each pattern of it.
    pub fn matches(&mut self, topic: &TopicName) -> Arc<[S]> {
        if let Some(found) = self.cache.found.get(topic) {
            return found.clone();
        }
        let found = self.find(topic);
        self.cache.keep(topic, &found);
        found
    }

    /// The same, without looking at what was found before.
    pub fn find(&self, topic: &TopicName) -> Arc<[S]> {
        let mut path: SmallVec<[Option<Token>; MAX_TOPIC_TOKENS]> = SmallVec::new();
        path.extend(topic.tokens().map(|token| self.number(token)));
        let mut found = Vec::new();
        // Nodes to look at, each with how many tokens lead there. At most one more waits
        // for each token.
        let mut open: SmallVec<[(NodeId, usize); MAX_TOPIC_TOKENS]> = SmallVec::new();
        open.push((ROOT, 0));
        while let Some((at, depth)) = open.pop() {
            let Some(node) = self.nodes.get(at as usize) else {
                continue;
            };
            let Some(token) = path.get(depth) else {
                found.extend_from_slice(&node.subscriptions);
                continue;
            };
            if node.has_rest
                && let Some(rest) = self.edges.get(&(at, REST_TOKEN))
                && let Some(rest) = self.nodes.get(*rest as usize)
            {
                found.extend_from_slice(&rest.subscriptions);
            }
            if node.has_any
                && let Some(any) = self.edges.get(&(at, ANY_TOKEN))
            {
                open.push((*any, depth + 1));
            }
            if let Some(token) = token
                && let Some(next) = self.edges.get(&(at, *token))
            {
                open.push((*next, depth + 1));
            }
        }
        found.sort_unstable();
        found.into()
    }

    fn node_mut(&mut self, at: NodeId) -> Option<&mut Node<S>> {
        self.nodes.get_mut(at as usize)
    }

    fn number(&self, token: &str) -> Option<Token> {
        match token {
            ANY => Some(ANY_TOKEN),
            REST => Some(REST_TOKEN),
            name => self.tokens.get(name).map(|known| known.number),
        }
    }

    /// The node a token leads to, made if it is not there.
    fn step(&mut self, from: NodeId, token: &str) -> NodeId {
        let known = self.number(token);
        if let Some(number) = known
            && let Some(next) = self.edges.get(&(from, number))
        {
            return *next;
        }
        let number = self.use_token(token);
        let node = Node {
            parent: from,
            token: number,
            children: 0,
            has_any: false,
            has_rest: false,
            subscriptions: SmallVec::new(),
        };
        let next = put(&mut self.nodes, &mut self.free, node);
        self.edges.insert((from, number), next);
        if let Some(parent) = self.node_mut(from) {
            parent.children += 1;
            parent.has_any |= number == ANY_TOKEN;
            parent.has_rest |= number == REST_TOKEN;
        }
        next
    }

    /// Removes a node that nothing needs any more, and those above it likewise.
    fn prune(&mut self, mut at: NodeId) {
        while at != ROOT {
            let Some(node) = self.nodes.get(at as usize) else {
                return;
            };
            if node.children > 0 || !node.subscriptions.is_empty() {
                return;
            }
            let (parent, token) = (node.parent, node.token);
            self.edges.remove(&(parent, token));
            self.free.push(at);
            self.drop_token(token);
            if let Some(parent) = self.node_mut(parent) {
                parent.children -= 1;
                parent.has_any &= token != ANY_TOKEN;
                parent.has_rest &= token != REST_TOKEN;
            }
            at = parent;
        }
        if self.count == 0 {
            *self = Self::default();
        }
    }

    /// The number of a token that one more edge has.
    fn use_token(&mut self, token: &str) -> Token {
        if let Some(known) = self.tokens.get_mut(token) {
            known.uses += 1;
            return known.number;
        }
        if let Some(wildcard) = self.number(token) {
            return wildcard;
        }
        let name: Arc<str> = token.into();
        let number = put(&mut self.names, &mut self.free_tokens, Some(name.clone()));
        self.tokens.insert(name, Known { number, uses: 1 });
        number
    }

    fn drop_token(&mut self, token: Token) {
        let Some(Some(name)) = self.names.get(token as usize).cloned() else {
            return;
        };
        let Some(known) = self.tokens.get_mut(&name) else {
            return;
        };
        known.uses -= 1;
        if known.uses == 0 {
            self.tokens.remove(&name);
            if let Some(name) = self.names.get_mut(token as usize) {
                *name = None;
            }
            self.free_tokens.push(token);
        }
    }
}

/// Puts a value at a free place, or a new one; its number.
fn put<T>(places: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(at) = free.pop()
        && let Some(place) = places.get_mut(at as usize)
    {
        *place = value;
        return at;
    }
    places.push(value);
    u32::try_from(places.len() - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The oracle: what the documentation says, token by token, of every subscription.
    fn is_match(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern, topic) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", pattern @ ..], [_, topic @ ..]) => is_match(pattern, topic),
            ([token, pattern @ ..], [name, topic @ ..]) => {
                token == name && is_match(pattern, topic)
            }
            _ => false,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(String, u8),
        Remove(usize),
        Match(String),
    }

    fn text(
        tokens: &'static [&'static str],
        last: &'static [&'static str],
    ) -> impl Strategy<Value = String> {
        let inner = proptest::collection::vec(proptest::sample::select(tokens), 0..5);
        (inner, proptest::sample::select(last)).prop_map(|(mut tokens, last)| {
            tokens.push(last);
            tokens.join(".")
        })
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let pattern = text(&["a", "b", "c", "*"], &["a", "b", "*", ">"]);
        let topic = text(&["a", "b", "c", "d"], &["a", "b", "d"]);
        let step = prop_oneof![
            4 => (pattern, 0..6_u8).prop_map(|(pattern, id)| Step::Insert(pattern, id)),
            2 => any::<usize>().prop_map(Step::Remove),
            4 => topic.prop_map(Step::Match),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn topics_match_as_a_look_at_every_subscription_says(steps in steps()) {
            let mut index = TopicIndex::new();
            let mut all: Vec<(String, u8)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(pattern, id) => {
                        let known = all.contains(&(pattern.clone(), id));
                        let inserted = index.insert(&TopicPattern::new(&pattern).unwrap(), id);
                        prop_assert_eq!(inserted, !known);
                        if inserted {
                            all.push((pattern, id));
                        }
                    }
                    Step::Remove(at) => {
                        let Some(at) = at.checked_rem(all.len()) else { continue };
                        let (pattern, id) = all.swap_remove(at);
                        let pattern = TopicPattern::new(&pattern).unwrap();
                        prop_assert!(index.remove(&pattern, id));
                        prop_assert!(all.iter().any(|it| *it == (pattern.to_string(), id))
                            || !index.remove(&pattern, id));
                    }
                    Step::Match(topic) => {
                        let name = TopicName::new(&topic).unwrap();
                        let tokens: Vec<&str> = topic.split('.').collect();
                        let mut expected: Vec<u8> = all
                            .iter()
                            .filter(|(pattern, _)| {
                                let pattern: Vec<&str> = pattern.split('.').collect();
                                is_match(&pattern, &tokens)
                            })
                            .map(|(_, id)| *id)
                            .collect();
                        expected.sort_unstable();
                        prop_assert_eq!(&*index.find(&name), expected.as_slice());
                        prop_assert_eq!(&*index.matches(&name), expected.as_slice());
                    }
                }
                prop_assert_eq!(index.len(), all.len());
            }
            for (pattern, id) in all {
                index.remove(&TopicPattern::new(&pattern).unwrap(), id);
            }
            // Nothing is left behind.
            prop_assert!(index.is_empty() && index.nodes.len() == 1);
            prop_assert!(index.edges.is_empty() && index.tokens.is_empty());
        }
    }

    #[test]
    fn what_is_kept_of_topics_is_bounded() {
        let mut index = TopicIndex::new();
        for id in 0..100 {
            index.insert(&TopicPattern::new(">").unwrap(), id);
        }
        for n in 0..5_000 {
            let topic = TopicName::new(&format!("t.{n}")).unwrap();
            assert_eq!(index.matches(&topic).len(), 100);
            assert!(index.cache.found.len() <= CACHED_TOPICS);
            assert!(index.cache.matches <= CACHED_MATCHES);
        }
    }
}
