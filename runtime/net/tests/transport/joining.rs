//! Authorities, tokens and joining.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phoenix_core::NodeId;
use phoenix_net::{Authority, Identity, QuicConfig, QuicTransport, join};
use tempfile::TempDir;

use crate::recorder::Recorder;

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

    fn serve(&self, identity: &Identity) -> (Arc<QuicTransport>, String) {
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = QuicConfig::new(listen, identity.clone(), 0);
        config.authority = Some(Arc::clone(&self.authority));
        let transport = QuicTransport::bind(config, Recorder::new()).unwrap();
        let address = transport.local_address().to_string();
        (transport, address)
    }
}
