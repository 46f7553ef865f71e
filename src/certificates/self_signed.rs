//! `tls.mode = "self-signed"`: a certificate of our own making, the same across restarts.
//!
//! People import it where they test, so a new one is made only when it must be: [`decide`] says
//! when, from the time and what there is. A fresh key comes with every certificate.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use anyhow::Context;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use tracing::info;
use uuid::Uuid;

use super::facts::Facts;
use super::pair::Pair;
use super::store::Store;
use crate::config::HostPattern;

/// Where it lies in the [`Store`].
pub(super) const PLACE: &str = "self-signed";
/// Common name of subject and issuer, as lists of certificates show it.
const COMMON_NAME: &str = "unibody self-signed";
/// What every certificate is for, whatever the configuration names.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Browsers refuse more than 398 days (CA/Browser Forum, ballot SC31).
const LIFETIME: Duration = Duration::days(365);
/// Clocks of clients may be behind ours.
const BACKDATED: Duration = Duration::hours(1);
/// How long before its end a certificate is replaced.
const RENEW_BEFORE: Duration = Duration::days(30);

/// The self-signed certificate of one configuration.
#[derive(Debug)]
pub struct SelfSigned {
    store: Store,
    wanted: BTreeSet<String>,
}

/// What to do about the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It will do.
    Keep,
    /// A new one is needed.
    Make(Reason),
}

/// Why a certificate is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Missing,
    /// `server.hosts` is not what it was.
    NamesChanged,
    /// Its last 30 days have begun, or are over.
    Expiring,
    /// Its validity begins later than now: the clock was wrong when it was made, or is now.
    NotYetValid,
}

/// Whether the certificate at hand serves the `wanted` names at `now`.
#[must_use]
pub fn decide(
    now: OffsetDateTime,
    existing: Option<&Facts>,
    wanted: &BTreeSet<String>,
) -> Decision {
    let Some(existing) = existing else {
        return Decision::Make(Reason::Missing);
    };
    if existing.names != *wanted {
        Decision::Make(Reason::NamesChanged)
    } else if now < existing.not_before {
        Decision::Make(Reason::NotYetValid)
    } else if now >= renewal(existing) {
        Decision::Make(Reason::Expiring)
    } else {
        Decision::Keep
    }
}

/// The moment from which [`decide`] asks for a new certificate.
#[must_use]
pub fn renewal(facts: &Facts) -> OffsetDateTime {
    facts.not_after - RENEW_BEFORE
}

impl SelfSigned {
    /// For the names of `hosts`, kept in `store`.
    #[must_use]
    pub fn new(store: Store, hosts: &[HostPattern]) -> Self {
        let mut wanted: BTreeSet<String> = LOCAL.iter().map(ToString::to_string).collect();
        wanted.extend(hosts.iter().map(name_of));
        Self { store, wanted }
    }

    /// The certificate to serve at `now`: the one on disk while it will do, else a new one. Another
    /// instance that shares the directory may have made it, which is why the disk is asked each time.
    ///
    /// # Errors
    /// When one must be made and cannot be, or cannot be kept; the message has the remedy.
    pub fn obtain(&self, now: OffsetDateTime) -> anyhow::Result<Pair> {
        let existing = self.store.load(PLACE)?;
        match (
            decide(now, existing.as_ref().map(Pair::facts), &self.wanted),
            existing,
        ) {
            (Decision::Keep, Some(pair)) => Ok(pair),
            (Decision::Make(reason), _) => self.make(now, reason),
            // `decide` keeps nothing where there is nothing.
            (Decision::Keep, None) => self.make(now, Reason::Missing),
        }
    }

    /// The one on disk, for the names wanted and valid at `now`, however soon it ends.
    pub(super) fn still_valid(&self, now: OffsetDateTime) -> Option<Pair> {
        let pair = self.store.load(PLACE).ok()??;
        let facts = pair.facts();
        let valid = facts.not_before <= now && now < facts.not_after;
        (valid && facts.names == self.wanted).then_some(pair)
    }

    fn make(&self, now: OffsetDateTime, reason: Reason) -> anyhow::Result<Pair> {
        let (chain, key) = issue(&self.wanted, now)?;
        let pair = self.store.save(PLACE, &chain, &key)?;
        let names: Vec<&str> = self.wanted.iter().map(String::as_str).collect();
        info!(
            "made a self-signed certificate for {} ({reason}), valid until {}",
            names.join(", "),
            pair.facts().not_after.date(),
        );
        Ok(pair)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "there was none",
            Self::NamesChanged => "server.hosts has changed",
            Self::Expiring => "the last one was about to expire",
            Self::NotYetValid => "the last one was not valid yet by this clock",
        })
    }
}

/// A name as certificates write it. An address (`[::1]`) loses its brackets and gets its usual form.
fn name_of(host: &HostPattern) -> String {
    match host {
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
        HostPattern::Exact(name) => {
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<IpAddr>()
                .map_or_else(|_| name.clone(), |address| address.to_string())
        }
    }
}

/// Makes key and certificate, both as PEM.
pub(super) fn issue(
    names: &BTreeSet<String>,
    now: OffsetDateTime,
) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate().context("cannot make a P-256 key")?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => name.as_str().try_into().map(SanType::DnsName),
        })
        .collect::<Result<_, _>>()
        .context("server.hosts: a name is not ASCII; write it in its punycode form (xn--…)")?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, COMMON_NAME);
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    // 122 random bits: browsers refuse two certificates with one issuer and serial.
    params.serial_number = Some(SerialNumber::from_slice(Uuid::new_v4().as_bytes()));
    // Whoever trusts this certificate shall trust this server and not everything its key could sign.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params
        .self_signed(&key)
        .context("cannot sign the certificate")?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::certificates::testing::openssl;

    fn hosts() -> Vec<HostPattern> {
        vec![
            HostPattern::Exact("localhost".into()),
            HostPattern::Exact("notes.test".into()),
            HostPattern::Exact("[2001:DB8::1]".into()),
            HostPattern::Wildcard("apps.test".into()),
        ]
    }

    fn at(directory: &Path, hosts: &[HostPattern]) -> SelfSigned {
        SelfSigned::new(Store::open(directory).unwrap(), hosts)
    }

    fn days_from_now(days: i64) -> OffsetDateTime {
        OffsetDateTime::now_utc() + Duration::days(days)
    }

    #[test]
    fn a_certificate_is_made_only_when_it_must_be() {
        let now = OffsetDateTime::now_utc();
        let wanted: BTreeSet<String> = ["a.test".to_owned()].into();
        let facts = |days_before: i64, days_after: i64, names: &[&str]| Facts {
            names: names.iter().map(ToString::to_string).collect(),
            not_before: now - Duration::days(days_before),
            not_after: now + Duration::days(days_after),
            issuer: COMMON_NAME.to_owned(),
            serial: "01".to_owned(),
            chain_in_order: true,
        };
        let second = Duration::seconds(1);
        let renewed_now = facts(300, 30, &["a.test"]);
        let renewed_soon = Facts {
            not_after: renewed_now.not_after + second,
            ..renewed_now.clone()
        };
        let valid_in_a_second = Facts {
            not_before: now + second,
            ..facts(0, 300, &["a.test"])
        };
        let cases = [
            (None, Decision::Make(Reason::Missing), "nothing there"),
            (Some(facts(1, 300, &["a.test"])), Decision::Keep, "fresh"),
            (
                Some(facts(0, 300, &["a.test"])),
                Decision::Keep,
                "valid from this very second",
            ),
            (
                Some(valid_in_a_second),
                Decision::Make(Reason::NotYetValid),
                "the clock was set back",
            ),
            (
                Some(renewed_soon),
                Decision::Keep,
                "a second before its last 30 days",
            ),
            (
                Some(renewed_now),
                Decision::Make(Reason::Expiring),
                "its last 30 days begin",
            ),
            (
                Some(facts(400, -1, &["a.test"])),
                Decision::Make(Reason::Expiring),
                "expired while stopped",
            ),
            (
                Some(facts(1, 300, &[])),
                Decision::Make(Reason::NamesChanged),
                "a host was added",
            ),
            (
                Some(facts(1, 300, &["a.test", "b.test"])),
                Decision::Make(Reason::NamesChanged),
                "a host was removed",
            ),
        ];
        for (existing, expected, why) in cases {
            assert_eq!(decide(now, existing.as_ref(), &wanted), expected, "{why}");
        }
    }

    #[test]
    fn it_is_what_browsers_accept() {
        let root = tempfile::tempdir().unwrap();
        let pair = at(root.path(), &hosts()).obtain(days_from_now(0)).unwrap();
        let facts = pair.facts();
        assert_eq!(
            facts.names.iter().map(String::as_str).collect::<Vec<_>>(),
            [
                "*.apps.test",
                "127.0.0.1",
                "2001:db8::1",
                "::1",
                "localhost",
                "notes.test"
            ]
        );
        assert!(facts.not_before < OffsetDateTime::now_utc());
        assert!(facts.not_after - facts.not_before <= Duration::days(398));

        let file = root.path().join("self-signed/certificate.pem");
        let text = openssl(&["x509", "-noout", "-text", "-in", file.to_str().unwrap()]);
        for expected in [
            "Version: 3",
            "ASN1 OID: prime256v1",
            "CA:FALSE",
            "TLS Web Server Authentication",
            "Digital Signature",
            "DNS:*.apps.test",
            "IP Address:127.0.0.1",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn it_can_be_trusted_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        at(root.path(), &hosts()).obtain(days_from_now(0)).unwrap();
        let file = root.path().join("self-signed/certificate.pem");
        let file = file.to_str().unwrap();
        for (option, name) in [
            ("-verify_hostname", "localhost"),
            ("-verify_hostname", "one.apps.test"),
            ("-verify_ip", "::1"),
        ] {
            openssl(&[
                "verify",
                "-CAfile",
                file,
                "-purpose",
                "sslserver",
                option,
                name,
                file,
            ]);
        }
    }

    #[test]
    fn it_stays_the_same_until_it_must_change() {
        let root = tempfile::tempdir().unwrap();
        let serial = |hosts: &[HostPattern], day: i64| {
            let pair = at(root.path(), hosts).obtain(days_from_now(day)).unwrap();
            pair.facts().serial.clone()
        };
        let first = serial(&hosts(), 0);
        assert_eq!(serial(&hosts(), 0), first, "a restart");
        assert_eq!(serial(&hosts(), 334), first, "31 days left");
        let second = serial(&hosts(), 336);
        assert_ne!(second, first, "29 days left");
        let third = serial(&hosts()[..1], 337);
        assert_ne!(third, second, "fewer hosts");
        assert_eq!(serial(&[], 337), third, "localhost is always in it");
    }

    #[test]
    fn each_has_a_key_and_a_serial_of_its_own() {
        let names: BTreeSet<String> = ["a.test".to_owned()].into();
        let make = || issue(&names, OffsetDateTime::now_utc()).unwrap();
        let (one, two) = (make(), make());
        assert_ne!(one.1, two.1);
        let serial = |(chain, key): &(String, String)| {
            let pair = Pair::parse(chain.as_bytes(), key.as_bytes()).unwrap();
            pair.facts().serial.clone()
        };
        assert_ne!(serial(&one), serial(&two));
        assert!(serial(&one).len() >= 16);
    }

    #[test]
    fn a_name_that_no_certificate_can_hold_says_so() {
        let root = tempfile::tempdir().unwrap();
        let hosts = [HostPattern::Exact("bücher.test".into())];
        let error = at(root.path(), &hosts)
            .obtain(days_from_now(0))
            .unwrap_err();
        assert!(error.to_string().contains("punycode"), "{error}");
    }
}
