//! The certificates' part of start, reload and stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::certificates::Certificates;
use crate::certificates::acme::Listener;
use crate::certificates::resumption::Tickets;
use crate::config::{Config, TlsMode};
use crate::database::Database;
use crate::edge;

/// Certificates that are ready to be served.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) certificates: Arc<Certificates>,
    pub(super) tls: Option<edge::Tls>,
    /// Those of the first configuration stay, so that clients go on resuming their sessions.
    tickets: Tickets,
}

/// What keeps certificates fresh: those in service, and those before until their orders are at an end.
pub(super) struct Keeping {
    tasks: JoinSet<()>,
    stopping: watch::Receiver<bool>,
}

impl Ready {
    /// Loads what `config` asks for.
    pub(super) fn load(config: &Config) -> anyhow::Result<Self> {
        Self::of(config, Certificates::load(config)?, Tickets::new()?)
    }

    /// The certificates of `config` in the place of these, which are for `before`. Where nothing
    /// about them is otherwise they stay.
    pub(super) fn followed_by(
        &self,
        before: (&Config, &[SocketAddr]),
        next: (&Config, &[SocketAddr]),
    ) -> anyhow::Result<Self> {
        let config = next.0;
        // Who has put new files there wants them served, whether or not they have other names.
        let is_as_before = !matches!(config.tls.mode, TlsMode::Files(_))
            && before.1 == next.1
            && relevant(before.0) == relevant(config);
        if is_as_before {
            return Ok(self.clone());
        }
        let loaded = Certificates::load_after(config, Some(&self.certificates))?;
        Self::of(config, loaded, self.tickets.clone())
    }

    fn of(config: &Config, certificates: Certificates, tickets: Tickets) -> anyhow::Result<Self> {
        let certificates = Arc::new(certificates);
        let tls = if config.has_tls() {
            Some(edge::Tls {
                config: Arc::new(certificates.server_config(&tickets)?),
                challenges: certificates.challenges(),
            })
        } else {
            None
        };
        Ok(Self {
            certificates,
            tls,
            tickets,
        })
    }
}

/// All of a configuration that certificates, and the looks at them, depend on.
fn relevant(config: &Config) -> impl PartialEq + use<'_> {
    let server = &config.server;
    (
        (&config.tls, &config.acme),
        (&server.hosts, config.acme_hosts()),
        (server.proxy_protocol, &server.trusted_proxies),
    )
}

impl Keeping {
    /// Nothing yet; all of it ends when `stopping` turns true.
    pub(super) fn until(stopping: watch::Receiver<bool>) -> Self {
        Self {
            tasks: JoinSet::new(),
            stopping,
        }
    }

    /// Keeps `certificates` fresh from now on. `https` is where they are served already: a CA comes
    /// back to there, and so does the look at what is really served.
    pub(super) fn begin(
        &mut self,
        certificates: &Arc<Certificates>,
        config: &Config,
        https: &[SocketAddr],
        database: Option<&Database>,
    ) {
        if let Some(database) = database {
            certificates.use_database(database);
        }
        let listener = |&bound: &SocketAddr| Listener::new(bound, &config.server);
        let listeners = https.iter().map(listener).collect();
        let stopping = self.stopping.clone();
        self.tasks
            .spawn(Arc::clone(certificates).keep_fresh(listeners, stopping));
        while self.tasks.try_join_next().is_some() {}
    }

    /// Resolves when all that is to be told of certificates was told, after `patience` at the latest.
    pub(super) async fn finish(&mut self, patience: Duration) {
        let told = async { while self.tasks.join_next().await.is_some() {} };
        // Who is cut says what it leaves undone.
        let _ = timeout(patience, told).await;
    }

    /// Ends what is still under way.
    pub(super) async fn cut(mut self) {
        self.tasks.shutdown().await;
    }
}
