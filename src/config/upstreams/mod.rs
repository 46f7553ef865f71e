//! `[[upstream]]`: servers to forward to.

mod ca;
mod health;
mod server;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use rustls::pki_types::ServerName;

pub use self::ca::CaFile;
pub use self::health::{ExpectedStatus, HealthCheck};
pub use self::server::{Share, UpstreamAddress, UpstreamProtocol, UpstreamServer};
use super::node::Node;
use super::printer::{Printer, shown};
use super::read::{
    LONGEST_TIMEOUT, choice, duration_up_to, header_value, integer, some, text, unless_empty,
};
use super::reader::Section;
use super::values::print_duration;

const BALANCE: [(&str, Balance); 3] = [
    ("round-robin", Balance::RoundRobin),
    ("least-connections", Balance::LeastConnections),
    ("ip-hash", Balance::IpHash),
];
/// Most tries beyond the first: each may take a whole timeout.
pub const MOST_RETRIES: usize = 10;

/// Upstreams by their names.
pub(super) type Upstreams = HashMap<String, Arc<Upstream>>;

/// `[[upstream]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// The name routes refer to.
    pub name: String,
    /// At least one server.
    pub servers: Vec<UpstreamServer>,
    /// Which server is asked. Default in turn.
    pub balance: Balance,
    /// `Host` in place of the client's. Default the client's.
    pub host: Option<HeaderValue>,
    /// The name a TLS server must prove, and which it is asked for (SNI). Default its host.
    pub server_name: Option<String>,
    /// What certificates of TLS servers must descend from. Default the system's roots.
    pub ca: Option<CaFile>,
    /// For a connection, TLS included. Default 5 s.
    pub connect_timeout: Duration,
    /// Between two reads from the server. Default 75 s.
    pub read_timeout: Duration,
    /// Between two accepted writes to the server. Default 30 s.
    pub send_timeout: Duration,
    /// In place of `read_timeout` where the client asks for a WebSocket or an event stream.
    /// Default 1 h, or `read_timeout` where that is longer.
    pub stream_timeout: Duration,
    /// Further servers that a request may be sent to. Default 1.
    pub retries: usize,
    /// Failures in a row after which a server is passed over; 0 is never. Default 3.
    pub eject_after: u32,
    /// For how long. Default 10 s.
    pub eject_for: Duration,
    /// Idle connections kept to the servers. Default 64.
    pub keepalive: usize,
    /// How servers are asked whether they are well. Default not at all.
    pub health: Option<HealthCheck>,
}

/// `upstream.balance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Each server as often as its weight says.
    RoundRobin,
    /// The one with the fewest requests running, by weight.
    LeastConnections,
    /// A client always the same one, as long as that is there.
    IpHash,
}

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
        ca: section.value("ca_file", unless_empty(ca::ca_file)),
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
        health: section
            .optional_table("health")
            .and_then(|of| health::health(&of)),
    };
    check(section, &upstream);
    // Without its servers it still has its name, so that its routes are not blamed as well.
    name.is_some().then_some(upstream)
}

/// Prints one.
pub(super) fn print(out: &mut Printer, upstream: &Upstream) {
    out.heading("[[upstream]]");
    out.text("name", &upstream.name);
    out.texts("servers", &upstream.servers);
    let balance = match upstream.balance {
        Balance::RoundRobin => "round-robin",
        Balance::LeastConnections => "least-connections",
        Balance::IpHash => "ip-hash",
    };
    out.text("balance", balance);
    out.text("host", upstream.host.as_ref().map_or("", shown));
    out.text("server_name", upstream.server_name.as_deref().unwrap_or(""));
    let ca_file = upstream.ca.as_ref().map(|ca| ca.path.display().to_string());
    out.text("ca_file", ca_file.unwrap_or_default());
    out.text("connect_timeout", print_duration(upstream.connect_timeout));
    out.text("read_timeout", print_duration(upstream.read_timeout));
    out.text("send_timeout", print_duration(upstream.send_timeout));
    out.text("stream_timeout", print_duration(upstream.stream_timeout));
    out.plain("retries", upstream.retries);
    out.plain("eject_after", upstream.eject_after);
    out.text("eject_for", print_duration(upstream.eject_for));
    out.plain("keepalive", upstream.keepalive);
    if let Some(health) = &upstream.health {
        health::print(out, health);
    }
}

/// Notes what each value for itself does not show.
fn check(section: &Section<'_>, upstream: &Upstream) {
    let is_backup = |server: &UpstreamServer| server.share.is_backup;
    if !upstream.servers.is_empty() && upstream.servers.iter().all(is_backup) {
        let what = "all are backups; one at least must be none";
        section.note_combination_at("servers", what);
    }
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
fn host(node: &Node<'_>) -> Option<HeaderValue> {
    let value = header_value(node)?;
    let authority = value.to_str().ok().and_then(|text| text.parse().ok());
    if authority.is_none_or(|host: Authority| host.as_str().contains('@')) {
        node.wrong("must be a host name or address, perhaps with a port");
        return None;
    }
    Some(value)
}

fn parse_server_name(name: &str) -> Result<String, &'static str> {
    match ServerName::try_from(name) {
        Ok(_) => Ok(name.to_ascii_lowercase()),
        Err(_) => Err("must be the name in the server's certificate, or its address"),
    }
}
