//! What holds when nothing is written, and the reference that says so.

use std::collections::HashMap;
use std::time::Duration;

use toml::de::DeValue;

use super::*;
use crate::config::keys::{Key, Kind, ROOT};
use crate::config::{Action, Coding, PathPattern, TlsMode, UnknownNames, load};

#[test]
fn every_default_reads() {
    let config = Config::default_for(Path::new("/site"));
    assert_eq!(config.server.http, ["[::]:8080".parse().unwrap()]);
    assert_eq!(config.server.https, ["[::]:8443".parse().unwrap()]);
    assert_eq!(config.server.admin, "127.0.0.1:9180".parse().ok());
    assert_eq!(good("[server]\nadmin = \"\"").server.admin, None);
    assert_eq!(config.server.data_dir, Path::new("/site/data"));
    assert!(config.server.workers > 0);
    assert_eq!(config.server.max_body, 20 << 20);
    assert_eq!(config.server.ready_answers, 64 << 20);
    assert!(!config.server.watch_config);
    assert_eq!(config.server.cached_answers, 64 << 20);
    assert_eq!(config.server.timeouts.header, Duration::from_secs(15));
    assert_eq!(config.tls.mode, TlsMode::SelfSigned);
    assert!(config.tls.redirect);
    assert_eq!(config.tls.hsts, None);
    assert_eq!(config.database.url, None);
    assert_eq!(config.database.bin_dir, None);
    assert_eq!(config.compression.algorithms, Coding::ALL);
    assert_eq!(config.headers.len(), 4);
    assert_eq!(config.log.mask.names()[0], "authorization");
    // Keys of tables that may be missing altogether have defaults as well.
    good("[[upstream]]\nname = \"a\"\nservers = [\"b:1\"]");
    good("[[route]]\npath = \"/\"\nrespond = {}");
    good("[[route]]\npath = \"/\"\nredirect = { to = \"/b\" }");
    good("[tls]\nmode = \"files\"\n[[tls.files]]\ncert = \"cert.pem\"\nkey = \"key.pem\"");
}

#[test]
fn without_routes_the_notes_app_is_served() {
    let routes = Config::default_for(Path::new("/site")).routes;
    let shown: Vec<_> = routes
        .iter()
        .map(|route| match &route.action {
            Action::App => format!("{} app", route.path),
            Action::Files(files) => format!("{} {}", route.path, files.root.display()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "/api/ app",
        "/static/ /site/public/static",
        "/ /site/public",
        "=/healthz app",
        "=/readyz app",
    ];
    assert_eq!(shown, expected);
    assert!(
        routes
            .iter()
            .all(|route| route.line == 0 && route.host.is_none())
    );
    assert!(matches!(&routes[1].action, Action::Files(files) if files.cache_control.is_some()));
    assert_eq!(routes[2].path, PathPattern::Prefix(String::new()));
}

#[test]
fn the_reference_is_the_defaults() {
    let reference = load(&repository().join("config.toml"), &Environment::empty());
    let reference = reference.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(reference, Config::default_for(repository()));
}

/// Every `key = value` of the reference, commented or not, by the path of its table.
fn documented() -> HashMap<String, Vec<String>> {
    let text = std::fs::read_to_string(repository().join("config.toml")).unwrap();
    let mut documented: HashMap<String, Vec<String>> = HashMap::new();
    let mut table = String::new();
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some((heading, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            table = heading.trim_start_matches('[').to_owned();
            documented.entry(table.clone()).or_default();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let path = format!("{table}.{key}");
            documented.entry(path).or_default().push(value.to_owned());
        }
    }
    documented
}

fn is_planned(key: &Key) -> bool {
    matches!(key.kind, Kind::Planned { .. })
}

#[test]
fn unknown_names_are_refused_where_names_matter() {
    use UnknownNames::{Default, Refuse};
    let table = [
        ("", Default, "self-signed"),
        ("unknown_names = \"refuse\"", Refuse, "said otherwise"),
        ("mode = \"off\"", Refuse, "no names at all"),
        ("mode = \"acme\"", Refuse, "a CA's"),
        (
            "mode = \"acme\"\nunknown_names = \"default\"",
            Default,
            "said otherwise",
        ),
    ];
    for (keys, expected, why) in table {
        let config = good(&format!(
            "[server]\nhosts = [\"a.example.com\"]\n[tls]\n{keys}\n"
        ));
        assert_eq!(config.tls.unknown_names, expected, "{why}");
    }
}

#[test]
fn the_reference_has_every_key_with_its_default() {
    let documented = documented();
    for table in ROOT.walk() {
        for key in table.keys {
            let path = table.path_of(key.name);
            let values = documented.get(&path);
            let default = match key.kind {
                Kind::Table(below) if below.keys.iter().all(is_planned) => continue,
                Kind::Planned { .. } => {
                    assert_eq!(values, None, "{path} is not part of this version");
                    continue;
                }
                Kind::Value { default, .. } => default,
                Kind::Secret => Some("\"\""),
                Kind::Table(_) | Kind::Tables(_) | Kind::Open => None,
            };
            let values = values.unwrap_or_else(|| panic!("config.toml does not mention {path}"));
            if let Some(default) = default {
                let is_default = |value: &String| plain(value) == plain(default);
                assert!(
                    values.iter().any(is_default),
                    "config.toml: {path} is {default}"
                );
            }
        }
    }
}

/// A TOML value without its place in the file.
fn plain(value: &str) -> String {
    fn shape(value: &DeValue<'_>) -> String {
        match value {
            DeValue::Array(items) => items
                .iter()
                .map(|item| shape(item.get_ref()) + ",")
                .collect(),
            other => format!("{other:?}"),
        }
    }
    shape(
        DeValue::parse(value)
            .unwrap_or_else(|error| panic!("{value}: {error}"))
            .get_ref(),
    )
}
