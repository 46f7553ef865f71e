//! What the status says of upstreams.

use serde::{Deserialize, Serialize};

use crate::admin::Subject;
use crate::edge::upstream::Facts;

/// The servers of one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// What routes call it.
    pub name: String,
    /// In the order of the file; a name has each of its addresses here.
    pub servers: Vec<UpstreamServer>,
}

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamServer {
    /// Such as `10.0.0.7:3000`.
    pub address: String,
    /// `up`; `ejected` after failures, for a while; `unhealthy` by its answers to health checks;
    /// `unknown` where its name leads nowhere.
    pub state: String,
    /// Why it is unknown; `None` where it isn't.
    #[serde(default)]
    pub reason: Option<String>,
    /// Requests it is answering.
    pub running: usize,
    /// Requests it was given since the start.
    pub requests: u64,
    /// How many of them it failed to answer.
    pub failed: u64,
}

pub(in crate::admin) fn upstreams(subject: &Subject) -> Vec<Upstream> {
    let each = subject.edge.upstreams().into_iter();
    each.map(|(name, facts)| Upstream {
        name,
        servers: facts.into_iter().map(UpstreamServer::from).collect(),
    })
    .collect()
}

impl From<Facts> for UpstreamServer {
    fn from(facts: Facts) -> Self {
        Self {
            address: facts.server,
            state: facts.condition.to_string(),
            reason: facts.reason,
            running: facts.running,
            requests: facts.requests,
            failed: facts.failed,
        }
    }
}
