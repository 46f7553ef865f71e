//! The shape of `config.toml`: which key becomes which field.
//!
//! Tables with rules of their own have their own modules: [`tls`](super::tls), [`acme`](mod@super::acme),
//! [`backup`](mod@super::backup),
//! [`header_tables`](super::header_tables), [`upstreams`](super::upstreams), [`policy`](mod@super::policy), [`routes`](super::routes).

use std::num::NonZero;
use std::time::Duration;

use super::acme::{self, acme};
use super::backup::backup;
use super::header_tables::headers;
use super::node::Node;
use super::policy::rate_limits;
use super::read::{
    DECADE, LONGEST_TIMEOUT, body_size, boolean, choice, duration, duration_up_to,
    existing_directory, future_directory, integer, integer_within, list, size, text, unless_empty,
};
use super::reader::Section;
use super::routes::routes;
use super::secrets::database_url;
use super::telemetry::telemetry;
use super::tls::tls;
use super::upstreams::upstreams;
use super::values::{Mask, parse_listener, parse_log_level, parse_network};
use super::{
    AccessFormat, Coding, Compression, Config, Database, HostPattern, Log, LogFormat, MediaPattern,
    Server, Timeouts,
};

/// Longest `statement_timeout`: PostgreSQL counts milliseconds in 31 bits.
const LONGEST_STATEMENT: Duration = Duration::from_hours(24 * 24);

/// Reads the whole file. Whether the result may be used is the reader's to say.
pub(super) fn config(root: &Section<'_>) -> Config {
    let listeners = root.table("server");
    let mut server = server(&listeners);
    let tls = tls(&root.table("tls"), &listeners, &mut server);
    let headers = headers(root, &tls);
    let upstreams = upstreams(root);
    let rate_limits = rate_limits(root);
    let routes = routes(root, &upstreams, &rate_limits, &server.hosts);
    // `[app]` has only keys of later versions yet; opening it checks them.
    root.table("app");
    let config = Config {
        server,
        tls,
        acme: acme(&root.table("acme")),
        database: database(&root.table("database")),
        backup: backup(&root.table("backup")),
        headers,
        compression: compression(&root.table("compression")),
        upstreams,
        rate_limits,
        routes,
        log: log(&root.table("log")),
        telemetry: telemetry(&root.table("telemetry")),
    };
    acme::check(root, &config);
    config
}

fn server(section: &Section<'_>) -> Server {
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

fn database(section: &Section<'_>) -> Database {
    Database {
        url: database_url(section),
        bin_dir: section.value("bin_dir", unless_empty(existing_directory)),
        pool_size: section.value("pool_size", integer(1..=10_000)),
        wait: section.value("wait", duration),
        acquire_timeout: section.value("acquire_timeout", duration_up_to(LONGEST_TIMEOUT)),
        statement_timeout: section.value("statement_timeout", duration_up_to(LONGEST_STATEMENT)),
        max_lifetime: section.value("max_lifetime", duration_up_to(DECADE)),
        migrate: section.value("migrate", boolean),
    }
}

fn compression(section: &Section<'_>) -> Compression {
    let algorithms = section.value("algorithms", algorithms);
    Compression {
        level: section.value("level", |node| level(node, &algorithms)),
        algorithms,
        min_length: section.value("min_length", size),
        types: section.value("types", list(text(MediaPattern::parse))),
    }
}

fn algorithms(node: &Node<'_>) -> Option<Vec<Coding>> {
    let words = Coding::ALL.map(|coding| (coding.name(), coding));
    let mut algorithms = Vec::new();
    for coding in list(choice(&words))(node)? {
        if algorithms.contains(&coding) {
            node.wrong(&format!("\"{}\" stands there twice", coding.name()));
            return None;
        }
        algorithms.push(coding);
    }
    Some(algorithms)
}

/// A level that each of the algorithms has.
fn level(node: &Node<'_>, algorithms: &[Coding]) -> Option<u32> {
    let least = algorithms
        .iter()
        .min_by_key(|coding| coding.highest_level());
    let Some(least) = least else {
        return integer(0..=Coding::Zstd.highest_level())(node);
    };
    let why = format!(", the highest of {}", least.name());
    integer_within(0..=least.highest_level(), &why)(node)
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
        text => Ok(text.to_owned()),
    };
    Log {
        level: section.value("level", text(parse_log_level)),
        format: section.value("format", choice(&formats)),
        access: section.value("access", choice(&access)),
        mask: Mask::new(section.value("mask", list(text(name)))),
    }
}
