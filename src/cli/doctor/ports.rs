//! The listeners: free for us, ours already, or somebody else's.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::finding::{Finding, Grade};
use crate::cli::ask::{self, Silence};
use crate::cli::healthcheck;
use crate::config::{Challenge, Config, Reach, TlsMode};
use crate::edge::bound::{self, AtHand};

/// For an answer from this machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who has a listener's address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// Nobody.
    Free,
    /// The running server of this configuration.
    Ourselves,
    /// Not us; or nobody, and yet we may not listen there. The message says why and what to do.
    Refused(String),
}

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let plain = config
        .server
        .http
        .iter()
        .map(|at| ("server.http", *at, false));
    let tls = config
        .server
        .https
        .iter()
        .map(|at| ("server.https", *at, true));
    let tls = tls.filter(|_| config.has_tls());
    let reach = Reach::from(config);
    let own = match ask::status(config.server.admin).await {
        Ok(status) => Some([status.listeners.http, status.listeners.https].concat()),
        Err(Silence::SwitchedOff) => None,
        Err(_) => Some(Vec::new()),
    };
    let mut findings = Vec::new();
    for (key, address, tls) in plain.chain(tls) {
        let holder = holder(&reach, own.as_deref(), key, address, tls).await;
        findings.push(judge(key, address, &holder));
    }
    if config.tls.mode == TlsMode::Acme {
        let ports = |listeners: &[SocketAddr]| listeners.iter().map(SocketAddr::port).collect();
        let (http, https): (Vec<u16>, Vec<u16>) =
            (ports(&config.server.http), ports(&config.server.https));
        findings.extend(judge_proofs(&config.acme.challenges, &http, &https));
    }
    findings
}

fn judge(key: &str, address: SocketAddr, holder: &Holder) -> Finding {
    match holder {
        Holder::Free => Finding::ok(format!("{key}: {address} is free to listen on")),
        Holder::Ourselves => Finding::ok(format!("{key}: the server answers at {address}")),
        Holder::Refused(message) => Finding::of_message(
            Grade::Fail,
            &format!("{key}: {message}"),
            &format!("change {key}"),
        ),
    }
}

/// A CA looks for proofs at ports 80 and 443, wherever we listen.
fn judge_proofs(challenges: &[Challenge], http: &[u16], https: &[u16]) -> Option<Finding> {
    let direct = challenges.iter().any(|challenge| match challenge {
        Challenge::Http01 => http.contains(&80),
        Challenge::TlsAlpn01 => https.contains(&443),
    });
    if direct {
        return None;
    }
    let forwards: Vec<_> = challenges
        .iter()
        .filter_map(|challenge| match challenge {
            Challenge::Http01 => Some(format!("80 to {}", http.first()?)),
            Challenge::TlsAlpn01 => Some(format!("443 to {}", https.first()?)),
        })
        .collect();
    Some(Finding::warn(
        "ports: the CA connects to port 80 or 443, and no listener is there",
        format!(
            "forward port {} (the container's published ports, the router), or listen there",
            forwards.join(" or ")
        ),
    ))
}

/// Who has `address`; `own` is where the server listens that answers at `server.admin`, or `None` where
/// none can be asked there.
async fn holder(
    reach: &Reach,
    own: Option<&[SocketAddr]>,
    key: &str,
    address: SocketAddr,
    tls: bool,
) -> Holder {
    // Bound for a moment, and free again at once.
    let Err(refusal) = bound::bind(key, &[address], &mut AtHand::nothing()) else {
        return Holder::Free;
    };
    if let Some(own) = own {
        return if own.iter().any(|own| is_same(*own, address)) {
            Holder::Ourselves
        } else {
            Holder::Refused(format!("{refusal:#}"))
        };
    }
    // Any unibody may answer so, but nothing tells more.
    let asked = healthcheck::exchange(reach, address, tls, "/healthz");
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) if is_ours(&answer) => Holder::Ourselves,
        _ => Holder::Refused(format!("{refusal:#}")),
    }
}

/// Whether a listener at `bound` is the one of `address`: a machine without IPv6 has `0.0.0.0` for `[::]`.
fn is_same(bound: SocketAddr, address: SocketAddr) -> bool {
    let everywhere = bound.ip().is_unspecified() && address.ip().is_unspecified();
    bound.port() == address.port() && (bound.ip() == address.ip() || everywhere)
}

/// Whether this answer to `/healthz` is one of ours: well, or sent on to HTTPS.
fn is_ours(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match healthcheck::parse_status(answer) {
        Some(200) => body.contains(r#""ok":true"#),
        Some(301) => head.contains("\r\nlocation: https://") && head.contains("\r\nx-request-id:"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_judged_by_its_holder() {
        let table = [
            (Holder::Free, Grade::Ok, "is free"),
            (Holder::Ourselves, Grade::Ok, "answers"),
            (
                Holder::Refused("in use; stop it".into()),
                Grade::Fail,
                "in use  — stop it",
            ),
        ];
        for (holder, grade, text) in table {
            let finding = judge("server.http", "[::]:80".parse().unwrap(), &holder);
            assert_eq!(finding.grade, grade, "{text}");
            assert!(finding.line(false).contains(text), "{finding:?}");
        }
    }

    #[test]
    fn a_listener_everywhere_is_the_same_in_both_families() {
        for (bound, address, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "[::]:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", false),
        ] {
            let same = is_same(bound.parse().unwrap(), address.parse().unwrap());
            assert_eq!(same, expected, "{bound} {address}");
        }
    }

    #[test]
    fn proofs_need_a_way_from_the_standard_ports() {
        use Challenge::{Http01, TlsAlpn01};
        let table = [
            (&[Http01, TlsAlpn01][..], &[80][..], &[8443][..], None),
            (&[Http01, TlsAlpn01], &[8080], &[443], None),
            (&[TlsAlpn01], &[80], &[8443], Some("port 443 to 8443 (")),
            (&[Http01], &[8080], &[443], Some("port 80 to 8080 (")),
            (
                &[TlsAlpn01, Http01],
                &[8080],
                &[8443],
                Some("port 443 to 8443 or 80 to 8080 ("),
            ),
        ];
        for (challenges, http, https, expected) in table {
            let finding = judge_proofs(challenges, http, https);
            let remedy = finding.and_then(|finding| finding.remedy);
            assert_eq!(remedy.is_some(), expected.is_some(), "{challenges:?}");
            if let (Some(remedy), Some(expected)) = (remedy, expected) {
                assert!(remedy.contains(expected), "{remedy}");
            }
        }
    }

    #[test]
    fn our_answers_are_told_from_those_of_others() {
        let table = [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"ok\":true}", true),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n<html>", false),
            (
                "HTTP/1.1 301 x\r\nLocation: https://a/healthz\r\nX-Request-Id: 1\r\n\r\n",
                true,
            ),
            (
                "HTTP/1.1 301 x\r\nLocation: https://a/healthz\r\nServer: nginx\r\n\r\n",
                false,
            ),
            ("HTTP/1.1 404 x\r\n\r\n{\"ok\":true}", false),
            ("SSH-2.0-OpenSSH\r\n", false),
            ("", false),
        ];
        for (answer, ours) in table {
            assert_eq!(is_ours(answer.as_bytes()), ours, "{answer}");
        }
    }
}
