//! What commands read that ask the running server.

use crate::config::tests::site;
use crate::config::{
    Config, Environment, Reach, load_admin, load_mask, load_or_default, load_reach,
};

/// `text` as a file, with what is wrong in one place only.
fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let site = site();
    let path = site.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    (site, path)
}

const ADMIN: &str = "[server]\nadmin = \"127.0.0.1:1\"\n";

#[test]
fn mistakes_elsewhere_keep_nobody_from_asking() {
    for (rest, why) in [
        ("max_body = \"much\"", "a wrong value beside it"),
        ("drian = \"5s\"", "an unknown key beside it"),
        ("hosts = [\"a b\"]", "a name"),
        (
            "data_dir = \"${NOBODY_SET_THIS}\"",
            "a variable of another key",
        ),
        ("[sevrices]\na = 1", "an unknown table"),
        ("[app]\nauth = \"token\"", "a key of a later version"),
        (
            "[[route]]\npath = \"/\"\nfiles = \"nowhere\"",
            "a directory",
        ),
        ("[[route]]\npath = \"/", "no TOML below it"),
        ("hosts = [\"a\"\nmax_body = 1", "no TOML beside it"),
        ("[tls", "a heading"),
    ] {
        let (_site, path) = file(&format!("{ADMIN}{rest}"));
        let environment = Environment::empty();
        load_or_default(Some(&path), &environment).expect_err(why);
        let admin = load_admin(Some(&path), &environment);
        assert_eq!(admin, Ok(Some("127.0.0.1:1".parse().unwrap())), "{why}");
    }
}

#[test]
fn where_the_address_itself_is_in_doubt_every_mistake_is_told() {
    for (text, expected, why) in [
        ("[server]\nadmin = \"9180\"", "server.admin", "no address"),
        (
            "[server]\nadmin = \"${NOBODY_SET_THIS}\"",
            "NOBODY_SET_THIS",
            "no variable",
        ),
        (
            "[server]\nadmni = \"127.0.0.1:1\"",
            "did you mean admin?",
            "misspelt",
        ),
        (
            "[sever]\nadmin = \"127.0.0.1:1\"",
            "did you mean server?",
            "misspelt above",
        ),
        (
            "[server\nadmin = \"127.0.0.1:1\"",
            "not TOML",
            "lost with its heading",
        ),
        ("[server]\nadmin = \"127.0.0.1:1", "not TOML", "broken"),
        ("server = 5", "must be a table", "no table"),
    ] {
        let (_site, path) = file(&format!("{text}\n[log]\nlevel = 5"));
        let environment = Environment::empty();
        let strict = load_or_default(Some(&path), &environment).expect_err(why);
        let told = load_admin(Some(&path), &environment).expect_err(why);
        assert!(told.to_string().contains(expected), "{why}: {told}");
        assert_eq!(told, strict, "{why}");
    }
}

#[test]
fn what_is_hidden_is_known_whatever_the_file_is_like() {
    let usual = Config::default_for(site().path()).log.mask;
    for (text, expected, why) in [
        ("[log]\nmask = [\"X-Mine\"]", Some("x-mine"), "all is well"),
        (
            "[log]\nmask = [\"X-Mine\"]\nlevel = 5\n[sevrices]\na = 1",
            Some("x-mine"),
            "mistakes elsewhere",
        ),
        ("[log]\nmask = 5", None, "a mistake in it"),
        ("[log]\nmask = [\"X-Mine", None, "no TOML"),
        ("[log\nmask = [\"X-Mine\"]", None, "lost with its heading"),
        ("", None, "the default"),
    ] {
        let (_site, path) = file(text);
        let mask = load_mask(Some(&path), &Environment::empty());
        match expected {
            Some(name) => assert_eq!(mask.names(), [name], "{why}"),
            None => assert_eq!(mask, usual, "{why}"),
        }
    }
    let nowhere = site().path().join("nowhere.toml");
    assert_eq!(load_mask(Some(&nowhere), &Environment::empty()), usual);
}

#[test]
fn listeners_are_read_as_a_whole_file_says_them() {
    for (text, rest) in [
        ("", "\n[log]\nlevel = 5"),
        (
            "[server]\nhttp = [\"127.0.0.1:1\"]\nhosts = [\"a.test\"]\n[tls]\nmode = \"off\"",
            "\nhsts = 7",
        ),
        (
            "[server]\nhttps = [\"127.0.0.1:1\"]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]",
            "\nmax_body = 0",
        ),
        (
            "[tls]\nmode = \"files\"\n[[tls.files]]\nhosts = [\"a.test\"]\ncert = \"cert.pem\"\nkey = \"key.pem\"",
            "\nkeys = [",
        ),
    ] {
        let (_site, path) = file(text);
        let environment = Environment::empty();
        let config: Config = load_or_default(Some(&path), &environment).unwrap();
        let expected = Reach::from(&config);
        assert_eq!(load_reach(Some(&path), &environment), Ok(expected.clone()));
        std::fs::write(&path, format!("{text}{rest}")).unwrap();
        load_or_default(Some(&path), &environment).expect_err(rest);
        assert_eq!(
            load_reach(Some(&path), &environment),
            Ok(expected),
            "{rest}"
        );
    }
    for text in [
        "[server]\nhtpp = [\"[::]:80\"]",
        "[server]\nhttp = [80]",
        "[tls]\nmode = \"sometimes\"",
    ] {
        let (_site, path) = file(text);
        load_reach(Some(&path), &Environment::empty()).expect_err(text);
    }
}
