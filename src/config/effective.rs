//! The configuration as it is in effect, printed as TOML that [`load`](super::load()) accepts again.

use std::fmt::{Display, Write as _};

use http::{HeaderName, HeaderValue};

use super::environment::escape;
use super::keys::DEFAULT_HEADERS;
use super::values::{mask_url, mask_url_passwords, print_duration, print_size};
use super::{
    AccessFormat, Acme, AcmeStorage, Action, Backup, Balance, Challenge, Compression, Config, Cors,
    Database, Destination, Keep, Log, LogFormat, Mask, PasswordHash, RateLimit, RequestHeaders,
    Route, Schedule, Secret, Server, Telemetry, Tls, TlsMode, TlsVersion, UnknownNames, Upstream,
};

impl Config {
    /// Every key with its value in effect; passwords are `***`. Routes that are there without being
    /// written, because they are defaults or the health endpoints, stand as comments: a file in the
    /// same directory has them again.
    #[must_use]
    pub fn effective_toml(&self) -> String {
        let mut text = String::new();
        for section in self.sections(Secrets::Masked) {
            if !text.is_empty() {
                text.push('\n');
            }
            let comment = if section.is_default { "# " } else { "" };
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{comment}{}", section.heading);
            for (key, value) in &section.entries {
                let _ = writeln!(text, "{comment}{key} = {value}");
            }
        }
        text
    }

    /// The same, table by table.
    pub(super) fn sections(&self, secrets: Secrets) -> Vec<Section> {
        let mut out = Printer {
            mask: match secrets {
                Secrets::Masked => self.log.mask.clone(),
                Secrets::Told => Mask::default(),
            },
            secrets,
            sections: Vec::new(),
            is_default: false,
        };
        server(&mut out, &self.server);
        tls(&mut out, &self.tls);
        acme(&mut out, &self.acme);
        database(&mut out, &self.database);
        backup(&mut out, self.backup.as_ref());
        headers(&mut out, &self.headers);
        compression(&mut out, &self.compression);
        let mut upstreams: Vec<_> = self.upstreams.values().collect();
        upstreams.sort_by_key(|upstream| &upstream.name);
        for each in upstreams {
            upstream(&mut out, each);
        }
        let mut limits: Vec<_> = self.rate_limits.values().collect();
        limits.sort_by_key(|limit| &limit.name);
        for each in limits {
            rate_limit(&mut out, each);
        }
        for each in &self.routes {
            route(&mut out, each);
        }
        log(&mut out, &self.log);
        telemetry(&mut out, &self.telemetry);
        out.sections
    }
}

/// Whether secrets are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    Masked,
    /// SECURITY: for comparing, never for anybody to read.
    Told,
}

/// One table of the file.
pub(super) struct Section {
    /// As the file has it: `[server]`, `[[route]]`.
    pub(super) heading: String,
    /// Nobody wrote it.
    pub(super) is_default: bool,
    /// Keys and their values, as TOML.
    pub(super) entries: Vec<(String, String)>,
}

fn server(out: &mut Printer, server: &Server) {
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

fn tls(out: &mut Printer, tls: &Tls) {
    let (mode, files) = match &tls.mode {
        TlsMode::SelfSigned => ("self-signed", [].as_slice()),
        TlsMode::Acme => ("acme", [].as_slice()),
        TlsMode::Files(files) => ("files", files.as_slice()),
        TlsMode::Off => ("off", [].as_slice()),
    };
    let version = match tls.min_version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    };
    out.heading("[tls]");
    out.text("mode", mode);
    out.text("certs_dir", tls.certs_dir.display());
    out.plain("redirect", tls.redirect);
    out.text("min_version", version);
    let unknown = match tls.unknown_names {
        UnknownNames::Refuse => "refuse",
        UnknownNames::Default => "default",
    };
    out.text("unknown_names", unknown);
    out.text("hsts", tls.hsts.map(print_duration).unwrap_or_default());
    for pair in files {
        out.heading("[[tls.files]]");
        out.texts("hosts", &pair.hosts);
        out.text("cert", pair.cert.display());
        out.text("key", pair.key.display());
    }
}

fn acme(out: &mut Printer, acme: &Acme) {
    let challenges = acme.challenges.iter().map(|challenge| match challenge {
        Challenge::Http01 => "http-01",
        Challenge::TlsAlpn01 => "tls-alpn-01",
    });
    let ca_file = acme.ca_file.as_ref().map(|file| file.display().to_string());
    out.heading("[acme]");
    out.text("directory", &acme.directory);
    out.text("email", acme.email.as_deref().unwrap_or_default());
    out.texts("challenges", challenges);
    out.text("ca_file", ca_file.unwrap_or_default());
    out.text("profile", acme.profile.as_deref().unwrap_or_default());
    let kid = acme.eab.as_ref().map(|eab| eab.kid.as_str());
    out.text("eab_kid", kid.unwrap_or_default());
    out.secret(
        "eab_hmac_key",
        acme.eab.as_ref().map(|eab| &eab.hmac_key),
        |_| "***".to_owned(),
    );
    let storage = match acme.storage {
        AcmeStorage::Files => "files",
        AcmeStorage::Database => "database",
    };
    out.text("storage", storage);
    out.secret("webhook", acme.webhook.as_ref(), mask_url);
}

fn database(out: &mut Printer, database: &Database) {
    let bin_dir = database
        .bin_dir
        .as_ref()
        .map(|dir| dir.display().to_string());
    out.heading("[database]");
    out.secret("url", database.url.as_ref(), mask_url_passwords);
    out.text("bin_dir", bin_dir.unwrap_or_default());
    out.plain("pool_size", database.pool_size);
    out.text("wait", print_duration(database.wait));
    out.text("acquire_timeout", print_duration(database.acquire_timeout));
    out.text(
        "statement_timeout",
        print_duration(database.statement_timeout),
    );
    out.text("max_lifetime", print_duration(database.max_lifetime));
    out.plain("migrate", database.migrate);
}

/// The headers sent, and `""` for each default that is not.
fn backup(out: &mut Printer, backup: Option<&Backup>) {
    let (mut at, mut every) = (String::new(), String::new());
    let (mut directory, mut command) = (String::new(), "");
    match backup.map(|backup| backup.schedule) {
        Some(Schedule::At(time)) => at = format!("{:02}:{:02}", time.hour(), time.minute()),
        Some(Schedule::Every(interval)) => every = print_duration(interval),
        None => {}
    }
    match backup.map(|backup| &backup.destination) {
        Some(Destination::Directory(path)) => directory = path.display().to_string(),
        Some(Destination::Command(line)) => command = line,
        None => {}
    }
    let keep = backup.map_or(Keep::DEFAULT, |backup| backup.keep);
    out.heading("[backup]");
    out.text("at", at);
    out.text("every", every);
    out.text("directory", directory);
    out.text("command", command);
    out.plain("keep_daily", keep.daily);
    out.plain("keep_weekly", keep.weekly);
    out.plain("keep_monthly", keep.monthly);
    let recipients = backup.map(|backup| backup.age_recipients.as_slice());
    out.texts("age_recipients", recipients.unwrap_or_default());
    out.plain("verify", backup.is_none_or(|backup| backup.verify));
}

fn headers(out: &mut Printer, headers: &[(HeaderName, HeaderValue)]) {
    out.heading("[headers]");
    for (name, value) in headers {
        out.header("", name, value);
    }
    for (name, _) in DEFAULT_HEADERS {
        if !headers
            .iter()
            .any(|(sent, _)| sent.as_str().eq_ignore_ascii_case(name))
        {
            out.text(&quoted(name), "");
        }
    }
}

fn compression(out: &mut Printer, compression: &Compression) {
    let names = compression.algorithms.iter().map(|coding| coding.name());
    out.heading("[compression]");
    out.texts("algorithms", names);
    out.text("min_length", print_size(compression.min_length));
    out.texts("types", &compression.types);
    out.plain("level", compression.level);
}

fn upstream(out: &mut Printer, upstream: &Upstream) {
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
        out.heading("[upstream.health]");
        out.text("path", out.mask.covered(&health.path));
        out.text("host", health.host.as_ref().map_or("", shown));
        out.text("status", health.status);
        out.text("interval", print_duration(health.interval));
        out.text("timeout", print_duration(health.timeout));
        out.plain("unhealthy_after", health.unhealthy_after);
        out.plain("healthy_after", health.healthy_after);
    }
}

fn rate_limit(out: &mut Printer, limit: &RateLimit) {
    out.heading("[[rate_limit]]");
    out.text("name", &limit.name);
    out.text("rate", limit.rate);
    out.plain("burst", limit.burst);
    out.text("key", &limit.key);
}

fn route(out: &mut Printer, route: &Route) {
    out.is_default = route.line == 0;
    out.heading("[[route]]");
    out.is_default = false;
    if let Some(host) = &route.host {
        out.text("host", host);
    }
    out.text("path", &route.path);
    for (key, texts) in route.policy.lists() {
        out.texts(key, texts);
    }
    if let Some(max_body) = route.max_body {
        out.text("max_body", print_size(max_body));
    }
    if let Some(compress) = route.compress {
        out.plain("compress", compress);
    }
    for account in &route.policy.accounts {
        let (PasswordHash::Argon2id(hash) | PasswordHash::Bcrypt(hash)) = &account.hash;
        let shown = match out.secrets {
            Secrets::Masked => "***",
            Secrets::Told => hash.as_str(),
        };
        out.text(&format!("basic_auth.{}", quoted(&account.user)), shown);
    }
    if let Some(rules) = &route.policy.cors {
        cors(out, rules);
    }
    action(out, &route.action);
    if let Some(rewrite) = &route.rewrite {
        out.text("rewrite", rewrite);
    }
    request_headers(out, &route.request_headers);
    if !route.remove_headers.is_empty() {
        out.texts("headers.remove", &route.remove_headers);
    }
    for (name, value) in &route.set_headers {
        out.header("headers.set.", name, value);
    }
}

fn request_headers(out: &mut Printer, headers: &RequestHeaders) {
    if headers.forwarded {
        out.plain("request_headers.forwarded", true);
    }
    if !headers.remove.is_empty() {
        out.texts("request_headers.remove", &headers.remove);
    }
    for (name, value) in &headers.set {
        out.header("request_headers.set.", name, value);
    }
}

fn cors(out: &mut Printer, cors: &Cors) {
    out.texts("cors.origins", cors.origins.texts());
    out.texts("cors.methods", &cors.methods);
    out.texts("cors.headers", &cors.headers);
    out.plain("cors.credentials", cors.credentials);
    out.text("cors.max_age", print_duration(cors.max_age));
}

fn action(out: &mut Printer, action: &Action) {
    match action {
        Action::App => out.plain("app", true),
        Action::Files(files) => {
            out.text("files", files.root.display());
            if let Some(spa) = &files.spa {
                out.text("spa", spa);
            }
            if let Some(value) = &files.cache_control {
                out.text("cache_control", shown(value));
            }
            if files.immutable {
                out.plain("immutable", true);
            }
        }
        Action::Upstream {
            upstream,
            strip_prefix,
            cache,
        } => {
            out.text("upstream", &upstream.name);
            if let Some(prefix) = strip_prefix {
                out.text("strip_prefix", prefix);
            }
            if let Some(cache) = cache {
                out.text(
                    "cache.ttl",
                    cache.ttl.map_or_else(String::new, print_duration),
                );
                out.text("cache.max_size", print_size(cache.max_size));
                out.plain("cache.ignore_cookies", cache.ignore_cookies);
            }
        }
        Action::Redirect { to, status } => {
            out.text("redirect.to", out.mask.covered(to));
            out.plain("redirect.status", status.as_u16());
        }
        Action::Respond {
            status,
            body,
            content_type,
        } => {
            out.plain("respond.status", status.as_u16());
            out.text("respond.body", body);
            out.text("respond.content_type", shown(content_type));
        }
    }
}

fn log(out: &mut Printer, log: &Log) {
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let access = match log.access {
        AccessFormat::CombinedTiming => "combined-timing",
        AccessFormat::Json => "json",
        AccessFormat::Off => "off",
    };
    out.heading("[log]");
    out.text("level", &log.level);
    out.text("format", format);
    out.text("access", access);
    out.texts("mask", log.mask.names());
}

fn telemetry(out: &mut Printer, telemetry: &Telemetry) {
    out.heading("[telemetry]");
    out.text("otlp", telemetry.otlp.as_deref().unwrap_or_default());
    out.secret("headers", telemetry.headers.secret(), |_| "***".to_owned());
    out.plain("sample", format_args!("{:?}", telemetry.sample));
    out.text("service", &telemetry.service);
}

struct Printer {
    secrets: Secrets,
    mask: Mask,
    sections: Vec<Section>,
    /// Whether the next section is for reading only.
    is_default: bool,
}

impl Printer {
    fn heading(&mut self, heading: &str) {
        self.sections.push(Section {
            heading: heading.to_owned(),
            is_default: self.is_default,
            entries: Vec::new(),
        });
    }

    fn plain(&mut self, key: &str, value: impl Display) {
        // Every key has its heading before it.
        if let Some(section) = self.sections.last_mut() {
            section.entries.push((key.to_owned(), value.to_string()));
        }
    }

    /// A secret, if there is one, as `mask` shows it.
    fn secret(&mut self, key: &str, secret: Option<&Secret>, mask: impl Fn(&str) -> String) {
        let secret = secret.map(Secret::reveal);
        let shown = secret.map(|secret| match self.secrets {
            Secrets::Masked => mask(secret),
            Secrets::Told => secret.to_owned(),
        });
        self.text(key, shown.unwrap_or_default());
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.plain(key, quoted(&escape(&value.to_string())));
    }

    fn header(&mut self, table: &str, name: &HeaderName, value: &HeaderValue) {
        let is_hidden = self.mask.hides(name.as_str().as_bytes());
        let value = if is_hidden { "***" } else { shown(value) };
        self.text(&format!("{table}{}", quoted(name.as_str())), value);
    }

    fn texts<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let quoted = values
            .into_iter()
            .map(|value| quoted(&escape(&value.to_string())));
        self.plain(
            key,
            format_args!("[{}]", quoted.collect::<Vec<_>>().join(", ")),
        );
    }
}

/// A TOML basic string on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            // Writing to a `String` cannot fail.
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn shown(value: &HeaderValue) -> &str {
    // Headers are read from text (`read::header_value`).
    value.to_str().unwrap_or_default()
}
