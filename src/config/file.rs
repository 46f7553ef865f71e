//! The shape of `config.toml`: which key becomes which field, and what may not stand together.
//!
//! Upstreams and routes are read by [`routing`](super::routing).

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use super::keys::DEFAULT_HEADERS;
use super::read::{
    body_size, boolean, choice, duration, duration_up_to, existing_directory, existing_file,
    future_directory, header_value, integer, list, path, size, string, text, unless_empty,
};
use super::reader::{Node, Section};
use super::values::{Secret, parse_listener, parse_network};
use super::{
    AccessFormat, Coding, Compression, Config, Database, HostPattern, Log, LogFormat, MediaPattern,
    Server, Timeouts, Tls, TlsFiles, TlsMode, TlsVersion, routing,
};

/// Longest timeout. Beyond a day a deadline protects nothing.
const DAY: Duration = Duration::from_secs(86_400);
/// Longest `statement_timeout`: PostgreSQL counts milliseconds in 31 bits.
const LONGEST_STATEMENT: Duration = Duration::from_secs(24 * 86_400);
/// Longest age: certificates and connections live shorter.
const YEARS: Duration = Duration::from_secs(3650 * 86_400);

/// Headers that belong to the connection or to the body (RFC 9110, sections 7.6.1 and 8): a fixed
/// value would break every answer.
const UNTOUCHABLE: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the whole file. Whether the result may be used is the reader's to say.
pub(super) fn config(root: &Section<'_>) -> Config {
    let listeners = root.table("server");
    let mut server = server(&listeners);
    let tls = tls(&root.table("tls"), &listeners, &mut server);
    let headers = headers(root, &tls);
    let upstreams = routing::upstreams(root);
    let routes = routing::routes(root, &upstreams, &server.hosts);
    // `[app]` has only keys of later versions yet; opening it checks them.
    root.table("app");
    Config {
        server,
        tls,
        database: database(&root.table("database")),
        headers,
        compression: compression(&root.table("compression")),
        upstreams,
        routes,
        log: log(&root.table("log")),
    }
}

fn server(section: &Section<'_>) -> Server {
    let timeouts = section.table("timeouts");
    let timeout = |key| timeouts.value(key, duration_up_to(DAY));
    Server {
        http: section.value("http", list(text(parse_listener))),
        https: section.value("https", list(text(parse_listener))),
        hosts: section.value("hosts", list(text(HostPattern::parse))),
        data_dir: section.value("data_dir", future_directory),
        workers: match section.value("workers", integer(0..=1024)) {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        },
        max_body: section.value("max_body", body_size),
        trusted_proxies: section.value("trusted_proxies", list(text(parse_network))),
        drain: section.value("drain", duration),
        max_connections: section.value("max_connections", integer(1..=1_000_000)),
        max_connections_per_ip: section.value("max_connections_per_ip", integer(1..=1_000_000)),
        timeouts: Timeouts {
            header: timeout("header"),
            body_idle: timeout("body_idle"),
            write_idle: timeout("write_idle"),
            keepalive: timeout("keepalive"),
            tls_handshake: timeout("tls_handshake"),
        },
    }
}

/// Reads `[tls]` and settles with it what listens where: with `mode = "off"` no port is HTTPS.
fn tls(section: &Section<'_>, listeners: &Section<'_>, server: &mut Server) -> Tls {
    let files = section.tables("files");
    let pairs: Vec<_> = files.iter().filter_map(tls_files).collect();
    let mode = match section.value("mode", string_choice_of_mode) {
        Mode::SelfSigned => TlsMode::SelfSigned,
        Mode::Off => TlsMode::Off,
        Mode::Files => {
            if files.is_empty() {
                let what = "\"files\" needs at least one [[tls.files]] with cert and key";
                section.note_combination_at("mode", what);
            }
            TlsMode::Files(pairs)
        }
    };
    if let (Some(first), false) = (files.first(), matches!(mode, TlsMode::Files(_))) {
        first.note_combination("tls.files: is used with tls.mode = \"files\" only".to_owned());
    }
    let mut redirect = section.value("redirect", boolean);
    if mode == TlsMode::Off {
        if listeners.has("https") && !server.https.is_empty() {
            let what =
                "nothing can listen there with tls.mode = \"off\"; remove it, or switch TLS on";
            listeners.note_combination_at("https", what);
        }
        if section.has("redirect") && redirect {
            let what = "there is no HTTPS to redirect to with tls.mode = \"off\"";
            section.note_combination_at("redirect", what);
        }
        server.https.clear();
        redirect = false;
    } else if server.https.is_empty() {
        let what = "is empty; name an address, or write tls.mode = \"off\"";
        listeners.note_combination_at("https", what);
    }
    check_listeners(listeners, server);
    Tls {
        mode,
        certs_dir: section.value("certs_dir", future_directory),
        redirect,
        min_version: section.value(
            "min_version",
            choice(&[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]),
        ),
        hsts: section.value("hsts", unless_empty(duration_up_to(YEARS))),
    }
}

/// `tls.mode` before its files are known.
#[derive(Clone, Copy)]
enum Mode {
    SelfSigned,
    Files,
    Off,
}

fn string_choice_of_mode(node: &Node<'_>) -> Option<Mode> {
    choice(&[
        ("self-signed", Mode::SelfSigned),
        ("files", Mode::Files),
        ("off", Mode::Off),
    ])(node)
}

fn tls_files(section: &Section<'_>) -> Option<TlsFiles> {
    let hosts = section.value("hosts", list(text(HostPattern::parse)));
    let cert = section.required("cert", r#""fullchain.pem""#, existing_file);
    let key = section.required("key", r#""privkey.pem""#, existing_file);
    Some(TlsFiles {
        hosts,
        cert: cert?,
        key: key?,
    })
}

fn check_listeners(section: &Section<'_>, server: &Server) {
    let http = server.http.iter().map(|address| ("http", *address));
    let all: Vec<_> = http
        .chain(server.https.iter().map(|address| ("https", *address)))
        .collect();
    if all.is_empty() {
        section.note_combination_at("http", "no listener at all; name an address");
    }
    for (index, (key, address)) in all.iter().enumerate() {
        let taken = all[..index]
            .iter()
            .find(|(_, other)| overlap(*address, *other));
        if let Some((other_key, other)) = taken {
            let what = format!("{address} is taken already by {other} of server.{other_key}");
            section.note_combination_at(key, &what);
        }
    }
}

/// Whether two listeners cannot both be bound. `[::]` takes the IPv4 addresses as well. Port 0 is
/// another port each time.
fn overlap(one: SocketAddr, two: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(wide) => wide.is_unspecified(),
        IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
    };
    let (a, b) = (one.ip(), two.ip());
    one.port() != 0 && one.port() == two.port() && (a == b || covers(a, b) || covers(b, a))
}

fn database(section: &Section<'_>) -> Database {
    Database {
        url: database_url(section),
        bin_dir: section.value("bin_dir", unless_empty(existing_directory)),
        pool_size: section.value("pool_size", integer(1..=10_000)),
        wait: section.value("wait", duration),
        acquire_timeout: section.value("acquire_timeout", duration_up_to(DAY)),
        statement_timeout: section.value("statement_timeout", duration_up_to(LONGEST_STATEMENT)),
        max_lifetime: section.value("max_lifetime", duration_up_to(YEARS)),
        migrate: section.value("migrate", boolean),
    }
}

/// `DATABASE_URL`, else `database.url`, else the contents of `database.url_file`.
fn database_url(section: &Section<'_>) -> Option<Secret> {
    let written = secret(section, "url", "url_file", check_database_url);
    let reader = section.reader;
    // Compose and CI files set variables to nothing when they mean "not set".
    match reader
        .environment
        .variable("DATABASE_URL")
        .filter(|url| !url.is_empty())
    {
        None => written,
        Some(url) => {
            if let Err(what) = check_database_url(&url) {
                reader.note_of("DATABASE_URL", what);
            }
            Some(Secret::new(url))
        }
    }
}

fn check_database_url(url: &str) -> Result<(), String> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(());
    }
    Err("not a PostgreSQL URL; write for example postgres://user:password@host/database".to_owned())
}

/// The secret `key`, or the contents of the file that its twin names, without one line break at
/// the end. Empty is none.
fn secret(
    section: &Section<'_>,
    key: &str,
    twin: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Option<Secret> {
    let checked = |node: &Node<'_>, secret: String| {
        if let Err(what) = check(&secret) {
            node.wrong(&what);
        }
        Secret::new(secret)
    };
    let direct = section.value(key, unless_empty(|node| Some(checked(node, string(node)?))));
    let from_file = section.optional(twin, |node| {
        let file: PathBuf = path(node)?;
        match std::fs::read_to_string(&file) {
            Ok(contents) => {
                let line = contents.strip_suffix('\n').unwrap_or(&contents);
                let line = line.strip_suffix('\r').unwrap_or(line);
                Some(checked(node, line.to_owned()))
            }
            Err(error) => {
                node.wrong(&format!("cannot read {}: {error}", file.display()));
                None
            }
        }
    });
    if direct.is_some() && section.has(twin) {
        section.note_combination_at(twin, &format!("{key} is set as well; keep one of them"));
    }
    direct.or(from_file)
}

/// `[headers]` over the defaults: one of the same name takes the default's place, `""` removes it.
fn headers(root: &Section<'_>, tls: &Tls) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, Option<HeaderValue>)> = DEFAULT_HEADERS
        .iter()
        // Constants of this crate, which every test that loads a configuration parses.
        .map(|(name, value)| {
            (
                name.parse().expect("a name"),
                Some(HeaderValue::from_static(value)),
            )
        })
        .collect();
    for (name, value, at) in named_headers(root, "headers") {
        if name == header::STRICT_TRANSPORT_SECURITY && tls.hsts.is_some() {
            let what =
                "headers: Strict-Transport-Security is sent by tls.hsts already; keep one of them";
            root.reader.note_combination(at, what.to_owned());
        }
        match headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => headers.push((name, value)),
        }
    }
    headers
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// The entries of a table of headers, `None` for `""`; each name once, and none that belongs to
/// the connection or the body.
pub(super) fn named_headers(
    section: &Section<'_>,
    key: &str,
) -> Vec<(HeaderName, Option<HeaderValue>, Option<usize>)> {
    let mut headers: Vec<(HeaderName, Option<HeaderValue>, Option<usize>)> = Vec::new();
    for (name, at, node) in section.open_table(key) {
        let value = unless_empty(header_value)(&node);
        match header_name(name) {
            Err(what) => node.wrong(what),
            Ok(name) if headers.iter().any(|(known, ..)| *known == name) => {
                node.wrong("is written twice; upper and lower case are the same");
            }
            Ok(name) => headers.extend(value.map(|value| (name, value, Some(at)))),
        }
    }
    headers
}

/// The name of a header that may be set or removed.
pub(super) fn header_name(name: &str) -> Result<HeaderName, &'static str> {
    let name: HeaderName = name.parse().map_err(|_| "not the name of a header")?;
    if UNTOUCHABLE.contains(&name.as_str()) {
        return Err("belongs to the connection or the body and cannot be changed here");
    }
    Ok(name)
}

fn compression(section: &Section<'_>) -> Compression {
    Compression {
        algorithms: section.value("algorithms", list(choice(&[("gzip", Coding::Gzip)]))),
        min_length: section.value("min_length", size),
        types: section.value("types", list(text(MediaPattern::parse))),
        level: section.value("level", integer(0..=9)),
    }
}

fn log(section: &Section<'_>) -> Log {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let access = [
        ("combined-timing", AccessFormat::CombinedTiming),
        ("json", AccessFormat::Json),
        ("off", AccessFormat::Off),
    ];
    let name = |text: &str| match text {
        "" => Err("must name a header or query parameter"),
        text => Ok(text.to_lowercase()),
    };
    Log {
        level: section.value("level", text(log_level)),
        format: section.value("format", choice(&formats)),
        access: section.value("access", choice(&access)),
        mask: section.value("mask", list(text(name))),
    }
}

/// A `tracing` filter. Its own parser takes any word for the name of a module, so that `"inof"`
/// would silence everything; here a word alone is a level.
fn log_level(text: &str) -> Result<String, &'static str> {
    const WHAT: &str = r#"not a level; write error, warn, info, debug or trace, or for example "info,unibody=debug""#;
    let is_level = |word: &str| {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        levels.contains(&word.to_ascii_lowercase().as_str())
    };
    let directives = text.split(',').map(str::trim);
    let named = |directive: &str| match directive.rsplit_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(directive),
    };
    if !directives.clone().all(named) || tracing_subscriber::EnvFilter::try_new(text).is_err() {
        return Err(WHAT);
    }
    Ok(text.to_owned())
}
