//! What `unibody config` prints.

use super::*;
use crate::config::keys::{Kind, ROOT};

/// As much as a configuration can have.
pub(super) const FULL: &str = r#"
[server]
http = ["127.0.0.1:80", ":8081"]
hosts = ["localhost", "*.example.com"]
trusted_proxies = ["10.0.0.0/8", "::1"]
proxy_protocol = true
drain = "0s"
max_body = 1000
[tls]
mode = "files"
hsts = "180 days"
min_version = "1.3"
unknown_names = "default"
[[tls.files]]
hosts = ["a.example.com"]
cert = "cert.pem"
key = "key.pem"
[database]
url = "postgres://u:hunter2@h/db?password=hunter2"
bin_dir = "public"
[headers]
"X-Frame-Options" = ""
"X-Quoted" = "a \"b\" \\ $$ 5"
[error_pages]
404 = "public/index.html"
5xx = "cert.pem"
[compression]
algorithms = []
[[upstream]]
name = "b"
servers = ["unix:/run/b.sock", "h2c://[::1]:1"]
[[upstream]]
name = "a"
servers = ["https://a:1 weight=5", "h2://a backup"]
balance = "least-connections"
host = "a.internal:8080"
server_name = "a.internal"
ca_file = "ca.pem"
retries = 2
[upstream.health]
path = "/healthz?deep"
host = "a"
status = "204"
[[rate_limit]]
name = "writes"
rate = "10/s"
burst = 20
[[rate_limit]]
name = "reads"
rate = "300/m"
key = "header:X-Api-Key"
[[route]]
host = "a.example.com"
path = "/a/"
allow = ["10.0.0.0/8", "fd00::/8"]
deny = ["10.0.0.5"]
rate_limit = ["writes", "reads"]
methods = ["POST", "PUT"]
cors = { origins = ["https://b.example.com", "http://localhost:1"], methods = ["PUT"], headers = ["X-A"], credentials = true, max_age = "1h" }
upstream = "a"
strip_prefix = "/a"
cache = { ttl = "1m", max_size = "2MiB", ignore_cookies = true }
rewrite = "/v2{path}"
request_headers = { set = { "X-A" = "1" }, remove = ["Authorization"], forwarded = true }
max_body = "1KiB"
compress = true
headers = { set = { "X-A" = "1", "X-B" = "2" }, remove = ["Server", "Via"] }
[[route]]
path = "/"
files = "public"
spa = "index.html"
cache_control = "no-cache"
immutable = true
[[route]]
path = "/fall"
files = "public"
fallback = "a"
[[route]]
path = "/old"
redirect = { to = "https://{host}{path}", status = 301 }
[[route]]
path = "=/text"
respond = { status = 404, body = "line\n\"two\"\t$${x}\u0000", content_type = "text/html" }
[[route]]
path = "/private"
app = true
basic_auth = { "a b" = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy" }
[[route]]
path = "/api"
app = true
[log]
level = "warn,unibody=trace"
format = "json"
access = "off"
"#;

#[test]
fn what_is_printed_loads_as_the_same() {
    let site = site();
    // Default routes are not printed, so they are looked for in the same place; all else is absolute.
    let elsewhere = Path::new("/elsewhere");
    for (text, dir) in [
        ("", site.path()),
        (FULL, elsewhere),
        ("tls.mode = \"off\"", site.path()),
    ] {
        let config = parse(text, site.path(), &Environment::empty()).unwrap();
        let printed = config.effective_toml();
        // A masked hash is refused, so that no route is left open by a file that was printed.
        let hash = "= \"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"";
        let printed = printed.replace("= \"***\"", hash);
        let again = parse(&printed, dir, &Environment::empty());
        let again = again.unwrap_or_else(|mistakes| panic!("{mistakes}\n{printed}"));
        assert_eq!(comparable(again), comparable(config), "{printed}");
    }
}

/// `config` without what printing may change: secrets, and the lines of routes.
fn comparable(mut config: Config) -> Config {
    config.database.url = None;
    for route in &mut config.routes {
        route.line = route.line.min(1);
    }
    config
}

#[test]
fn passwords_are_masked() {
    let printed = good(FULL).effective_toml();
    assert!(
        printed.contains("url = \"postgres://u:***@h/db?password=***\""),
        "{printed}"
    );
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(!format!("{:?}", good(FULL)).contains("hunter2"));
}

#[test]
fn values_of_masked_headers_and_parameters_are_masked() {
    let text = r#"
[headers]
Set-Cookie = "a=hunter2"
[[upstream]]
name = "a"
servers = ["a:1"]
health = { path = "/health?token=hunter2&deep" }
[[route]]
path = "/a/"
upstream = "a"
request_headers = { set = { Authorization = "Bearer hunter2", X_API_KEY = "hunter2", X-Seen = "yes" } }
headers = { set = { Cookie = "hunter2" } }
[[route]]
path = "/b/"
redirect = { to = "https://b.test/?password=hunter2" }
"#;
    let printed = good(text).effective_toml();
    assert!(!printed.contains("hunter2"), "{printed}");
    for shown in [
        "\"set-cookie\" = \"***\"",
        "path = \"/health?token=***&deep\"",
        "request_headers.set.\"authorization\" = \"***\"",
        "request_headers.set.\"x_api_key\" = \"***\"",
        "request_headers.set.\"x-seen\" = \"yes\"",
        "redirect.to = \"https://b.test/?password=***\"",
    ] {
        assert!(printed.contains(shown), "{shown} in {printed}");
    }
    let wrong = parse(
        "[headers]\nAuthorization = \"a\\nhunter2\"",
        site().path(),
        &Environment::empty(),
    );
    let message = wrong.unwrap_err().to_string();
    assert!(
        message.contains("headers.\"Authorization\" = ***: not a header value"),
        "{message}"
    );
}

#[test]
fn every_key_is_printed() {
    let printed = good(FULL).effective_toml();
    let printed: Vec<_> = printed.lines().collect();
    for table in ROOT.walk() {
        for key in table.keys {
            let expected = match (&key.kind, table.path) {
                (Kind::Planned { .. }, _) => continue,
                // The secret itself is printed, masked.
                _ if [
                    "url_file",
                    "eab_hmac_key_file",
                    "webhook_file",
                    "basic_auth_file",
                    "headers_file",
                ]
                .contains(&key.name) =>
                {
                    continue;
                }
                // Tables show by their keys; `[app]` has none of this version.
                (Kind::Table(_) | Kind::Tables(_), _) => continue,
                (Kind::Open, "") => format!("[{}]", key.name),
                (Kind::Open, "route") => format!("{}.", key.name),
                (_, path) => match path.strip_prefix("route.") {
                    Some(part) => format!("{part}.{}", key.name),
                    None => format!("{} = ", key.name),
                },
            };
            let in_its_table =
                |lines: &[&str]| lines.iter().any(|line| line.starts_with(&expected));
            assert!(
                in_its_table(section(&printed, table.path)),
                "{expected} of {}",
                table.path
            );
        }
    }
}

/// The lines below the headings of `path`; a route's own tables are dotted keys of it.
fn section<'a>(lines: &'a [&'a str], path: &str) -> &'a [&'a str] {
    let heading = if path.starts_with("route") {
        "[[route]]".to_owned()
    } else {
        format!("[{path}]")
    };
    let start = lines
        .iter()
        .position(|line| line.trim_matches(['[', ']']) == heading.trim_matches(['[', ']']));
    let Some(start) = start else { return lines };
    let is_other = |line: &&str| line.starts_with('[') && !line.starts_with(lines[start]);
    let end = lines[start..].iter().position(is_other);
    &lines[start..end.map_or(lines.len(), |end| start + end)]
}

#[test]
fn routes_that_nobody_wrote_stand_as_comments() {
    let printed = Config::default_for(Path::new("/site")).effective_toml();
    assert!(
        printed.contains("# [[route]]\n# path = \"/api/\"\n# app = true"),
        "{printed}"
    );
    assert!(!printed.contains("\n[[route]]"), "{printed}");
}
