//! Everything that is wrong, at once, with its line and what to do.

use super::*;
use crate::config::keys::{Kind, ROOT, Table};
use proptest::prelude::*;

#[test]
fn every_mistake_is_reported_at_once_and_by_line() {
    let text = r#"
max_body = "1MiB"
[server]
http = ["8080", "[::]:8080", ":8080"]
max_bdy = "1MiB"
max_body = "20MB?"
workers = "four"
[tsl]
mode = "off"
[tls]
mode = "of"
[[route]]
host = "localhost:80"
path = "api"
files = "missing"
[log]
level = "inof"
"#;
    let expected = [
        "config.toml:2: max_body: unknown key here; max_body belongs in [server] or [route]",
        "config.toml:4: server.http = \"8080\": not an address to listen on; write for example \"[::]:8080\" or \"127.0.0.1:8080\"",
        "config.toml:5: server.max_bdy: unknown key; did you mean max_body?",
        "config.toml:6: server.max_body = \"20MB?\": not a size; write for example \"20MiB\"",
        "config.toml:7: server.workers = \"four\": must be a whole number from 0 to 1024, not text",
        "config.toml:8: tsl: unknown key; did you mean tls?",
        "config.toml:11: tls.mode = \"of\": must be \"self-signed\" or \"acme\" or \"files\" or \"off\"",
        "config.toml:13: route.host = \"localhost:80\": a host is a name alone, without scheme, port or path",
        "config.toml:14: route.path = \"api\": a path begins with \"/\", or with \"=/\" to match only itself",
        "config.toml:15: route.files = \"missing\": no directory",
        "config.toml:17: log.level = \"inof\": not a level; write error, warn, info, debug or trace, or for example \"info,unibody=debug\"",
    ];
    let mistakes = bad(text);
    let lines: Vec<_> = mistakes.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{mistakes}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\nshould be\n{expected}");
    }
}

#[test]
fn wrong_types_say_the_right_one() {
    each_is_one_mistake(&[
        (
            "server = 5",
            "server = 5: must be a table, [server], not a number",
        ),
        (
            "[[server]]",
            "server: must be a table, [server], not a list",
        ),
        (
            "[route]\npath = \"/\"",
            "route: must be tables, each under [[route]], not a table",
        ),
        (
            "route = [1]",
            "route: must be tables, each under [[route]], not a list",
        ),
        (
            "[server]\nhttp = \":80\"",
            "server.http = \":80\": must be a list in square brackets, not text",
        ),
        (
            "[server]\nhosts = [1]",
            "server.hosts = 1: must be text in quotes, not a number",
        ),
        (
            "[tls]\nredirect = \"yes\"",
            "tls.redirect = \"yes\": must be true or false, not text",
        ),
        (
            "[server]\ndrain = 30",
            "server.drain = 30: must be a duration such as \"75s\", not a number",
        ),
        (
            "headers = 1",
            "headers = 1: must be a table, [headers], not a number",
        ),
    ]);
}

#[test]
fn wrong_values_say_a_right_one() {
    each_is_one_mistake(&[
        (
            "[server]\nworkers = -1",
            "server.workers = -1: must be a whole number from 0 to 1024",
        ),
        (
            "[server]\nworkers = 99999999999999999999",
            "must be a whole number",
        ),
        ("[server]\nmax_body = 0", "must be more than 0"),
        (
            "[server.timeouts]\nheader = \"0s\"",
            "must be longer than 0",
        ),
        ("[server.timeouts]\nheader = \"2d\"", "must be at most 1d"),
        (
            "[database]\nurl = \"postgres://u:p@host:badport/x\"",
            "database.url = ***: is not valid: invalid connection string: invalid value for option `port`",
        ),
        (
            "[database]\nurl = \"postgres://u:p@host:99999/x\"",
            "database.url = ***: is not valid: ",
        ),
        (
            "[database]\nurl = \"postgres://u:p@host/x?sslmode=maybe\"",
            "database.url = ***: unknown sslmode",
        ),
        (
            "[database]\nurl = \"postgres://u:p@/x\"",
            "database.url = ***: names no host",
        ),
        (
            "[database]\nstatement_timeout = \"25 days\"",
            "must be at most 24d",
        ),
        ("[server]\ndata_dir = \"\"", "must name a path"),
        ("[server]\ndata_dir = \"cert.pem\"", "is not a directory"),
        ("[database]\nbin_dir = \"missing\"", "no directory"),
        ("[log]\nlevel = \"unibody=loud\"", "not a level"),
        ("[log]\nmask = [\"\"]", "must name a header"),
        (
            "[server]\nhosts = [\"${MISSING}\"]",
            "the environment variable MISSING is not set",
        ),
    ]);
}

#[test]
fn headers_that_cannot_be_sent_are_refused() {
    each_is_one_mistake(&[
        (
            "[headers]\n\"X Y\" = \"a\"",
            "headers.\"X Y\" = ***: not the name of a header",
        ),
        ("[headers]\nX-A = \"a\\nb\"", "not a header value"),
        (
            "[headers]\nX-A = \"a\"\nx-a = \"b\"",
            "config.toml:3: headers.\"x-a\" = ***: is written twice",
        ),
        (
            "[headers]\nContent-Length = \"0\"",
            "belongs to the connection or the body",
        ),
        (
            "[tls]\nhsts = \"1 day\"\n[headers]\nStrict-Transport-Security = \"max-age=1\"",
            "config.toml:4: headers: Strict-Transport-Security is sent by tls.hsts already",
        ),
    ]);
}

#[test]
fn unknown_keys_name_what_was_meant() {
    each_is_one_mistake(&[
        (
            "[server]\nMax_Body = 1",
            "server.Max_Body: unknown key; did you mean max_body?",
        ),
        (
            "[server.timeout]\nheader = \"1s\"",
            "server.timeout: unknown key; did you mean timeouts?",
        ),
        (
            "worker = 1",
            "worker: unknown key here; workers belongs in [server]",
        ),
        (
            "[tls]\nname = 1",
            "tls.name: unknown key here; name belongs in [upstream]",
        ),
        (
            "[[route]]\npath = \"/\"\nredirect = { to = \"/new\", code = 301 }",
            "route.redirect.code: unknown key; known here are to, status",
        ),
        (
            "[[route]]\npath = \"/\"\napp = true\nproxy_pass = \"http://127.0.0.1:1\"",
            "route.proxy_pass: unknown key; here nginx's proxy_pass is upstream of a [[route]], which names an [[upstream]]",
        ),
        (
            "[log]\nverbosity = 1",
            "log.verbosity: unknown key; known here are level, format, access, mask",
        ),
        (
            "[app]\nlogin = 1",
            "app.login: unknown key; this table has no keys in this version",
        ),
    ]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    each_is_one_mistake(&[
        (
            "[tls]\nmode = \"files\"",
            "config.toml:2: tls.mode: \"files\" needs at least one [[tls.files]]",
        ),
        (
            "[[tls.files]]\ncert = \"cert.pem\"\nkey = \"key.pem\"",
            "config.toml:1: tls.files: is used with tls.mode = \"files\" only",
        ),
        (
            "[tls]\nmode = \"files\"\n[[tls.files]]\ncert = \"cert.pem\"",
            "config.toml:3: tls.files.key is missing; write for example key = \"privkey.pem\"",
        ),
        (
            "[tls]\nmode = \"files\"\n[[tls.files]]\ncert = \"no.pem\"\nkey = \"key.pem\"",
            "config.toml:4: tls.files.cert = \"no.pem\": cannot open",
        ),
        (
            "[tls]\nmode = \"files\"\n[[tls.files]]\ncert = \"public\"\nkey = \"key.pem\"",
            "is a directory, not a file",
        ),
        (
            "[server]\nhttps = [\":443\"]\n[tls]\nmode = \"off\"",
            "config.toml:2: server.https: nothing can listen there with tls.mode = \"off\"",
        ),
        (
            "[tls]\nmode = \"off\"\nredirect = true",
            "config.toml:3: tls.redirect: there is no HTTPS",
        ),
        (
            "[server]\nhttps = []",
            "config.toml:2: server.https: is empty",
        ),
        (
            "[server]\nhttp = []\n[tls]\nmode = \"off\"",
            "config.toml:2: server.http: no listener at all",
        ),
        (
            "[server]\nhttp = [\":80\"]\nhttps = [\"[::]:80\"]",
            "config.toml:3: server.https: [::]:80 is taken already by [::]:80 of server.http",
        ),
        (
            "[server]\nhttp = [\":80\", \"0.0.0.0:80\"]",
            "0.0.0.0:80 is taken already by [::]:80",
        ),
        (
            "[server]\nhttp = [\"127.0.0.1:80\", \"0.0.0.0:80\"]",
            "0.0.0.0:80 is taken already by 127.0.0.1:80",
        ),
        (
            "[server]\nhttp = [\":8443\"]",
            "[::]:8443 is taken already by [::]:8443 of server.http",
        ),
    ]);
}

#[test]
fn a_level_is_one_that_all_algorithms_have() {
    each_is_one_mistake(&[
        (
            "[compression]\nlevel = 10",
            "compression.level = 10: must be a whole number from 0 to 9, the highest of gzip",
        ),
        (
            "[compression]\nalgorithms = [\"zstd\", \"br\"]\nlevel = 12",
            "compression.level = 12: must be a whole number from 0 to 11, the highest of br",
        ),
        (
            "[compression]\nalgorithms = [\"zstd\"]\nlevel = 20",
            "compression.level = 20: must be a whole number from 0 to 19, the highest of zstd",
        ),
        (
            "[compression]\nlevel = \"best\"",
            "must be a whole number from 0 to 9, the highest of gzip, not text",
        ),
        (
            "[compression]\nalgorithms = [\"br\", \"gzip\", \"br\"]",
            "compression.algorithms: \"br\" stands there twice",
        ),
        (
            "[compression]\nalgorithms = [\"deflate\"]",
            "compression.algorithms = \"deflate\": must be \"zstd\" or \"br\" or \"gzip\"",
        ),
    ]);
    for (algorithms, level) in [
        (r#"["gzip"]"#, 9),
        (r#"["br"]"#, 11),
        (r#"["zstd"]"#, 19),
        ("[]", 19),
    ] {
        let text = format!("[compression]\nalgorithms = {algorithms}\nlevel = {level}");
        assert_eq!(good(&text).compression.level, level);
    }
}

#[test]
fn what_only_looks_like_a_mistake_is_accepted() {
    for text in [
        "[server]\nhttp = [\"127.0.0.1:0\", \"127.0.0.1:0\"]",
        "[server]\nhttp = [\"127.0.0.1:80\", \"127.0.0.2:80\", \"[::1]:80\"]",
        "[server]\nhttps = []\n[tls]\nmode = \"off\"\nredirect = false",
        "[server]\nhttp = []",
        "[server]\nhosts = []",
        "[headers]\n\"X-Frame-Options\" = \"\"\nX-Gone = \"\"",
        "[compression]\nalgorithms = []",
        "[log]\nlevel = \"info,unibody=debug,hyper=OFF\"",
        "\u{feff}[server]\r\nworkers = 0x10\r\n",
    ] {
        good(text);
    }
}

#[test]
fn broken_syntax_does_not_hide_other_mistakes() {
    for (text, expected) in [
        (
            "[server]\nworkers = \nmax_bdy = 1",
            ["2: not TOML", "3: server.max_bdy"].as_slice(),
        ),
        (
            "[server]\nhosts = [\"a\"\ndrain = \"1s\"\n",
            &["2: not TOML: unclosed array"],
        ),
        (
            "[server]\nhosts = [\"a\" \"b\"]\ndrain = \"x\"",
            &["2: not TOML: missing comma", "3: server.drain"],
        ),
        (
            "[log]\nlevel = \"info\nformat = \"xml\"",
            &["2: not TOML", "3: log.format"],
        ),
        (
            "[log]\nlevel = \"info\"\nlevel = \"warn\"\nx = 1",
            &["3: not TOML: duplicate key", "4: log.x"],
        ),
        ("[server]\nmax_body = 20MiB\n", &["2: not TOML"]),
        ("a = \"\"\"\nb\n", &["1: not TOML"]),
        // What is missing may stand in the broken piece.
        ("[[route]]\npath = /\nfiles = \"public\"", &["2: not TOML"]),
        (
            "[tls]\nmode = \"files\"\n[[tls.files]\ncert = \"cert.pem\"",
            &["3: not TOML"],
        ),
    ] {
        let mistakes = bad(text);
        let lines: Vec<_> = mistakes.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{text}\n{mistakes}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(
                line.starts_with(&format!("config.toml:{expected}")),
                "{text}\n{line}"
            );
        }
    }
}

#[test]
fn a_message_stays_on_its_line_and_keeps_passwords() {
    let long = "x".repeat(500);
    for text in [
        format!("[server]\ndrain = \"\"\"a\n\u{7}{long}\"\"\""),
        format!("\"a\\n{long}\" = 1"),
        "[[upstream]]\nname = \"a\"\nservers = [\"https://u:hunter2@h\"]".to_owned(),
    ] {
        let mistakes = bad(&text);
        assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
        assert!(
            mistakes.len() < 400 && !mistakes.contains("hunter2"),
            "{mistakes}"
        );
    }
}

/// Every key notices a date, which is never right: so every key of the table is read.
#[test]
fn every_key_is_read() {
    fn written(table: &Table, name: &str) -> String {
        let heading = match table.path {
            "" => String::new(),
            path @ ("tls.files" | "upstream" | "rate_limit" | "route") => format!("[[{path}]]"),
            // The tables of a route need a route to stand in.
            path if path.starts_with("route.") => format!("[[route]]\npath = \"/\"\n[{path}]"),
            path if path.starts_with("upstream.") => format!("[[upstream]]\n[{path}]"),
            path => format!("[{path}]"),
        };
        format!("{heading}\n{name} = 1979-05-27\n")
    }
    for table in ROOT.walk() {
        for key in table.keys {
            let text = written(table, key.name);
            let mistakes = bad(&text);
            let path = table.path_of(key.name);
            let named = mistakes
                .lines()
                .any(|line| line.contains(&format!("{path} = ")));
            let is_refused = matches!(key.kind, Kind::Planned { .. });
            assert!(
                named || (is_refused && mistakes.contains(&path)),
                "{text}\n{mistakes}"
            );
            assert!(!mistakes.contains("unknown key"), "{text}\n{mistakes}");
        }
    }
}

#[track_caller]
fn each_is_one_mistake(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let mistakes = bad(text);
        assert!(
            mistakes.contains(expected),
            "{text}\n{mistakes}\nshould have\n{expected}"
        );
        assert_eq!(mistakes.lines().count(), 1, "{text}\n{mistakes}");
    }
}

proptest! {
    #[test]
    fn reading_never_panics(
        lines in proptest::collection::vec(
            ("(\\[\\[?)?[a-z_]{1,8}(\\]\\]?)?", "( = )?[\"\\[\\]{}$a-z0-9:/.=#,\\-\\PC]{0,12}"),
            0..6,
        )
    ) {
        let text: String = lines.into_iter().map(|(key, value)| key + &value + "\n").collect();
        let _ = parse(&text, Path::new("/nowhere"), &Environment::empty());
    }

    #[test]
    fn no_value_of_a_known_key_panics(index in 0_usize..200, value in "[\"\\[\\]{}$a-z0-9:/.\\PC]{0,12}") {
        let keys: Vec<_> = ROOT.walk().into_iter().flat_map(|table| {
            table.keys.iter().map(|key| table.path_of(key.name))
        }).collect();
        let text = format!("{} = {value}\n", keys[index % keys.len()]);
        let _ = parse(&text, Path::new("/nowhere"), &Environment::empty());
    }
}

#[test]
fn error_pages_are_files_for_errors() {
    each_is_one_mistake(&[
        (
            "[error_pages]\n200 = \"cert.pem\"",
            "error_pages.\"200\" = \"cert.pem\": is for no error; name a status from 400 to 599, 4xx or 5xx",
        ),
        (
            "[error_pages]\n3xx = \"cert.pem\"",
            "error_pages.\"3xx\" = \"cert.pem\": is for no error",
        ),
        (
            "[error_pages]\n0404 = \"cert.pem\"",
            "error_pages.\"0404\" = \"cert.pem\": is for no error",
        ),
        (
            "[error_pages]\n404 = \"none.html\"",
            "error_pages.\"404\" = \"none.html\": cannot open",
        ),
        (
            "[error_pages]\n5xx = \"public\"",
            "error_pages.\"5xx\" = \"public\":",
        ),
        (
            "error_pages = 5",
            "error_pages = 5: must be a table, [error_pages], not a number",
        ),
    ]);
}
