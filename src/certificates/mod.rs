//! Certificates: where they come from, where they lie, and which one a handshake gets.
//!
//! 1. [`Certificates::load`] gets the pairs that `tls.mode` asks for: [`self_signed`] makes one and
//!    keeps it in the [`store`]; [`files`] reads the user's own. Both end as a [`pair`]: a chain
//!    with the key that belongs to it, checked. [`acme`] gets them from a CA.
//! 2. The [`resolver`] picks one by the name a client asks for, out of a table that is replaced as a
//!    whole while listeners run; [`server_config`](mod@server_config) puts it into rustls.
//! 3. [`Certificates::keep_fresh`](Certificates::keep_fresh) renews and reloads in the background,
//!    and swaps the table.

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
pub mod self_signed;
pub mod server_config;
pub mod store;
mod stored;
#[cfg(test)]
mod testing;
mod watch;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tracing::warn;

use self::acme::challenge::ALPN_ACME_TLS;
use self::acme::{Challenges, Seen, Wish};
use self::pair::Pair;
pub use self::resolver::Resolver;
use self::resolver::{Table, UnknownName};
use self::self_signed::SelfSigned;
pub use self::server_config::install_crypto_provider;
use self::server_config::{ALPN_H2, ALPN_HTTP11};
use self::store::Store;
pub use self::stored::{Kept, stored};
use self::watch::Watched;
use crate::config::{Config, HostPattern, Tls, TlsMode, TlsVersion};
use crate::database::Database;

/// The certificates of one configuration, and the resolver that serves them.
#[derive(Debug)]
pub struct Certificates {
    resolver: Arc<Resolver>,
    min_version: TlsVersion,
    unknown: UnknownName,
    origin: Origin,
    served: ArcSwap<Vec<Served>>,
    /// What handshakes with this server got, in the order of `served`; those with a CA's
    /// certificates are noted where these are kept.
    seen: Mutex<Vec<Option<Seen>>>,
    /// Held while one of them is replaced.
    publishing: Mutex<()>,
}

/// One certificate as it is served, for `certs list` and `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Names it is served for, as the configuration writes them.
    pub names: Vec<String>,
    /// End of its validity.
    pub not_after: OffsetDateTime,
    /// Who issued it.
    pub issuer: String,
    /// Serial number in upper-case hexadecimal.
    pub serial: String,
    /// Where it comes from.
    pub source: Source,
    /// Why the last attempt to renew or reload it failed; `None` when that went well.
    pub last_error: Option<String>,
    /// What is in storage; `None` while a throwaway stands in for a CA's certificate.
    pub stored: Option<Seen>,
    /// What a handshake with this server got; `None` before the first, and when it failed.
    pub seen: Option<Seen>,
    /// Of a CA's certificate: when the next order is due, or may be tried again.
    pub next_attempt: Option<OffsetDateTime>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Our own making.
    SelfSigned,
    /// A CA's.
    Acme,
    /// The user's file (the chain's).
    File(PathBuf),
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
        if config.tls.mode == TlsMode::Acme {
            let challenges = Arc::<Challenges>::default();
            let (managed, served) = acme::Managed::load(config, Arc::clone(&challenges))?;
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

    /// A listener's configuration: these certificates, `tls.min_version`, HTTP/2 before HTTP/1.1.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn server_config(&self) -> anyhow::Result<rustls::ServerConfig> {
        let mut alpn = vec![ALPN_H2, ALPN_HTTP11];
        if matches!(self.origin, Origin::Acme(_)) {
            alpn.push(ALPN_ACME_TLS);
        }
        server_config::server_config(self.resolver(), self.min_version, &alpn)
    }

    /// What is served now, in the order of the configuration.
    #[must_use]
    pub fn summary(&self) -> Vec<Summary> {
        let served = self.served.load();
        let summaries = served.iter().map(Served::summary);
        let Origin::Acme(managed) = &self.origin else {
            let seen = self.seen.lock();
            let mut seen = seen.iter().cloned();
            return summaries
                .map(|summary| Summary {
                    seen: seen.next().flatten(),
                    ..summary
                })
                .collect();
        };
        summaries
            .enumerate()
            .map(|(index, summary)| {
                let status = managed.status(index);
                Summary {
                    last_error: status.last_error,
                    stored: status.stored,
                    seen: status.served,
                    next_attempt: status.next_attempt,
                    ..summary
                }
            })
            .collect()
    }

    /// What a CA may ask the plain listeners for; `None` where certificates come from no CA.
    #[must_use]
    pub fn challenges(&self) -> Option<Arc<Challenges>> {
        matches!(self.origin, Origin::Acme(_)).then(|| self.resolver.challenges())
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
                let pair = self_signed.obtain(now)?;
                (
                    Origin::SelfSigned(self_signed),
                    vec![Served::self_signed(pair)],
                )
            }
            TlsMode::Files(files) => {
                let (watched, served) = load_files(files, now)?;
                (Origin::Files(Mutex::new(watched)), served)
            }
        };
        Ok(Self::new(tls, origin, served, Arc::default()))
    }

    fn new(tls: &Tls, origin: Origin, served: Vec<Served>, challenges: Arc<Challenges>) -> Self {
        // Clients cannot verify a self-signed certificate by its name anyway, and on a machine
        // under test any name is as good; of the user's own certificates each has its sites.
        let unknown = match tls.mode {
            TlsMode::SelfSigned => UnknownName::Default,
            TlsMode::Acme | TlsMode::Files(_) | TlsMode::Off => UnknownName::Refuse,
        };
        Self {
            resolver: Arc::new(Resolver::new(table(&served, unknown), challenges)),
            min_version: tls.min_version,
            unknown,
            origin,
            served: ArcSwap::from_pointee(served),
            seen: Mutex::default(),
            publishing: Mutex::new(()),
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

    fn summary(&self) -> Summary {
        let facts = self.pair.facts();
        Summary {
            names: self.hosts.iter().map(files::text).collect(),
            not_after: facts.not_after,
            issuer: facts.issuer.clone(),
            serial: facts.serial.clone(),
            source: self.source.clone(),
            last_error: self.last_error.clone(),
            stored: Some(Seen::of(facts)),
            seen: None,
            next_attempt: None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfSigned => formatter.write_str("self-signed"),
            Self::Acme => formatter.write_str("acme"),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

fn table(served: &[Served], unknown: UnknownName) -> Table {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::certificates::testing::{leaf, tls, write_pair};

    fn load(tls: &Tls) -> anyhow::Result<Certificates> {
        Certificates::load_parts(tls, &[HostPattern::Exact("notes.test".into())])
    }

    #[test]
    fn a_self_signed_certificate_is_there_after_the_first_start_and_the_same_after_the_second() {
        let root = tempfile::tempdir().unwrap();
        let tls = tls(TlsMode::SelfSigned, root.path());
        let first = load(&tls).unwrap().summary();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].names, ["localhost", "notes.test"]);
        assert_eq!(first[0].source.to_string(), "self-signed");
        assert_eq!(load(&tls).unwrap().summary(), first);
    }

    #[test]
    fn off_gets_nothing_and_touches_nothing() {
        let root = tempfile::tempdir().unwrap();
        let certs = root.path().join("certs");
        let certificates = load(&tls(TlsMode::Off, &certs)).unwrap();
        assert!(certificates.summary().is_empty());
        assert!(certificates.resolver().lookup(None).is_none());
        assert!(!certs.exists());
    }

    #[test]
    fn files_are_served_by_name_and_never_touched() {
        let root = tempfile::tempdir().unwrap();
        let one = write_pair(root.path(), "one", &leaf(&["one.test"]));
        let two = write_pair(root.path(), "two", &leaf(&["two.test", "*.two.test"]));
        let certs = root.path().join("certs");
        let mode = TlsMode::Files(vec![one.clone(), two.clone()]);
        let certificates = load(&tls(mode, &certs)).unwrap();
        let summary = certificates.summary();
        assert_eq!(summary[1].names, ["*.two.test", "two.test"]);
        assert_eq!(summary[1].issuer, "Test authority");
        assert_eq!(summary[1].source, Source::File(two.cert));
        assert!(certificates.resolver().lookup(Some("x.two.test")).is_some());
        assert!(certificates.resolver().lookup(Some("three.test")).is_none());
        assert!(!certs.exists(), "only our own certificates need a place");
    }

    #[test]
    fn every_pair_that_cannot_be_served_is_reported_at_once() {
        let root = tempfile::tempdir().unwrap();
        let good = write_pair(root.path(), "good", &leaf(&["good.test"]));
        let empty = write_pair(root.path(), "empty", &leaf(&["empty.test"]));
        fs::write(&empty.cert, "").unwrap();
        let missing = write_pair(root.path(), "missing", &leaf(&["missing.test"]));
        fs::remove_file(&missing.key).unwrap();
        let mode = TlsMode::Files(vec![good, empty, missing]);
        let error = load(&tls(mode, Path::new("unused")))
            .unwrap_err()
            .to_string();
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines.len(), 2, "{error}");
        assert!(lines[0].contains("empty.crt: is empty"), "{error}");
        assert!(lines[1].contains("missing.key: cannot be read"), "{error}");
    }
}
