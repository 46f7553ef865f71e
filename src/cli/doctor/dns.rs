//! The names: whether ours lead to this machine, and those of upstream servers anywhere.
//!
//! Behind NAT or a load balancer an address is somebody else's, and all may be well; so that is a
//! warning. An AAAA record that nobody thought of is the classic trap: CAs and browsers try IPv6
//! first, and find another machine or none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::future::join_all;
use nix::ifaddrs::getifaddrs;
use tokio::time::timeout;

use super::finding::{Finding, Grade};
use crate::config::{Config, TlsMode, UpstreamAddress};

/// For one name.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<IpAddr>),
    /// The resolver's own words.
    None(String),
}

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    // A CA asks these names' DNS for certain; elsewhere a name may be in the clients' own lists.
    let public = config.tls.mode == TlsMode::Acme;
    let own = own_addresses();
    let mut findings = Vec::new();
    for name in config.acme_hosts() {
        let answer = match name.parse() {
            Ok(address) => Answer::Addresses(vec![address]),
            Err(_) => resolve(&name).await,
        };
        findings.extend(judge(&name, &answer, &own, public));
    }
    for suffix in config.wildcard_hosts() {
        let name = format!("*.{suffix}");
        // Any label will do that nobody has a record for.
        let answer = resolve(&format!("unibody-doctor.{suffix}")).await;
        findings.extend(judge_wildcard(&name, &answer, &own));
    }
    findings.extend(upstreams(config).await);
    findings
}

/// Where the names of upstream servers lead, in the order of the upstreams' names.
async fn upstreams(config: &Config) -> Vec<Finding> {
    let mut upstreams: Vec<_> = config.upstreams.values().collect();
    upstreams.sort_by_key(|upstream| &upstream.name);
    let named = upstreams.into_iter().flat_map(|upstream| {
        let servers = upstream.servers.iter();
        servers.filter_map(|server| match &server.address {
            UpstreamAddress::Tcp { host, .. } if host.parse::<IpAddr>().is_err() => {
                Some((upstream.name.as_str(), host.as_str()))
            }
            _ => None,
        })
    });
    // With the search list, as the server looks them up; side by side, for one may take its time.
    let asked = named.map(async |(upstream, name)| {
        let answer = match timeout(PATIENCE, lookup(name)).await {
            Ok(Ok(addresses)) => Answer::Addresses(addresses),
            Ok(Err(error)) => Answer::None(error.to_string()),
            Err(_) => Answer::None("the name servers did not answer in time".to_owned()),
        };
        judge_upstream(upstream, name, &answer)
    });
    join_all(asked).await
}

fn judge_upstream(upstream: &str, name: &str, answer: &Answer) -> Finding {
    match answer {
        Answer::Addresses(addresses) => {
            let addresses: Vec<_> = addresses.iter().collect();
            Finding::ok(format!(
                "upstream {upstream}: {name} leads to {}",
                list(&addresses)
            ))
        }
        Answer::None(why) => Finding::fail(
            format!("upstream {upstream}: {name} leads nowhere ({why}), so nobody can ask it"),
            "correct the name in its `servers`, or see whether this machine's name servers know it",
        ),
    }
}

/// A wildcard without a record of its own is no mistake: each name below it may have one.
fn judge_wildcard(name: &str, answer: &Answer, own: &[IpAddr]) -> Vec<Finding> {
    match answer {
        Answer::Addresses(_) => judge(name, answer, own, false),
        Answer::None(_) => vec![Finding::ok(format!(
            "dns: {name} has no record of its own, so each name below it needs one that leads here"
        ))],
    }
}

fn judge(name: &str, answer: &Answer, own: &[IpAddr], public: bool) -> Vec<Finding> {
    let addresses = match answer {
        Answer::Addresses(addresses) => addresses,
        Answer::None(why) => return vec![unresolved(name, why, own, public)],
    };
    let is_own = |address: &&IpAddr| own.contains(address) || address.is_loopback();
    if public && addresses.iter().all(IpAddr::is_loopback) {
        return vec![Finding::warn(
            format!(
                "dns: {name} leads only from this machine to itself, and a public CA cannot follow"
            ),
            "give it an A record with a public address",
        )];
    }
    let elsewhere: Vec<_> = addresses.iter().filter(|at| !is_own(at)).collect();
    let (six, four): (Vec<_>, Vec<_>) = elsewhere.into_iter().partition(|at| at.is_ipv6());
    let mut findings = Vec::new();
    if !four.is_empty() {
        findings.push(v4_elsewhere(name, &list(&four), own));
    }
    if !six.is_empty() {
        findings.push(v6_elsewhere(name, &list(&six), own));
    }
    if findings.is_empty() {
        let addresses: Vec<_> = addresses.iter().collect();
        findings.push(Finding::ok(format!(
            "dns: {name} leads here ({})",
            list(&addresses)
        )));
    }
    findings
}

fn unresolved(name: &str, why: &str, own: &[IpAddr], public: bool) -> Finding {
    let grade = if public { Grade::Fail } else { Grade::Warn };
    let target = own
        .iter()
        .find(|at| is_public(at))
        .map_or("the address that leads here".to_owned(), IpAddr::to_string);
    Finding::graded(
        grade,
        format!("dns: {name} leads nowhere ({why})"),
        format!(
            "add an A or AAAA record with {target}, take the name out of the configuration, or see whether this machine's name servers answer"
        ),
    )
}

fn v4_elsewhere(name: &str, addresses: &str, own: &[IpAddr]) -> Finding {
    let ours: Vec<_> = own
        .iter()
        .filter(|at| at.is_ipv4() && is_public(at))
        .collect();
    if ours.is_empty() {
        return Finding::warn(
            format!(
                "dns: {name} leads to {addresses}, which is not on this machine: usual behind NAT, a container's network or a load balancer"
            ),
            "see that ports 80 and 443 of that address are forwarded to this machine",
        );
    }
    Finding::warn(
        format!(
            "dns: {name} leads to {addresses}, and this machine is {}",
            list(&ours)
        ),
        "correct the A record, unless a load balancer is there that forwards to this machine",
    )
}

fn v6_elsewhere(name: &str, addresses: &str, own: &[IpAddr]) -> Finding {
    let ours: Vec<_> = own
        .iter()
        .filter(|at| at.is_ipv6() && is_public(at))
        .collect();
    let (here, remedy) = if ours.is_empty() {
        (
            "which has no public IPv6 address".to_owned(),
            "remove the AAAA record, unless that address forwards to this machine".to_owned(),
        )
    } else {
        let ours = list(&ours);
        (
            format!("which is {ours}"),
            format!(
                "set the AAAA record to {ours} or remove it, unless that address forwards to this machine"
            ),
        )
    };
    Finding::warn(
        format!(
            "dns: the AAAA record of {name} leads to {addresses} and not to this machine, {here}; CAs and browsers try IPv6 first"
        ),
        remedy,
    )
}

async fn resolve(name: &str) -> Answer {
    // The dot at the end keeps the search list of /etc/resolv.conf out; but names without a dot, like
    // `localhost`, are of /etc/hosts, which knows no such dot.
    let asked = if name.contains('.') {
        format!("{name}.")
    } else {
        name.to_owned()
    };
    match timeout(PATIENCE, lookup(&asked)).await {
        // Names of /etc/hosts may have dots, too.
        Ok(Err(_)) => match timeout(PATIENCE, lookup(name)).await {
            Ok(Ok(addresses)) => Answer::Addresses(addresses),
            Ok(Err(error)) => Answer::None(error.to_string()),
            Err(_) => Answer::None("the name servers did not answer in time".to_owned()),
        },
        Ok(Ok(addresses)) => Answer::Addresses(addresses),
        Err(_) => Answer::None("the name servers did not answer in time".to_owned()),
    }
}

async fn lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<_> = tokio::net::lookup_host((name, 0))
        .await?
        .map(|address| address.ip().to_canonical())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn own_addresses() -> Vec<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let four = address.as_sockaddr_in().map(|four| four.ip().into());
            four.or_else(|| address.as_sockaddr_in6().map(|six| six.ip().into()))
        })
        .collect()
}

/// Whether the Internet can reach `address`, as far as its number tells.
fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(*address),
        IpAddr::V6(address) => is_public_v6(*address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // Shared by carriers (RFC 6598).
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    !(address.is_private() || address.is_loopback() || address.is_link_local() || shared)
}

/// Global unicast (RFC 4291, section 2.4), as far as it is given out.
fn is_public_v6(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000
}

fn list(addresses: &[&IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [&str; 3] = ["127.0.0.1", "203.0.113.5", "2a01:db8::5"];
    const NAT: [&str; 3] = ["127.0.0.1", "192.168.1.5", "fe80::5"];

    /// Addresses of the name and of the machine, whether a CA must find it, what is told, and why.
    type Row<'a> = (
        &'a [&'a str],
        &'a [&'a str],
        bool,
        &'a [(Grade, &'a str)],
        &'a str,
    );

    #[test]
    fn names_are_judged_by_where_they_lead() {
        use Grade::{Fail, Ok, Warn};
        #[rustfmt::skip]
        let table: [Row<'_>; 12] = [
            (&["203.0.113.5"], &HERE, true, &[(Ok, "leads here")], "A"),
            (&["203.0.113.5", "2a01:db8::5"], &HERE, true, &[(Ok, "leads here")], "A and AAAA"),
            (&["203.0.113.5", "2a01:db8::9"], &HERE, true, &[(Warn, "set the AAAA record to 2a01:db8::5")], "the trap"),
            (&["203.0.113.9"], &HERE, true, &[(Warn, "this machine is 203.0.113.5")], "another machine"),
            (&["203.0.113.9", "2a01:db8::9"], &HERE, true, &[(Warn, "A record"), (Warn, "AAAA record")], "both"),
            (&["203.0.113.5"], &NAT, true, &[(Warn, "NAT")], "NAT"),
            (&["203.0.113.5", "2a01:db8::9"], &NAT, true, &[(Warn, "NAT"), (Warn, "remove the AAAA record")], "NAT and the trap"),
            (&["127.0.0.1", "::1"], &HERE, false, &[(Ok, "leads here")], "localhost"),
            (&["127.0.0.1", "::1"], &HERE, true, &[(Warn, "public CA cannot follow")], "localhost for a CA"),
            (&["192.168.1.5"], &NAT, false, &[(Ok, "leads here")], "a name of the house"),
            (&[], &HERE, true, &[(Fail, "record with 203.0.113.5")], "no address and a CA"),
            (&[], &NAT, false, &[(Warn, "the address that leads here")], "no address"),
        ];
        for (addresses, own, public, expected, why) in table {
            let parse = |texts: &[&str]| -> Vec<IpAddr> {
                texts.iter().map(|text| text.parse().unwrap()).collect()
            };
            let answer = if addresses.is_empty() {
                Answer::None("unknown".into())
            } else {
                Answer::Addresses(parse(addresses))
            };
            let findings = judge("a.test", &answer, &parse(own), public);
            assert_eq!(findings.len(), expected.len(), "{why}: {findings:?}");
            for (finding, (grade, text)) in findings.iter().zip(expected) {
                assert_eq!(finding.grade, *grade, "{why}");
                assert!(finding.line(false).contains(text), "{why}: {finding:?}");
            }
        }
    }

    #[test]
    fn a_wildcard_needs_no_record() {
        let own: Vec<IpAddr> = HERE.iter().map(|text| text.parse().unwrap()).collect();
        let at = |address: &str| Answer::Addresses(vec![address.parse().unwrap()]);
        let table = [
            (at("203.0.113.5"), Grade::Ok, "*.a.test leads here"),
            (
                at("203.0.113.9"),
                Grade::Warn,
                "*.a.test leads to 203.0.113.9",
            ),
            (
                Answer::None("unknown".into()),
                Grade::Ok,
                "each name below it",
            ),
        ];
        for (answer, grade, text) in table {
            let findings = judge_wildcard("*.a.test", &answer, &own);
            assert_eq!(findings.len(), 1, "{text}");
            assert_eq!(findings[0].grade, grade, "{text}");
            assert!(findings[0].what.contains(text), "{findings:?}");
        }
    }

    #[test]
    fn what_the_internet_can_reach() {
        let table = [
            ("203.0.113.5", true),
            ("10.0.0.1", false),
            ("172.17.0.2", false),
            ("169.254.1.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("2a01:db8::1", true),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::1", false),
        ];
        for (address, public) in table {
            assert_eq!(is_public(&address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn this_machine_has_its_loopback_address() {
        assert!(own_addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
