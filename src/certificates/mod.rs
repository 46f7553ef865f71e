//! Certificates: where they come from, where they lie, and which one a handshake gets.
//!
//! 1. [`Certificates::load`] gets the pairs that `tls.mode` asks for: [`self_signed`] makes one and
//!    keeps it in the [`store`]; [`files`] reads the user's own. Both end as a [`pair`]: a chain
//!    with the key that belongs to it, checked. [`acme`] gets them from a CA.
//! 2. The [`resolver`] picks one by the name a client asks for, out of a table that is replaced as a
//!    whole while listeners run; [`server_config`](mod@server_config) puts it into rustls.
//! 3. [`Certificates::keep_fresh`](Certificates::keep_fresh) renews and reloads in the background,
//!    and swaps the table.
//! 4. Where the configuration changes, [other certificates](Certificates::load_after) take their place.

pub mod acme;
mod durable;
pub mod facts;
pub mod files;
#[cfg(test)]
mod handshakes;
pub mod pair;
pub mod pem;
mod renewal;
pub mod resolver;
pub mod resumption;
pub mod self_signed;
pub mod server_config;
pub mod store;
mod stored;
mod summary;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch::Sender;
use tracing::warn;

use self::acme::challenge::ALPN_ACME_TLS;
use self::acme::{Challenges, Pause, Seen, Wish};
use self::pair::Pair;
pub use self::resolver::Resolver;
use self::resolver::Table;
use self::resumption::Tickets;
use self::self_signed::SelfSigned;
pub use self::server_config::install_crypto_provider;
use self::server_config::{ALPN_H2, ALPN_HTTP10, ALPN_HTTP11};
use self::store::Store;
pub use self::stored::{Kept, stored};
pub use self::summary::{Source, Summary};
use self::watch::Watched;
use crate::config::{Acme, Config, HostPattern, Tls, TlsMode, TlsVersion, UnknownNames};
use crate::database::Database;
use crate::supervised::Panics;

/// The certificates of one configuration, and the resolver that serves them.
#[derive(Debug)]
pub struct Certificates {
    resolver: Arc<Resolver>,
    min_version: TlsVersion,
    unknown: UnknownNames,
    origin: Origin,
    served: ArcSwap<Vec<Served>>,
    /// What handshakes with this server got, in the order of `served`; those with a CA's
    /// certificates are noted where these are kept.
    seen: Mutex<Vec<Option<Seen>>>,
    /// Held while one of them is replaced.
    publishing: Mutex<()>,
    /// Of what keeps them fresh.
    panics: Panics,
    /// Whether others are served in their place.
    is_retired: Sender<bool>,
}

/// How the wish for a new certificate ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// With this one, in service.
    Issued(Seen),
    /// Without; the words are for people.
    Failed(String),
    /// Not yet; it goes on.
    Running,
    /// No certificate is kept for that name.
    Unknown,
    /// The certificate comes from no CA; the words tell from where, and what to do.
    NotOurs(String),
}

/// What has to be done to get certificates and to keep them fresh.
#[derive(Debug)]
enum Origin {
    Off,
    SelfSigned(SelfSigned),
    Acme(acme::Managed),
    Files(Mutex<Vec<Watched>>),
}

/// A pair in the resolver's table.
#[derive(Debug, Clone)]
struct Served {
    hosts: Vec<HostPattern>,
    pair: Pair,
    source: Source,
    last_error: Option<String>,
}

impl Certificates {
    /// Gets everything that `tls.mode` asks for, and is ready to serve it. With
    /// `tls.mode = "off"` there is nothing to get, and every handshake would be refused.
    ///
    /// # Errors
    /// Every certificate that cannot be made or read, one line each, with file and remedy.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        Self::load_after(config, None)
    }

    /// The same for certificates that are to take the place of those `before`, which go on until then:
    /// what these have got from a CA goes on being served, and an order that runs goes on.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_after(config: &Config, before: Option<&Self>) -> anyhow::Result<Self> {
        if config.tls.mode == TlsMode::Acme {
            let served = before.map(|before| before.served.load());
            let known = served.iter().flat_map(|served| served.iter());
            let challenges = before.and_then(|before| before.challenges_for(&config.acme));
            let challenges = challenges.unwrap_or_default();
            let (managed, served) = acme::Managed::load(config, Arc::clone(&challenges), known)?;
            let origin = Origin::Acme(managed);
            return Ok(Self::new(&config.tls, origin, served, challenges));
        }
        Self::load_parts(&config.tls, &config.server.hosts)
    }

    /// What picks the certificate of each handshake.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// A listener's configuration: these certificates, `tls.min_version`, HTTP/2 before HTTP/1.1. Clients
    /// with one of the `tickets` resume their sessions, whatever configuration they got it from.
    ///
    /// # Errors
    /// When the crypto provider lacks a version of TLS.
    pub fn server_config(&self, tickets: &Tickets) -> anyhow::Result<rustls::ServerConfig> {
        let mut alpn = vec![ALPN_H2, ALPN_HTTP11, ALPN_HTTP10];
        if matches!(self.origin, Origin::Acme(_)) {
            alpn.push(ALPN_ACME_TLS);
        }
        server_config::server_config(self.resolver(), self.min_version, &alpn, tickets)
    }

    /// How often what keeps them fresh has panicked, and was begun anew.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.count()
    }

    /// What a CA may ask the plain listeners for; `None` where certificates come from no CA.
    #[must_use]
    pub fn challenges(&self) -> Option<Arc<Challenges>> {
        matches!(self.origin, Origin::Acme(_)).then(|| self.resolver.challenges())
    }

    /// Lets others take their place: [`keep_fresh`](Self::keep_fresh) ends, after the orders that run.
    pub fn retire(&self) {
        self.is_retired.send_replace(true);
    }

    /// The proofs on offer to the CA that `acme` names, for who takes over.
    fn challenges_for(&self, acme: &Acme) -> Option<Arc<Challenges>> {
        match &self.origin {
            Origin::Acme(managed) if managed.asks_the_same(acme) => {
                Some(self.resolver.challenges())
            }
            _ => None,
        }
    }

    /// Has a new certificate ordered for `host` at once, whatever the schedule says, and with
    /// [`Wish::Force`] whatever the CA's limits say; waits for the end of it, within reason. An order
    /// goes on when nobody waits any more.
    pub async fn renew(&self, host: &str, wish: Wish) -> Renewed {
        if let Origin::Acme(managed) = &self.origin {
            return managed.renew(host, wish).await;
        }
        let served = self.served.load();
        let pattern = HostPattern::Exact(host.to_owned());
        let Some(served) = served
            .iter()
            .find(|served| served.hosts.contains(&pattern) || served.pair.facts().covers(&pattern))
        else {
            return Renewed::Unknown;
        };
        Renewed::NotOurs(match &served.source {
            Source::File(path) => format!(
                "its certificate is read from {}; replace that file and its key, and the new ones are served within seconds",
                path.display()
            ),
            Source::SelfSigned | Source::Acme => "its certificate is self-signed and made anew 30 days before its end; for another one now, delete self-signed/ in tls.certs_dir and restart".to_owned(),
        })
    }

    /// Lets no order of a certificate begin, and waits until none runs, for at most `patience`. They go on
    /// when what is returned is dropped.
    pub async fn pause_orders(&self, patience: Duration) -> Option<Pause<'_>> {
        match &self.origin {
            Origin::Acme(managed) => managed.pause_orders(patience).await,
            Origin::Off | Origin::SelfSigned(_) | Origin::Files(_) => None,
        }
    }

    /// Tells where the database is that several instances share (`acme.storage`). Before
    /// [`keep_fresh`](Self::keep_fresh); it need not answer yet.
    pub fn use_database(&self, database: &Database) {
        if let Origin::Acme(managed) = &self.origin {
            managed.use_database(database.clone());
        }
    }

    fn load_parts(tls: &Tls, hosts: &[HostPattern]) -> anyhow::Result<Self> {
        let now = OffsetDateTime::now_utc();
        let (origin, served) = match &tls.mode {
            TlsMode::Off | TlsMode::Acme => (Origin::Off, Vec::new()),
            TlsMode::SelfSigned => {
                let self_signed = SelfSigned::new(Store::open(&tls.certs_dir)?, hosts);
                let served = match self_signed.obtain(now) {
                    Ok(pair) => Served::self_signed(pair),
                    // A full disk must not keep a server down that has a good one.
                    Err(error) => {
                        let pair = self_signed.still_valid(now);
                        let error = format!("{error:#}");
                        let pair = pair.ok_or_else(|| anyhow::anyhow!(error.clone()))?;
                        tracing::warn!("{error}; the certificate before stays in service");
                        Served {
                            last_error: Some(error),
                            ..Served::self_signed(pair)
                        }
                    }
                };
                (Origin::SelfSigned(self_signed), vec![served])
            }
            TlsMode::Files(files) => {
                let (watched, served) = load_files(files, now)?;
                (Origin::Files(Mutex::new(watched)), served)
            }
        };
        Ok(Self::new(tls, origin, served, Arc::default()))
    }

    fn new(tls: &Tls, origin: Origin, served: Vec<Served>, challenges: Arc<Challenges>) -> Self {
        let unknown = tls.unknown_names;
        Self {
            resolver: Arc::new(Resolver::new(table(&served, unknown), challenges)),
            min_version: tls.min_version,
            unknown,
            origin,
            served: ArcSwap::from_pointee(served),
            seen: Mutex::default(),
            publishing: Mutex::new(()),
            panics: Panics::default(),
            is_retired: Sender::new(false),
        }
    }

    /// What is served at `index`.
    fn serving(&self, index: usize) -> Served {
        self.served.load()[index].clone()
    }

    /// Serves `served` at `index` from the next handshake on.
    fn serve(&self, index: usize, served: Served) {
        // Others may be replaced at the same time.
        let _publishing = self.publishing.lock();
        let mut all = Vec::clone(&self.served.load());
        all[index] = served;
        self.publish(all);
    }

    /// Serves `served` from the next handshake on.
    fn publish(&self, served: Vec<Served>) {
        self.resolver.swap(table(&served, self.unknown));
        self.served.store(Arc::new(served));
    }
}

impl Served {
    fn self_signed(pair: Pair) -> Self {
        Self {
            hosts: pair.facts().hosts(),
            pair,
            source: Source::SelfSigned,
            last_error: None,
        }
    }
}

fn table(served: &[Served], unknown: UnknownNames) -> Table {
    let entries = served
        .iter()
        .map(|served| (served.hosts.as_slice(), served.pair.certified()));
    Table::new(entries, unknown)
}

/// Reads every pair, so that all mistakes are reported at once.
fn load_files(
    files: &[crate::config::TlsFiles],
    now: OffsetDateTime,
) -> anyhow::Result<(Vec<Watched>, Vec<Served>)> {
    let mut watched = Vec::new();
    let mut served = Vec::new();
    let mut errors = Vec::new();
    for files in files {
        match Watched::load(files, now) {
            Ok((watch, serve)) => {
                watched.push(watch);
                served.push(serve);
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(anyhow!(errors.join("\n")));
    }
    warn_of_names_claimed_twice(&served);
    Ok((watched, served))
}

fn warn_of_names_claimed_twice(served: &[Served]) {
    let mut claimed = HashSet::new();
    for served in served {
        for host in &served.hosts {
            if !claimed.insert(host) {
                warn!(
                    "{}: another pair before it in [[tls.files]] serves {}; this one will not",
                    served.source,
                    files::text(host)
                );
            }
        }
    }
}
