//! `[[upstream]]`: servers to forward to.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use http::uri::{Authority, PathAndQuery};
use rustls::pki_types::{CertificateDer, ServerName};

use super::node::Node;
use super::read::{
    LONGEST_TIMEOUT, choice, duration_up_to, existing_file, header_value, integer, some, text,
    unless_empty,
};
use super::reader::Section;
use super::{
    Balance, CaFile, ExpectedStatus, HealthCheck, Upstream, UpstreamAddress, UpstreamProtocol,
    UpstreamServer,
};

const BALANCE: [(&str, Balance); 3] = [
    ("round-robin", Balance::RoundRobin),
    ("least-connections", Balance::LeastConnections),
    ("ip-hash", Balance::IpHash),
];
/// Most tries beyond the first: each may take a whole timeout.
pub const MOST_RETRIES: usize = 10;

/// Upstreams by their names.
pub(super) type Upstreams = HashMap<String, Arc<Upstream>>;

/// Every `[[upstream]]` by its name.
pub(super) fn upstreams(root: &Section<'_>) -> Upstreams {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut upstreams = Upstreams::new();
    for section in root.tables("upstream") {
        let Some(upstream) = upstream(&section) else {
            continue;
        };
        if let Some(line) = lines.get(&upstream.name) {
            let what = format!(
                "\"{}\" is the name of the upstream of line {line}",
                upstream.name
            );
            section.note_combination_at("name", &what);
        }
        lines.insert(upstream.name.clone(), section.line());
        upstreams.insert(upstream.name.clone(), Arc::new(upstream));
    }
    upstreams
}

fn upstream(section: &Section<'_>) -> Option<Upstream> {
    let nonempty = |name: &str| match name {
        "" => Err("must not be empty"),
        name => Ok(name.to_owned()),
    };
    let name = section.required("name", r#""backend""#, text(nonempty));
    let servers = section.required(
        "servers",
        r#"["127.0.0.1:3000"]"#,
        some(text(UpstreamServer::parse)),
    );
    let timeout = |key| section.value(key, duration_up_to(LONGEST_TIMEOUT));
    let read_timeout = timeout("read_timeout");
    let upstream = Upstream {
        name: name.clone().unwrap_or_default(),
        servers: servers
            .into_iter()
            .flatten()
            .map(|server| server.resolved(section.reader.dir))
            .collect(),
        balance: section.value("balance", choice(&BALANCE)),
        host: section.value("host", unless_empty(host)),
        server_name: section.value("server_name", unless_empty(text(parse_server_name))),
        ca: section.value("ca_file", unless_empty(ca_file)),
        connect_timeout: timeout("connect_timeout"),
        read_timeout,
        send_timeout: timeout("send_timeout"),
        stream_timeout: match timeout("stream_timeout") {
            written if section.has("stream_timeout") => written,
            // Whoever has patience with all answers has it with streams.
            default => default.max(read_timeout),
        },
        retries: section.value("retries", integer(0..=MOST_RETRIES)),
        eject_after: section.value("eject_after", integer(0..=1_000_000)),
        eject_for: timeout("eject_for"),
        keepalive: section.value("keepalive", integer(0..=65_535)),
        health: section.optional_table("health").and_then(|of| health(&of)),
    };
    check(section, &upstream);
    // Without its servers it still has its name, so that its routes are not blamed as well.
    name.is_some().then_some(upstream)
}

fn health(section: &Section<'_>) -> Option<HealthCheck> {
    let path = section.required("path", r#""/healthz""#, text(parse_path));
    let timeout = |key| section.value(key, duration_up_to(LONGEST_TIMEOUT));
    let times = |key| section.value(key, integer(1..=1000));
    let check = HealthCheck {
        path: path.clone().unwrap_or_default(),
        host: section.value("host", unless_empty(host)),
        status: section.value("status", text(ExpectedStatus::parse)),
        interval: timeout("interval"),
        timeout: timeout("timeout"),
        unhealthy_after: times("unhealthy_after"),
        healthy_after: times("healthy_after"),
    };
    path.is_some().then_some(check)
}

/// Notes what each value for itself does not show.
fn check(section: &Section<'_>, upstream: &Upstream) {
    for server in &upstream.servers {
        // 107 bytes and a NUL is what `sockaddr_un` holds on Linux; elsewhere it is less.
        if let UpstreamAddress::Unix(path) = &server.address
            && path.as_os_str().len() > 107
        {
            let what = format!(
                "the path of the socket {} is longer than 107 bytes",
                path.display()
            );
            section.note_combination_at("servers", &what);
        }
    }
    let is_tls = |server: &UpstreamServer| server.protocol.is_tls();
    if !upstream.servers.is_empty() && !upstream.servers.iter().any(is_tls) {
        for (key, is_set) in [
            ("ca_file", upstream.ca.is_some()),
            ("server_name", upstream.server_name.is_some()),
        ] {
            if is_set {
                let what = "belongs to servers with TLS; write them with https:// or h2://";
                section.note_combination_at(key, what);
            }
        }
    }
}

/// A `Host` header: a name or address, perhaps with a port.
fn host(node: &Node<'_>) -> Option<http::HeaderValue> {
    let value = header_value(node)?;
    let authority = value.to_str().ok().and_then(|text| text.parse().ok());
    if authority.is_none_or(|host: Authority| host.as_str().contains('@')) {
        node.wrong("must be a host name or address, perhaps with a port");
        return None;
    }
    Some(value)
}

fn ca_file(node: &Node<'_>) -> Option<CaFile> {
    let path = existing_file(node)?;
    match std::fs::read(&path).map(|pem| roots(&pem)) {
        Ok(Ok(roots)) => return Some(CaFile { path, roots }),
        Ok(Err(what)) => node.wrong(&format!("{} {what}", path.display())),
        // That it can't be opened is noted already.
        Err(_) => {}
    }
    None
}

fn roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    use rustls::pki_types::pem::PemObject;
    let roots = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|error| format!("is no PEM file of certificates: {error}"))?;
    if roots.is_empty() {
        return Err("holds no certificate (no BEGIN CERTIFICATE)".to_owned());
    }
    let mut store = rustls::RootCertStore::empty();
    for root in &roots {
        let readable = x509_parser::parse_x509_certificate(root).is_ok();
        if !readable || store.add(root.clone()).is_err() {
            return Err("holds a certificate that can't be read".to_owned());
        }
    }
    Ok(roots)
}

fn parse_server_name(name: &str) -> Result<String, &'static str> {
    match ServerName::try_from(name) {
        Ok(_) => Ok(name.to_ascii_lowercase()),
        Err(_) => Err("must be the name in the server's certificate, or its address"),
    }
}

fn parse_path(path: &str) -> Result<String, &'static str> {
    let is_path = path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
    if is_path {
        Ok(path.to_owned())
    } else {
        Err("must be a path that starts with /")
    }
}

impl ExpectedStatus {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let class = text.strip_suffix("xx").and_then(|class| class.parse().ok());
        let known = match class {
            Some(class @ 2..=5) => Some(Self::Class(class)),
            Some(_) => None,
            None => text.parse().ok().map(Self::Exactly),
        };
        // What comes before the answer is not the answer.
        known
            .filter(|known| !known.is_met_by(StatusCode::CONTINUE))
            .ok_or(r#"must be a status such as "204", or a class such as "2xx""#)
    }

    /// Whether `status` is an answer that was hoped for.
    #[must_use]
    pub fn is_met_by(self, status: StatusCode) -> bool {
        match self {
            Self::Exactly(expected) => status == expected,
            Self::Class(class) => status.as_u16() / 100 == class,
        }
    }
}

impl std::fmt::Display for ExpectedStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(status) => write!(f, "{}", status.as_u16()),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl UpstreamProtocol {
    /// Whether a connection is encrypted, and the server verified.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }
}
