//! Which certificate a handshake gets.
//!
//! The exact name first, then the wildcard over its first label, then what the table says of
//! unknown names. A client that sends no name gets the first certificate for an address, since that
//! is what it asks for, else the first configured. The table is immutable and swapped as a whole: a
//! handshake sees one table, takes no lock, and connections that are open keep the certificate they
//! began with.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::acme::challenge::{ALPN_ACME_TLS, Challenges};
use crate::config::{HostPattern, UnknownNames};

/// Answers rustls from a [`Table`] that can be replaced while listeners run.
#[derive(Debug)]
pub struct Resolver {
    table: ArcSwap<Table>,
    challenges: Arc<Challenges>,
}

/// Names and their certificates.
#[derive(Debug)]
pub struct Table {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By suffix: `example.com` for `*.example.com`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
    unknown: UnknownNames,
}

impl Resolver {
    /// Starts with `table`; CAs are answered from `challenges`.
    #[must_use]
    pub fn new(table: Table, challenges: Arc<Challenges>) -> Self {
        Self {
            table: ArcSwap::from_pointee(table),
            challenges,
        }
    }

    /// What CAs are answered from.
    #[must_use]
    pub fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// Replaces the table; handshakes that begin from now on see it.
    pub fn swap(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// The certificate for a client that asks for `name`; `None` refuses the handshake.
    #[must_use]
    pub fn lookup(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        self.table.load().lookup(name).cloned()
    }
}

impl Table {
    /// A table of pairs in the order of the configuration: where two claim a name, the first has it.
    #[must_use]
    pub fn new<'a>(
        entries: impl IntoIterator<Item = (&'a [HostPattern], &'a Arc<CertifiedKey>)>,
        unknown: UnknownNames,
    ) -> Self {
        let mut table = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: None,
            unknown,
        };
        let mut is_of_address = false;
        for (hosts, certified) in entries {
            table.default.get_or_insert_with(|| Arc::clone(certified));
            if !is_of_address && hosts.iter().any(is_address) {
                table.default = Some(Arc::clone(certified));
                is_of_address = true;
            }
            for host in hosts {
                let (names, name) = match host {
                    HostPattern::Exact(name) => (&mut table.exact, name),
                    HostPattern::Wildcard(suffix) => (&mut table.wildcard, suffix),
                };
                names
                    .entry(name.clone())
                    .or_insert_with(|| Arc::clone(certified));
            }
        }
        table
    }

    fn lookup(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name else {
            return self.default.as_ref();
        };
        let name = normal(name);
        self.exact
            .get(name.as_ref())
            .or_else(|| match name.split_once('.') {
                Some((label, suffix)) if !label.is_empty() => self.wildcard.get(suffix),
                _ => None,
            })
            .or(match self.unknown {
                UnknownNames::Refuse => None,
                UnknownNames::Default => self.default.as_ref(),
            })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client_hello.server_name();
        if is_ca(&client_hello) {
            return self.challenges.tls(name?);
        }
        self.lookup(name)
    }
}

/// A client that asks for an address sends no name (RFC 6066, section 3).
fn is_address(host: &HostPattern) -> bool {
    match host {
        HostPattern::Exact(name) => name.parse::<IpAddr>().is_ok(),
        HostPattern::Wildcard(_) => false,
    }
}

/// Whether the client speaks `acme-tls/1` and nothing else, as a CA does that looks for a proof
/// (RFC 8737, section 3). Whoever offers more protocols wants a site.
fn is_ca(client_hello: &ClientHello<'_>) -> bool {
    client_hello.alpn().is_some_and(|mut protocols| {
        protocols.next() == Some(ALPN_ACME_TLS) && protocols.next().is_none()
    })
}

/// Lower case and without the root's dot, which some clients send against RFC 6066, section 3.
/// Allocates only for the rare name that is neither yet.
fn normal(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;

    use super::*;
    use crate::certificates::testing::leaf;

    fn exact(name: &str) -> HostPattern {
        HostPattern::Exact(name.to_owned())
    }

    fn wildcard(suffix: &str) -> HostPattern {
        HostPattern::Wildcard(suffix.to_owned())
    }

    /// Certificates that can be told apart by number; no handshake is made with them.
    fn numbered(count: usize) -> Vec<Arc<CertifiedKey>> {
        let key = Arc::clone(&leaf(&["a.test"]).pair().certified().key);
        (0..count)
            .map(|number| {
                let der = CertificateDer::from(number.to_be_bytes().to_vec());
                Arc::new(CertifiedKey::new(vec![der], Arc::clone(&key)))
            })
            .collect()
    }

    fn number(found: Option<&Arc<CertifiedKey>>) -> Option<usize> {
        let bytes = found?.cert[0].as_ref().try_into().unwrap();
        Some(usize::from_be_bytes(bytes))
    }

    fn table(entries: &[Vec<HostPattern>], unknown: UnknownNames) -> Table {
        let keys = numbered(entries.len());
        Table::new(entries.iter().map(Vec::as_slice).zip(&keys), unknown)
    }

    #[test]
    fn a_client_without_a_name_gets_the_first_certificate_for_an_address() {
        let address = |text: &str| vec![exact("first.test"), exact(text)];
        let table = [
            (vec![vec![exact("a.test")]], 0, "no address: the first"),
            (vec![vec![exact("a.test")], address("192.0.2.7")], 1, "IPv4"),
            (
                vec![vec![exact("a.test")], address("2001:db8::7")],
                1,
                "IPv6",
            ),
            (
                vec![
                    vec![wildcard("a.test")],
                    address("::1"),
                    address("127.0.0.1"),
                ],
                1,
                "the first of two",
            ),
        ];
        for (entries, expected, why) in table {
            let table = super::tests::table(&entries, UnknownNames::Refuse);
            assert_eq!(number(table.lookup(None)), Some(expected), "{why}");
        }
    }

    #[test]
    fn names_find_their_certificate() {
        let entries = [
            vec![exact("first.test")],
            vec![exact("www.shop.test"), wildcard("shop.test")],
            vec![exact("api.shop.test"), exact("www.shop.test")],
            vec![wildcard("test")],
        ];
        let table = table(&entries, UnknownNames::Refuse);
        let cases = [
            (None, Some(0), "no SNI: the first configured"),
            (Some("first.test"), Some(0), "exact"),
            (Some("FIRST.Test"), Some(0), "any case"),
            (Some("first.test."), Some(0), "with the root's dot"),
            (Some("api.shop.test"), Some(2), "exact goes before wildcard"),
            (
                Some("www.shop.test"),
                Some(1),
                "claimed twice: the first has it",
            ),
            (Some("new.shop.test"), Some(1), "wildcard"),
            (
                Some("a.new.shop.test"),
                None,
                "a wildcard stands for one label",
            ),
            (
                Some("shop.test"),
                Some(3),
                "a wildcard is not its own suffix",
            ),
            (Some("test"), None, "nor here"),
            (Some(".test"), None, "an empty label is no name"),
            (Some("elsewhere.example"), None, "unknown"),
            (Some(""), None, "nothing"),
            (Some("."), None, "only the root"),
            (Some("*.shop.test"), Some(1), "an odd label, but a label"),
        ];
        for (name, expected, why) in cases {
            assert_eq!(number(table.lookup(name)), expected, "{name:?}: {why}");
        }
    }

    #[test]
    fn unknown_names_get_the_default_where_the_table_says_so() {
        let entries = [vec![exact("a.test")], vec![exact("b.test")]];
        let table = table(&entries, UnknownNames::Default);
        assert_eq!(number(table.lookup(Some("b.test"))), Some(1));
        assert_eq!(number(table.lookup(Some("c.test"))), Some(0));
    }

    #[test]
    fn an_empty_table_refuses_everybody() {
        for unknown in [UnknownNames::Refuse, UnknownNames::Default] {
            let resolver = Resolver::new(table(&[], unknown), Arc::default());
            assert!(resolver.lookup(None).is_none());
            assert!(resolver.lookup(Some("a.test")).is_none());
        }
    }

    #[test]
    fn a_swap_is_seen_at_once() {
        let resolver = Resolver::new(
            table(&[vec![exact("a.test")]], UnknownNames::Refuse),
            Arc::default(),
        );
        assert!(resolver.lookup(Some("a.test")).is_some());
        resolver.swap(table(&[vec![exact("b.test")]], UnknownNames::Refuse));
        assert!(resolver.lookup(Some("a.test")).is_none());
        assert!(resolver.lookup(Some("b.test")).is_some());
    }

    /// What [`Table::lookup`] must find, said as plainly as possible.
    fn reference(entries: &[Vec<HostPattern>], unknown: UnknownNames, name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let claimed = |wanted: fn(&HostPattern) -> bool| {
            entries
                .iter()
                .position(|hosts| hosts.iter().any(|host| wanted(host) && host.matches(&name)))
        };
        claimed(|host| matches!(host, HostPattern::Exact(_)))
            .or_else(|| claimed(|host| matches!(host, HostPattern::Wildcard(_))))
            .or_else(|| (unknown == UnknownNames::Default && !entries.is_empty()).then_some(0))
    }

    fn names() -> impl Strategy<Value = String> {
        // Few labels, so that tables and questions meet.
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
            .prop_map(|labels| labels.join("."))
    }

    fn patterns() -> impl Strategy<Value = HostPattern> {
        prop_oneof![
            names().prop_map(HostPattern::Exact),
            names().prop_map(HostPattern::Wildcard),
        ]
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_the_reference(
            entries in prop::collection::vec(prop::collection::vec(patterns(), 0..4), 0..4),
            refuse in any::<bool>(),
            name in names(),
            upper in any::<bool>(),
        ) {
            let unknown = if refuse { UnknownNames::Refuse } else { UnknownNames::Default };
            let asked = if upper { name.to_ascii_uppercase() } else { name.clone() };
            let table = table(&entries, unknown);
            prop_assert_eq!(number(table.lookup(Some(&asked))), reference(&entries, unknown, &name));
        }
    }
}
