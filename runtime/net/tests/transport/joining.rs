//! Authorities, tokens and joining.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use phoenix_core::{Member, NodeId};
use phoenix_net::identity::{AuthorityError, JoinError};
use phoenix_net::{Authority, Identity, JoinToken, PeerTransport, TransportConfig, join};
use tempfile::TempDir;

use crate::net::Wire;
use crate::recorder::Recorder;
use crate::suite::eventually;

/// An authority, and the identities of as many nodes as were asked for.
pub(crate) struct Cluster {
    directory: TempDir,
    pub(crate) authority: Arc<Authority>,
    identities: Mutex<BTreeMap<NodeId, Identity>>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let first = directory.path().join("1");
        let authority = Arc::new(Authority::create(&first).unwrap());
        let identity = Identity::open(&first).unwrap().unwrap();
        Self {
            directory,
            authority,
            identities: Mutex::new(BTreeMap::from([(NodeId(1), identity)])),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The identity of a node. Nodes that are not there yet join one after the
    /// other, as the authority numbers them.
    pub(crate) fn identity(&self, node: NodeId) -> Identity {
        let mut identities = self.identities.lock();
        if !identities.contains_key(&node) {
            let (transport, address) = self.serve(&identities[&NodeId(1)]);
            while !identities.contains_key(&node) {
                let minute = Duration::from_secs(60);
                let token = self.authority.issue_token(&address, minute).unwrap();
                let path = self.path(&(identities.len() + 1).to_string());
                let identity = join(&token, &path, "127.0.0.1:0").unwrap();
                // Tests tell nodes of each other themselves.
                identity.set_members(Vec::new()).unwrap();
                identities.insert(identity.node(), identity);
            }
            transport.close();
        }
        identities[&node].clone()
    }

    fn serve(&self, identity: &Identity) -> (Arc<PeerTransport>, String) {
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = TransportConfig::new(listen, identity.clone(), 0);
        config.authority = Some(Arc::clone(&self.authority));
        let transport = PeerTransport::bind(config, Recorder::new()).unwrap();
        let address = transport.local_address().to_string();
        (transport, address)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// A cluster's first node, at work.
struct First {
    cluster: Cluster,
    transport: Arc<PeerTransport>,
    events: Arc<Recorder>,
    /// Members that the transport told its owner of.
    told: Arc<Mutex<Vec<Member>>>,
}

impl First {
    fn new() -> Self {
        let cluster = Cluster::new();
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = TransportConfig::new(listen, cluster.identity(NodeId(1)), 1);
        config.authority = Some(Arc::clone(&cluster.authority));
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        config.on_member = Some(Arc::new(move |member| tell.lock().push(member)));
        let events = Recorder::new();
        Self {
            transport: PeerTransport::bind(config, events.clone()).unwrap(),
            cluster,
            events,
            told,
        }
    }

    fn token(&self) -> JoinToken {
        let address = self.transport.local_address().to_string();
        let token = self
            .cluster
            .authority
            .issue_token(&address, MINUTE)
            .unwrap();
        // As an operator would carry it over.
        JoinToken::parse(&token.to_string()).unwrap()
    }

    fn join(&self, token: &JoinToken, name: &str) -> Result<Identity, JoinError> {
        join(token, &self.cluster.path(name), "127.0.0.1:0")
    }
}

fn bind(identity: &Identity, boot: u64) -> (Arc<PeerTransport>, Arc<Recorder>) {
    let events = Recorder::new();
    let config = TransportConfig::new("127.0.0.1:0".parse().unwrap(), identity.clone(), boot);
    (PeerTransport::bind(config, events.clone()).unwrap(), events)
}

#[test]
fn a_node_joins_where_udp_is_blocked() {
    let first = First::new();
    let wire = Wire::to(first.transport.local_address(), 3);
    wire.block_udp(true);
    let issue = || {
        let address = wire.member().address;
        let token = first.cluster.authority.issue_token(&address, MINUTE);
        token.unwrap()
    };
    let token = issue();
    let identity = first.join(&token, "b").unwrap();
    assert_eq!(identity.node(), NodeId(2));
    assert!(wire.tcp.taken() > 0);
    // Whatever is wrong with a token is said that way, too.
    let refused = first.join(&token, "c").unwrap_err();
    assert!(
        matches!(refused, JoinError::Used { by: NodeId(2) }),
        "{refused}"
    );
    let mut other = issue();
    other.fingerprint = Cluster::new().authority.fingerprint();
    let refused = first.join(&other, "c").unwrap_err();
    assert!(
        matches!(refused, JoinError::WrongAuthority { .. }),
        "{refused}"
    );
    // One that does not hold the authority says so.
    let (two, _events) = bind(&identity, 1);
    let wire = Wire::to(two.local_address(), 3);
    wire.block_udp(true);
    let mut misled = issue();
    misled.address = wire.member().address;
    let refused = first.join(&misled, "c").unwrap_err();
    assert!(
        matches!(refused, JoinError::NotTheAuthority { .. }),
        "{refused}"
    );
}

#[test]
fn a_token_makes_a_member() {
    let first = First::new();
    let identity = first.join(&first.token(), "b").unwrap();
    assert_eq!(identity.node(), NodeId(2));
    assert_eq!(identity.cluster(), first.cluster.authority.cluster());
    let members = [
        first.transport.member(),
        Member {
            node: NodeId(2),
            address: "127.0.0.1:0".into(),
        },
    ];
    assert_eq!(identity.members(), members);
    assert_eq!(first.told.lock()[..], members[1..]);
    // A restart needs no token: what was kept is all it takes to connect.
    drop(identity);
    let identity = Identity::open(&first.cluster.path("b")).unwrap().unwrap();
    let (two, events) = bind(&identity, 1);
    events.wait_connected(NodeId(1), 1);
    first.events.wait_connected(NodeId(2), 1);
    // Where it really listens was told, and is what the next joiner hears.
    eventually("the address to be kept", || {
        first.cluster.authority.members().contains(&two.member())
    });
    assert_eq!(first.told.lock().last(), Some(&two.member()));
    let third = first.join(&first.token(), "c").unwrap();
    assert_eq!(third.node(), NodeId(3));
    assert!(third.members().contains(&two.member()));
}

#[test]
fn numbers_are_never_used_again() {
    let cluster = Cluster::new();
    cluster.identity(NodeId(3));
    let path = cluster.path("1");
    let reopened = Authority::open(&path).unwrap().unwrap();
    assert_eq!(reopened.cluster(), cluster.authority.cluster());
    assert_eq!(reopened.fingerprint(), cluster.authority.fingerprint());
    let cluster = Cluster {
        authority: Arc::new(reopened),
        ..cluster
    };
    assert_eq!(cluster.identity(NodeId(4)).node(), NodeId(4));
}

#[test]
fn a_token_is_good_for_one_node() {
    let first = First::new();
    let token = first.token();
    first.join(&token, "b").unwrap();
    let again = first.join(&token, "c").unwrap_err();
    assert!(
        matches!(again, JoinError::Used { by: NodeId(2) }),
        "{again}"
    );
    // The node itself may repeat it: the answer may have been lost.
    std::fs::remove_file(first.cluster.path("b").join("node.json")).unwrap();
    assert_eq!(first.join(&token, "b").unwrap().node(), NodeId(2));
    assert_eq!(first.told.lock().len(), 1);
    let member = first.join(&first.token(), "b").unwrap_err();
    assert!(
        matches!(
            member,
            JoinError::AlreadyMember {
                node: NodeId(2),
                ..
            }
        ),
        "{member}"
    );
}

#[test]
fn a_joiner_whose_address_is_none_is_refused() {
    let first = First::new();
    let token = first.token();
    let long = format!("{}:1", "x".repeat(255));
    for address in ["", "host", "two\nlines:1", &long] {
        let path = first.cluster.path("b");
        let refused = join(&token, &path, address).unwrap_err();
        let JoinError::Refused(why) = refused else {
            panic!("{refused}")
        };
        assert!(why.contains("address"), "{why}");
    }
    assert_eq!(first.told.lock()[..], []);
    // The token is as good as before.
    assert_eq!(first.join(&token, "b").unwrap().node(), NodeId(2));
}

#[test]
fn an_unknown_token_is_refused() {
    let first = First::new();
    // The same authority, with other books: its tokens look right.
    let copy = first.cluster.path("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(first.cluster.path("1")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let copy = Authority::open(&copy).unwrap().unwrap();
    let address = first.transport.local_address().to_string();
    let token = copy.issue_token(&address, MINUTE).unwrap();
    let refused = first.join(&token, "b").unwrap_err();
    assert!(matches!(refused, JoinError::WrongSecret), "{refused}");
    assert_eq!(first.transport.stats().refused, 1);
}

#[test]
fn an_expired_token_is_refused() {
    let first = First::new();
    let address = first.transport.local_address().to_string();
    let second = Duration::from_secs(1);
    let token = first
        .cluster
        .authority
        .issue_token(&address, second)
        .unwrap();
    eventually("the token to expire", || SystemTime::now() > token.expires);
    let refused = first.join(&token, "b").unwrap_err();
    assert!(matches!(refused, JoinError::Expired), "{refused}");
}

#[test]
fn another_authority_is_not_trusted() {
    let (first, other) = (First::new(), First::new());
    let mut token = first.token();
    token.address = other.transport.local_address().to_string();
    let refused = first.join(&token, "b").unwrap_err();
    let JoinError::WrongAuthority {
        expected, found, ..
    } = refused
    else {
        panic!("{refused}")
    };
    assert_eq!(expected, first.cluster.authority.fingerprint());
    assert_eq!(found, other.cluster.authority.fingerprint());
}

#[test]
fn a_node_without_the_authority_lets_nobody_in() {
    let first = First::new();
    let (two, _events) = bind(&first.join(&first.token(), "b").unwrap(), 1);
    let mut token = first.token();
    token.address = two.local_address().to_string();
    let refused = first.join(&token, "c").unwrap_err();
    assert!(
        matches!(refused, JoinError::NotTheAuthority { .. }),
        "{refused}"
    );
    // The first node without its authority says so itself.
    let cluster = Cluster::new();
    let (one, _events) = bind(&cluster.identity(NodeId(1)), 1);
    let address = one.local_address().to_string();
    let token = cluster.authority.issue_token(&address, MINUTE).unwrap();
    let refused = join(&token, &cluster.path("b"), "127.0.0.1:0").unwrap_err();
    assert!(refused.to_string().contains("authority"), "{refused}");
}

#[test]
fn nobody_at_the_address_is_said_so() {
    let first = First::new();
    let mut token = first.token();
    // A socket that never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    token.address = silent.local_addr().unwrap().to_string();
    let refused = first.join(&token, "b").unwrap_err();
    assert!(
        matches!(refused, JoinError::Unreachable { .. }),
        "{refused}"
    );
    token.address = "no host:1".to_owned();
    let refused = first.join(&token, "b").unwrap_err();
    assert!(
        matches!(refused, JoinError::Unreachable { .. }),
        "{refused}"
    );
}

#[test]
fn bad_requests_for_tokens_are_refused() {
    let cluster = Cluster::new();
    for address in ["", "host", "host:", ":7000", "host:70000", "two words:1"] {
        let refused = cluster.authority.issue_token(address, MINUTE).unwrap_err();
        assert!(
            matches!(refused, AuthorityError::BadAddress(_)),
            "{address}: {refused}"
        );
    }
    for span in [Duration::ZERO, 60 * 24 * 60 * MINUTE] {
        let refused = cluster.authority.issue_token("host:1", span).unwrap_err();
        assert!(matches!(refused, AuthorityError::BadSpan), "{refused}");
    }
}

#[test]
fn a_directory_holds_one_node() {
    let cluster = Cluster::new();
    cluster.identity(NodeId(2));
    for name in ["1", "2"] {
        let refused = Authority::create(&cluster.path(name)).err().unwrap();
        assert!(matches!(refused, AuthorityError::Exists(_)), "{refused}");
    }
    assert!(Authority::open(&cluster.path("2")).unwrap().is_none());
    assert!(Identity::open(&cluster.path("nothing")).unwrap().is_none());
    std::fs::write(cluster.path("2").join("node.json"), "{").unwrap();
    let damaged = Identity::open(&cluster.path("2")).unwrap_err();
    assert!(damaged.to_string().contains("node.json"), "{damaged}");
}

#[cfg(unix)]
#[test]
fn keys_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::new();
    cluster.identity(NodeId(2));
    for name in ["1", "2"] {
        let directory = cluster.path(name);
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        for file in std::fs::read_dir(&directory).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}
