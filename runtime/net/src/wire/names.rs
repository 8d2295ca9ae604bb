//! Names and numbers that identify things.

use phoenix_core::{
    AgentId, ClientId, Digest, Epoch, Incarnation, KindName, MigrationId, Millis, NodeId,
};

use super::codec::{Wire, record, wrapper};
use super::input::{Input, Malformed};
use super::output::Output;

wrapper!(NodeId);
wrapper!(Millis);
record!(Incarnation {
    generation,
    boot,
    count
});
record!(Epoch { generation, term });

impl Wire for AgentId {
    fn put(&self, out: &mut Output) {
        out.text(self.as_str());
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("an agent's id", |text| {
            AgentId::new(text).map_err(|_| Malformed::Name("an agent's id"))
        })
    }
}

impl Wire for KindName {
    fn put(&self, out: &mut Output) {
        out.text(self.as_str());
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("a kind", |text| {
            KindName::new(text).map_err(|_| Malformed::Name("a kind"))
        })
    }
}

impl Wire for ClientId {
    fn put(&self, out: &mut Output) {
        out.text(self.as_str());
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("a client's id", |text| {
            ClientId::new(text).ok_or(Malformed::Name("a client's id"))
        })
    }
}

impl Wire for MigrationId {
    fn put(&self, out: &mut Output) {
        out.raw(&self.0.to_le_bytes());
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        Ok(Self(u128::from_le_bytes(input.array("a migration's id")?)))
    }
}

impl Wire for Digest {
    fn put(&self, out: &mut Output) {
        out.raw(&self.0);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        Ok(Self(input.array("a digest")?))
    }
}
