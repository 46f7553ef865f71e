//! Every key of `config.toml`: its name, its default, and whether this version has it.
//!
//! This is the one place that knows the keys. The reader takes defaults from here, finds the nearest
//! known key here, and refuses here what is planned; tests hold the reference `config.toml` and the
//! printed configuration against it. To add a key: a line here, its field, its reading
//! and its printing in the module of its table, and its words in `config.toml`.

/// The keys that may stand in one table.
#[derive(Debug)]
pub(super) struct Table {
    /// How messages name the table: `server.timeouts`; empty for the file itself.
    pub(super) path: &'static str,
    pub(super) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What belongs to a key.
#[derive(Debug)]
pub(super) enum Kind {
    /// A value.
    Value {
        /// As TOML; `None` where leaving the key out means something no value says.
        default: Option<&'static str>,
    },
    /// A value that no message may show.
    Secret,
    /// A table.
    Table(&'static Table),
    /// An array of tables.
    Tables(&'static Table),
    /// A table whose keys the user makes up, such as header names.
    Open,
    /// A key of a later version.
    ///
    /// SECURITY: it is refused, not skipped. Whoever writes `allow = [...]` and gets no mistake
    /// believes that the door is closed.
    Planned {
        /// The one value (as TOML) that says what this version does anyway.
        accepted: Option<&'static str>,
    },
}

pub(super) static ROOT: Table = Table {
    path: "",
    keys: &[
        table("server", &SERVER),
        table("tls", &TLS),
        table("acme", &ACME),
        table("database", &DATABASE),
        table("backup", &BACKUP),
        open("headers"),
        open("error_pages"),
        table("compression", &COMPRESSION),
        tables("upstream", &UPSTREAM),
        tables("rate_limit", &RATE_LIMIT),
        tables("route", &ROUTE),
        table("app", &APP),
        table("log", &LOG),
        table("telemetry", &TELEMETRY),
    ],
};

static SERVER: Table = Table {
    path: "server",
    keys: &[
        key("http", r#"["[::]:8080"]"#),
        key("https", r#"["[::]:8443"]"#),
        key("hosts", r#"["localhost"]"#),
        key("admin", r#""127.0.0.1:9180""#),
        key("data_dir", r#""data""#),
        key("workers", "0"),
        key("max_body", r#""20MiB""#),
        key("trusted_proxies", "[]"),
        key("proxy_protocol", "false"),
        key("drain", r#""30s""#),
        key("max_connections", "10000"),
        key("max_connections_per_ip", "256"),
        key("ready_answers", r#""64MiB""#),
        key("watch_config", "false"),
        key("cached_answers", r#""64MiB""#),
        table("timeouts", &TIMEOUTS),
    ],
};

static TIMEOUTS: Table = Table {
    path: "server.timeouts",
    keys: &[
        key("header", r#""15s""#),
        key("body_idle", r#""60s""#),
        key("write_idle", r#""60s""#),
        key("keepalive", r#""65s""#),
        key("tls_handshake", r#""10s""#),
    ],
};

static TLS: Table = Table {
    path: "tls",
    keys: &[
        key("mode", r#""self-signed""#),
        key("certs_dir", r#""certs""#),
        key("redirect", "true"),
        key("min_version", r#""1.2""#),
        key("unknown_names", r#""""#),
        key("hsts", r#""""#),
        tables("files", &TLS_FILES),
    ],
};

static TLS_FILES: Table = Table {
    path: "tls.files",
    keys: &[key("hosts", "[]"), optional("cert"), optional("key")],
};

static ACME: Table = Table {
    path: "acme",
    keys: &[
        key("directory", r#""letsencrypt""#),
        key("email", r#""""#),
        key("challenges", r#"["tls-alpn-01", "http-01"]"#),
        key("ca_file", r#""""#),
        key("profile", r#""""#),
        key("eab_kid", r#""""#),
        Key {
            name: "eab_hmac_key",
            kind: Kind::Secret,
        },
        optional("eab_hmac_key_file"),
        key("storage", r#""files""#),
        Key {
            name: "webhook",
            kind: Kind::Secret,
        },
        optional("webhook_file"),
    ],
};

static DATABASE: Table = Table {
    path: "database",
    keys: &[
        Key {
            name: "url",
            kind: Kind::Secret,
        },
        optional("url_file"),
        key("bin_dir", r#""""#),
        key("pool_size", "10"),
        key("wait", r#""60s""#),
        key("acquire_timeout", r#""10s""#),
        key("statement_timeout", r#""10s""#),
        key("max_lifetime", r#""30m""#),
        key("migrate", "true"),
    ],
};

static BACKUP: Table = Table {
    path: "backup",
    keys: &[
        key("at", r#""""#),
        key("every", r#""""#),
        key("directory", r#""""#),
        key("command", r#""""#),
        key("keep_daily", "7"),
        key("keep_weekly", "4"),
        key("keep_monthly", "12"),
        key("age_recipients", "[]"),
        key("verify", "true"),
    ],
};

static COMPRESSION: Table = Table {
    path: "compression",
    keys: &[
        key("algorithms", r#"["zstd", "br", "gzip"]"#),
        key("min_length", r#""1KiB""#),
        key(
            "types",
            r#"["text/*", "application/json", "application/problem+json", "application/ld+json", "application/manifest+json", "application/javascript", "application/xml", "application/rss+xml", "application/atom+xml", "application/wasm", "image/svg+xml", "image/x-icon", "font/ttf", "font/otf"]"#,
        ),
        key("level", "0"),
    ],
};

static UPSTREAM: Table = Table {
    path: "upstream",
    keys: &[
        optional("name"),
        optional("servers"),
        key("balance", r#""round-robin""#),
        key("host", r#""""#),
        key("server_name", r#""""#),
        key("ca_file", r#""""#),
        key("connect_timeout", r#""5s""#),
        key("read_timeout", r#""75s""#),
        key("send_timeout", r#""30s""#),
        key("stream_timeout", r#""1h""#),
        key("retries", "1"),
        key("eject_after", "3"),
        key("eject_for", r#""10s""#),
        key("keepalive", "64"),
        table("health", &UPSTREAM_HEALTH),
    ],
};

static UPSTREAM_HEALTH: Table = Table {
    path: "upstream.health",
    keys: &[
        optional("path"),
        key("host", r#""""#),
        key("status", r#""2xx""#),
        key("interval", r#""10s""#),
        key("timeout", r#""5s""#),
        key("unhealthy_after", "3"),
        key("healthy_after", "2"),
    ],
};

static RATE_LIMIT: Table = Table {
    path: "rate_limit",
    keys: &[
        optional("name"),
        optional("rate"),
        optional("burst"),
        key("key", r#""ip""#),
    ],
};

static ROUTE: Table = Table {
    path: "route",
    keys: &[
        optional("host"),
        optional("path"),
        optional("app"),
        optional("files"),
        optional("spa"),
        optional("cache_control"),
        optional("immutable"),
        optional("fallback"),
        optional("upstream"),
        optional("strip_prefix"),
        optional("rewrite"),
        table("redirect", &REDIRECT),
        table("respond", &RESPOND),
        table("headers", &ROUTE_HEADERS),
        optional("max_body"),
        optional("compress"),
        optional("allow"),
        optional("deny"),
        optional("rate_limit"),
        optional("methods"),
        table("cors", &CORS),
        open("basic_auth"),
        optional("basic_auth_file"),
        table("request_headers", &REQUEST_HEADERS),
        table("cache", &CACHE),
    ],
};

static CACHE: Table = Table {
    path: "route.cache",
    keys: &[
        key("ttl", r#""""#),
        key("max_size", r#""1MiB""#),
        key("ignore_cookies", "false"),
    ],
};

static CORS: Table = Table {
    path: "route.cors",
    keys: &[
        optional("origins"),
        key("methods", r#"["GET", "HEAD", "POST"]"#),
        key("headers", "[]"),
        key("credentials", "false"),
        key("max_age", r#""10m""#),
    ],
};

static REDIRECT: Table = Table {
    path: "route.redirect",
    keys: &[optional("to"), key("status", "302")],
};

static RESPOND: Table = Table {
    path: "route.respond",
    keys: &[
        key("status", "200"),
        key("body", r#""""#),
        key("content_type", r#""text/plain; charset=utf-8""#),
    ],
};

static ROUTE_HEADERS: Table = Table {
    path: "route.headers",
    keys: &[open("set"), key("remove", "[]")],
};

static REQUEST_HEADERS: Table = Table {
    path: "route.request_headers",
    keys: &[open("set"), key("remove", "[]"), key("forwarded", "false")],
};

static APP: Table = Table {
    path: "app",
    keys: &[planned_except("auth", r#""none""#)],
};

static LOG: Table = Table {
    path: "log",
    keys: &[
        key("level", r#""info""#),
        key("format", r#""text""#),
        key("access", r#""combined-timing""#),
        key(
            "mask",
            r#"["Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "token", "password"]"#,
        ),
    ],
};

static TELEMETRY: Table = Table {
    path: "telemetry",
    keys: &[
        key("otlp", r#""""#),
        Key {
            name: "headers",
            kind: Kind::Secret,
        },
        optional("headers_file"),
        key("sample", "1.0"),
        key("service", r#""unibody""#),
    ],
};

/// `[headers]` where the file says nothing.
pub(super) const DEFAULT_HEADERS: [(&str, &str); 4] = [
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    (
        "Content-Security-Policy",
        "default-src 'self'; frame-ancestors 'self'; base-uri 'self'; object-src 'none'",
    ),
];

impl Table {
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// This table and all below it, top down.
    pub(super) fn walk(&'static self) -> Vec<&'static Table> {
        let mut tables = vec![self];
        for key in self.keys {
            if let Kind::Table(below) | Kind::Tables(below) = key.kind {
                tables.extend(below.walk());
            }
        }
        tables
    }

    /// `server.http`.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

const fn key(name: &'static str, default: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Value {
            default: Some(default),
        },
    }
}

const fn optional(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Value { default: None },
    }
}

const fn table(name: &'static str, table: &'static Table) -> Key {
    Key {
        name,
        kind: Kind::Table(table),
    }
}

const fn tables(name: &'static str, table: &'static Table) -> Key {
    Key {
        name,
        kind: Kind::Tables(table),
    }
}

const fn open(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Open,
    }
}

const fn planned_except(name: &'static str, accepted: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Planned {
            accepted: Some(accepted),
        },
    }
}
