//! What lies on disk, for who asks while no server runs. Reading changes nothing there: no
//! directory is made, no damaged file set aside.

use time::OffsetDateTime;

use super::acme::Seen;
use super::facts::Facts;
use super::store::Store;
use super::{Source, acme, files, self_signed};
use crate::config::{Config, HostPattern, TlsFiles, TlsMode};

/// One certificate as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Names it is to be served for.
    pub names: Vec<String>,
    /// Where it comes from.
    pub source: Source,
    /// Who issued it; empty when there is none.
    pub issuer: String,
    /// The certificate; `None` when there is none yet, or it cannot be read.
    pub stored: Option<Seen>,
    /// Of a CA's certificate: not before this is it ordered again.
    pub next_attempt: Option<OffsetDateTime>,
    /// Why it cannot be read, or why the last order failed.
    pub last_error: Option<String>,
}

/// Every certificate that `config` asks for, as it lies on disk.
#[must_use]
pub fn stored(config: &Config) -> Vec<Kept> {
    match &config.tls.mode {
        TlsMode::Off => Vec::new(),
        TlsMode::SelfSigned => vec![self_signed(config)],
        TlsMode::Files(pairs) => pairs.iter().map(file).collect(),
        TlsMode::Acme => {
            let names = config.acme_hosts();
            names.into_iter().map(|name| issued(config, name)).collect()
        }
    }
}

fn self_signed(config: &Config) -> Kept {
    let none = Kept::none(vec!["localhost".to_owned()], Source::SelfSigned);
    match Store::look(&config.tls.certs_dir, self_signed::PLACE) {
        Ok(Some(pair)) => Kept {
            names: texts(&pair.facts().hosts()),
            ..none.with(pair.facts())
        },
        Ok(None) => none,
        Err(error) => none.failed(format!("{error:#}")),
    }
}

fn file(pair: &TlsFiles) -> Kept {
    let none = Kept::none(texts(&pair.hosts), Source::File(pair.cert.clone()));
    let loaded = files::read(pair).and_then(|contents| {
        let now = OffsetDateTime::now_utc();
        files::parse(pair, &contents, now).map_err(|error| format!("{error:#}"))
    });
    match loaded {
        Ok(loaded) => Kept {
            names: texts(&loaded.hosts),
            ..none.with(loaded.pair.facts())
        },
        Err(error) => none.failed(error),
    }
}

fn issued(config: &Config, name: String) -> Kept {
    let (pair, ledger) = acme::look(&config.tls.certs_dir, &config.acme, &name);
    let none = Kept {
        next_attempt: ledger.history(OffsetDateTime::now_utc()).next_attempt,
        last_error: ledger.last_error().map(str::to_owned),
        ..Kept::none(vec![name], Source::Acme)
    };
    match pair {
        Ok(Some(pair)) => none.with(pair.facts()),
        Ok(None) => none,
        Err(error) => none.failed(format!("{error:#}")),
    }
}

fn texts(hosts: &[HostPattern]) -> Vec<String> {
    hosts.iter().map(files::text).collect()
}

impl Kept {
    fn none(names: Vec<String>, source: Source) -> Self {
        Self {
            names,
            source,
            issuer: String::new(),
            stored: None,
            next_attempt: None,
            last_error: None,
        }
    }

    fn with(self, facts: &Facts) -> Self {
        Self {
            issuer: facts.issuer.clone(),
            stored: Some(Seen::of(facts)),
            ..self
        }
    }

    fn failed(self, error: String) -> Self {
        Self {
            last_error: Some(error),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::certificates::testing::{leaf, write_pair};

    #[test]
    fn looking_makes_nothing_and_sets_nothing_aside() {
        let root = tempfile::tempdir().unwrap();
        let config = Config::default_for(root.path());
        let kept = stored(&config);
        assert_eq!((kept.len(), &kept[0].stored), (1, &None));
        assert!(!config.tls.certs_dir.exists());

        let place = config.tls.certs_dir.join(self_signed::PLACE);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("pair.pem"), "cut off").unwrap();
        let kept = stored(&config);
        assert!(kept[0].last_error.as_ref().unwrap().contains("pair.pem"));
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        assert_eq!(fs::read(place.join("pair.pem")).unwrap(), b"cut off");
    }

    #[test]
    fn the_users_files_are_told_of_one_by_one() {
        let root = tempfile::tempdir().unwrap();
        let good = write_pair(root.path(), "good", &leaf(&["good.test"]));
        let bad = write_pair(root.path(), "bad", &leaf(&["bad.test"]));
        fs::write(&bad.cert, "").unwrap();
        let mut config = Config::default_for(root.path());
        config.tls.mode = TlsMode::Files(vec![good, bad]);
        let kept = stored(&config);
        assert_eq!(kept[0].names, ["good.test"]);
        assert!(kept[0].stored.is_some() && kept[0].last_error.is_none());
        let error = kept[1].last_error.as_ref().unwrap();
        assert!(
            kept[1].stored.is_none() && error.contains("bad.crt"),
            "{error}"
        );
    }
}
