//! Files, the environment, secrets.

use std::path::PathBuf;

use super::*;
use crate::config::{Action, Secret, UpstreamAddress, load, load_or_default};

#[test]
fn relative_paths_begin_where_the_file_lies() {
    let site = site();
    let file = site.path().join("config.toml");
    let text = r#"
        [server]
        data_dir = "state"
        [tls]
        mode = "files"
        [[tls.files]]
        cert = "cert.pem"
        key = "key.pem"
        [[upstream]]
        name = "app"
        servers = ["unix:app.sock"]
        [[route]]
        path = "/"
        files = "public"
    "#;
    std::fs::write(&file, text).unwrap();
    let config = load(&file, &Environment::empty()).unwrap();
    let socket = &config.upstreams["app"].servers[0].address;
    assert_eq!(config.server.data_dir, site.path().join("state"));
    assert_eq!(config.tls.certs_dir, site.path().join("certs"));
    assert_eq!(*socket, UpstreamAddress::Unix(site.path().join("app.sock")));
    assert!(matches!(&config.routes[0].action,
        Action::Files(files) if files.root == site.path().join("public")));
}

#[test]
fn paths_are_absolute_even_when_the_file_is_named_relatively() {
    let config = load(Path::new("config.toml"), &Environment::empty()).unwrap();
    assert_eq!(
        config.tls.certs_dir,
        std::env::current_dir().unwrap().join("certs")
    );
}

#[test]
fn a_named_file_must_be_there() {
    let missing = site().path().join("missing.toml");
    let mistakes = load_or_default(Some(&missing), &Environment::empty()).unwrap_err();
    let expected = format!(
        "{}: no such file; name another with --config",
        missing.display()
    );
    assert_eq!(mistakes.to_string(), expected);
}

#[test]
fn what_cannot_be_read_is_a_mistake() {
    let site = site();
    let latin = site.path().join("latin.toml");
    std::fs::write(&latin, b"# caf\xe9").unwrap();
    for (file, expected) in [
        (latin, "not UTF-8"),
        (site.path().to_owned(), "cannot be read"),
    ] {
        let mistakes = load(&file, &Environment::empty()).unwrap_err();
        assert!(mistakes.to_string().contains(expected), "{mistakes}");
    }
}

#[test]
fn variables_are_filled_in_everywhere() {
    let environment = Environment::from([
        ("PORT", "81"),
        ("WORKERS", "3"),
        ("MIGRATE", "false"),
        ("SITE", "a.example"),
        ("CSP", "x"),
    ]);
    let text = r#"
        [server]
        http = ["127.0.0.1:${PORT}"]
        workers = "${WORKERS}"
        hosts = ["${SITE}"]
        max_body = "${BODY:-1MiB}"
        [database]
        migrate = "${MIGRATE}"
        [headers]
        "X-A" = "${CSP}$$"
    "#;
    let config = parse(text, site().path(), &environment).unwrap();
    assert_eq!(config.server.http, ["127.0.0.1:81".parse().unwrap()]);
    assert_eq!(config.server.workers, 3);
    assert_eq!(config.server.hosts[0].to_string(), "a.example");
    assert_eq!(config.server.max_body, 1 << 20);
    assert!(!config.database.migrate);
    assert_eq!(config.headers.last().unwrap().1, "x$");
}

#[test]
fn a_value_from_the_environment_is_not_shown() {
    let environment = Environment::from([("A", "hunter2")]);
    let text = "[server]\nmax_body = \"${A}\"\nworkers = \"${A}\"\nhosts = [\"x ${A}\"]\n\
                [log]\naccess = \"${A}\"\n[database]\nurl = \"${A}\"\nmigrate = \"${A}\"\n\
                [app]\nauth = \"${A}\"";
    let mistakes = parse(text, site().path(), &environment).unwrap_err();
    assert_eq!(mistakes.iter().count(), 7, "{mistakes}");
    assert!(!mistakes.to_string().contains("hunter2"), "{mistakes}");
}

#[test]
fn the_database_url_comes_from_the_nearest_place() {
    let site = site();
    let (key, file) = ("url = \"postgres://u:p@key/db\"", "url_file = \"url\"");
    let (of_key, of_file) = ("postgres://u:p@key/db", "postgres://u:p@file/db");
    for (written, line_break, variable, expected, why) in [
        ("", "", "", None, "nothing: embedded"),
        ("url = \"\"", "", "", None, "empty: embedded"),
        (key, "", "", Some(of_key), "the key"),
        (
            key,
            "",
            "postgres://v/db",
            Some("postgres://v/db"),
            "the variable wins over the key",
        ),
        (
            file,
            "",
            "postgres://v/db",
            Some("postgres://v/db"),
            "and over the file",
        ),
        (file, "", "", Some(of_file), "the file"),
        (
            file,
            "\n",
            "",
            Some(of_file),
            "the file without its line break",
        ),
        (
            file,
            "\r\n",
            "",
            Some(of_file),
            "the file without the line break of Windows",
        ),
    ] {
        std::fs::write(site.path().join("url"), of_file.to_owned() + line_break).unwrap();
        let environment = Environment::from([("DATABASE_URL", variable)]);
        let config = parse(&format!("[database]\n{written}"), site.path(), &environment);
        let url = config.unwrap().database.url;
        assert_eq!(url.as_ref().map(Secret::reveal), expected, "{why}");
    }
}

#[test]
fn the_database_url_may_be_in_a_file_that_a_variable_names() {
    let site = site();
    let file = site.path().join("mounted");
    std::fs::write(&file, "postgres://u:p@mounted/db\n").unwrap();
    let wrong = site.path().join("wrong");
    std::fs::write(&wrong, "hunter2").unwrap();
    let text = "[database]\nurl = \"postgres://u:p@key/db\"";
    for (variable, named, expected, why) in [
        ("", &file, Ok("postgres://u:p@mounted/db"), "over the key"),
        (
            "postgres://v/db",
            &file,
            Ok("postgres://v/db"),
            "the URL itself is nearer",
        ),
        (
            "",
            &site.path().join("none"),
            Err("DATABASE_URL_FILE: cannot read"),
            "no file",
        ),
        (
            "",
            &wrong,
            Err("DATABASE_URL_FILE: not a PostgreSQL URL"),
            "no URL in it",
        ),
    ] {
        let named = named.to_str().unwrap();
        let environment =
            Environment::from([("DATABASE_URL", variable), ("DATABASE_URL_FILE", named)]);
        match (parse(text, site.path(), &environment), expected) {
            (Ok(config), Ok(expected)) => {
                let url = config.database.url;
                assert_eq!(url.as_ref().map(Secret::reveal), Some(expected), "{why}");
            }
            (Err(mistakes), Err(expected)) => {
                let mistakes = mistakes.to_string();
                assert!(mistakes.starts_with(expected), "{why}: {mistakes}");
                assert!(!mistakes.contains("hunter2"), "{mistakes}");
            }
            (outcome, _) => panic!("{why}: {outcome:?}"),
        }
    }
}

#[test]
fn a_secret_has_one_place() {
    let site = site();
    let secret: PathBuf = site.path().join("url");
    std::fs::write(&secret, "postgres://u:hunter2@h/db").unwrap();
    for (text, expected) in [
        (
            "url = \"postgres://h/a\"\nurl_file = \"url\"",
            "config.toml:3: database.url_file: url is set as well",
        ),
        (
            "url_file = \"missing\"",
            "config.toml:2: database.url_file = \"missing\": cannot read",
        ),
        ("url_file = \"cert.pem\"", "not a PostgreSQL URL"),
        (
            "url = \"mysql://u:hunter2@h\"",
            "config.toml:2: database.url = ***: not a PostgreSQL URL",
        ),
        ("url = 5", "config.toml:2: database.url = ***: must be text"),
        (
            "urll = \"postgres://u:hunter2@h\"",
            "config.toml:2: database.urll: unknown key; did you mean url?",
        ),
    ] {
        let text = format!("[database]\n{text}");
        let mistakes = parse(&text, site.path(), &Environment::empty())
            .unwrap_err()
            .to_string();
        assert!(mistakes.contains(expected), "{text}: {mistakes}");
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }
    let environment = Environment::from([("DATABASE_URL", "hunter2")]);
    let mistakes = parse("", site.path(), &environment)
        .unwrap_err()
        .to_string();
    assert!(
        mistakes.starts_with("DATABASE_URL: not a PostgreSQL URL"),
        "{mistakes}"
    );
    assert!(!mistakes.contains("hunter2"), "{mistakes}");
}
