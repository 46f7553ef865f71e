//! `[server]`: listeners, names and limits.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::HostPattern;
use super::printer::Printer;
use super::read::{
    LONGEST_TIMEOUT, body_size, boolean, duration, duration_up_to, future_directory, integer, list,
    size, text, unless_empty,
};
use super::reader::Section;
use super::values::{parse_listener, parse_network, print_duration, print_size};

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Plain HTTP listeners. Default `[::]:8080`.
    pub http: Vec<SocketAddr>,
    /// TLS listeners. Default `[::]:8443`. Empty with `tls.mode = "off"`.
    pub https: Vec<SocketAddr>,
    /// Names served; empty means any. Default `localhost`.
    pub hosts: Vec<HostPattern>,
    /// Where status and metrics are told; `None` tells nobody. Default `127.0.0.1:9180`.
    pub admin: Option<SocketAddr>,
    /// Embedded database, locks, sockets. Default `data`.
    pub data_dir: PathBuf,
    /// Threads that serve requests; never 0 here (the file's 0 became the number of cores).
    pub workers: usize,
    /// Largest request body in bytes. Default 20 MiB. Routes may override it.
    pub max_body: u64,
    /// Networks whose forwarding headers are believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections from `trusted_proxies` begin with a PROXY protocol header. Default false.
    pub proxy_protocol: bool,
    /// How long running requests may finish at shutdown. Default 30 s.
    pub drain: Duration,
    /// Connections of all listeners together. Default 10,000.
    pub max_connections: usize,
    /// Connections of one client address (IPv6: one /64). Default 256.
    pub max_connections_per_ip: usize,
    /// Bytes of memory for answers that are given again as they are; 0 keeps none. Default 64 MiB.
    pub ready_answers: u64,
    /// Whether the configuration is reloaded when its file changes. Default false.
    pub watch_config: bool,
    /// Bytes of memory for the answers that routes with a cache keep; 0 keeps none. Default 64 MiB.
    pub cached_answers: u64,
    /// Deadlines towards clients.
    pub timeouts: Timeouts,
}

/// `[server.timeouts]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeouts {
    /// For the whole request head, from its first byte. Default 15 s.
    pub header: Duration,
    /// Between two reads of a request body. Default 60 s.
    pub body_idle: Duration,
    /// Between two accepted writes. Default 60 s.
    pub write_idle: Duration,
    /// Of an idle HTTP/1.1 or HTTP/2 connection. Default 65 s.
    pub keepalive: Duration,
    /// For the TLS handshake. Default 10 s.
    pub tls_handshake: Duration,
}

impl Server {
    /// What a connection to `own`, an address of this machine, has to begin with when this machine
    /// opens it: where it is one of our trusted proxies, that it speaks for nobody.
    #[must_use]
    pub fn greeting(&self, own: IpAddr) -> &'static [u8] {
        greeting(self.proxy_protocol, &self.trusted_proxies, own)
    }
}

/// See [`Server::greeting`].
pub(super) fn greeting(
    proxy_protocol: bool,
    trusted_proxies: &[IpNet],
    own: IpAddr,
) -> &'static [u8] {
    let mut trusted = trusted_proxies.iter();
    if proxy_protocol && trusted.any(|network| network.contains(&own)) {
        b"PROXY UNKNOWN\r\n"
    } else {
        b""
    }
}

/// Reads `[server]`.
pub(super) fn server(section: &Section<'_>) -> Server {
    let timeouts = section.table("timeouts");
    let timeout = |key| timeouts.value(key, duration_up_to(LONGEST_TIMEOUT));
    let trusted_proxies = section.value("trusted_proxies", list(text(parse_network)));
    let proxy_protocol = section.value("proxy_protocol", boolean);
    if proxy_protocol && trusted_proxies.is_empty() {
        let what = "nobody's header would be believed; name the load balancers in trusted_proxies";
        section.note_combination_at("proxy_protocol", what);
    }
    Server {
        http: section.value("http", list(text(parse_listener))),
        https: section.value("https", list(text(parse_listener))),
        hosts: section.value("hosts", list(text(HostPattern::parse))),
        admin: section.value("admin", unless_empty(text(parse_listener))),
        data_dir: section.value("data_dir", future_directory),
        workers: match section.value("workers", integer(0..=1024)) {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        },
        max_body: section.value("max_body", body_size),
        trusted_proxies,
        proxy_protocol,
        drain: section.value("drain", duration),
        max_connections: section.value("max_connections", integer(1..=1_000_000)),
        max_connections_per_ip: section.value("max_connections_per_ip", integer(1..=1_000_000)),
        ready_answers: section.value("ready_answers", size),
        watch_config: section.value("watch_config", boolean),
        cached_answers: section.value("cached_answers", size),
        timeouts: Timeouts {
            header: timeout("header"),
            body_idle: timeout("body_idle"),
            write_idle: timeout("write_idle"),
            keepalive: timeout("keepalive"),
            tls_handshake: timeout("tls_handshake"),
        },
    }
}

/// Prints it.
pub(super) fn print(out: &mut Printer, server: &Server) {
    out.heading("[server]");
    out.texts("http", &server.http);
    out.texts("https", &server.https);
    out.texts("hosts", &server.hosts);
    out.text(
        "admin",
        server.admin.map(|at| at.to_string()).unwrap_or_default(),
    );
    out.text("data_dir", server.data_dir.display());
    out.plain("workers", server.workers);
    out.text("max_body", print_size(server.max_body));
    out.texts("trusted_proxies", &server.trusted_proxies);
    out.plain("proxy_protocol", server.proxy_protocol);
    out.text("drain", print_duration(server.drain));
    out.plain("max_connections", server.max_connections);
    out.plain("max_connections_per_ip", server.max_connections_per_ip);
    out.text("ready_answers", print_size(server.ready_answers));
    out.plain("watch_config", server.watch_config);
    out.text("cached_answers", print_size(server.cached_answers));
    out.heading("[server.timeouts]");
    out.text("header", print_duration(server.timeouts.header));
    out.text("body_idle", print_duration(server.timeouts.body_idle));
    out.text("write_idle", print_duration(server.timeouts.write_idle));
    out.text("keepalive", print_duration(server.timeouts.keepalive));
    out.text(
        "tls_handshake",
        print_duration(server.timeouts.tls_handshake),
    );
}
