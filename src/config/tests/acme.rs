//! `[acme]`, and what `tls.mode = "acme"` needs.

use super::*;
use crate::config::{AcmeStorage, Challenge};

const MODE: &str = "[tls]\nmode = \"acme\"\n";

fn with_hosts(hosts: &str, rest: &str) -> String {
    format!("[server]\nhosts = [{hosts}]\n{MODE}{rest}")
}

#[test]
fn every_key_reads() {
    let acme = good(&with_hosts(
        r#""a.example.com""#,
        "[acme]\ndirectory = \"https://ca.test:14000/dir\"\nemail = \"a@b.test\"\nchallenges = [\"http-01\"]\n\
         profile = \"shortlived\"\neab_kid = \"kid\"\neab_hmac_key = \"c2VjcmV0\"\nstorage = \"database\"\nwebhook = \"\"",
    ))
    .acme;
    assert_eq!(acme.directory, "https://ca.test:14000/dir");
    assert_eq!(acme.email.as_deref(), Some("a@b.test"));
    assert_eq!(acme.challenges, [Challenge::Http01]);
    assert_eq!(acme.profile.as_deref(), Some("shortlived"));
    assert_eq!(acme.storage, AcmeStorage::Database);
    assert_eq!(acme.eab.unwrap().kid, "kid");
    for (word, host) in [
        ("letsencrypt", "acme-v02.api.letsencrypt.org"),
        (
            "letsencrypt-staging",
            "acme-staging-v02.api.letsencrypt.org",
        ),
    ] {
        let acme = good(&format!("[acme]\ndirectory = \"{word}\"")).acme;
        assert!(acme.directory.contains(host), "{}", acme.directory);
    }
}

#[test]
fn each_name_gets_one_certificate() {
    let config = good(&with_hosts(
        r#""B.example.com", "bücher.example.com", "[2001:db8::1]""#,
        "[acme]\ndirectory = \"https://ca.test/dir\"\n\
         [[route]]\nhost = \"b.example.com\"\npath = \"/\"\napp = true",
    ));
    let expected = ["b.example.com", "xn--bcher-kva.example.com", "2001:db8::1"];
    assert_eq!(config.acme_hosts(), expected);
    let routed = "[server]\nhosts = []\n[tls]\nmode = \"acme\"\n[[route]]\nhost = \"r.example.com\"\npath = \"/\"\napp = true";
    assert_eq!(good(routed).acme_hosts(), ["r.example.com"]);
}

#[test]
fn what_no_ca_can_certify_is_refused_with_the_reason() {
    let private = "[acme]\ndirectory = \"https://ca.test/dir\"";
    let table = [
        (r#""*.example.com""#, private, "cannot prove *.example.com"),
        (
            r#""192.0.2.1", "[2001:db8::1]""#,
            private,
            "name one of 192.0.2.1 and 2001:db8::1",
        ),
        ("", private, "needs the names"),
        (r#""localhost""#, "", "localhost: is no public name"),
        (r#""notes.local""#, "", "notes.local: is no public name"),
        (r#""intranet""#, "", "intranet: is no public name"),
        (
            r#""10.0.0.1""#,
            "",
            "no public CA certifies a private address",
        ),
        (r#""8.8.8.8""#, "", "write acme.profile = \"shortlived\""),
        (
            r#""localhost""#,
            "[acme]\ndirectory = \"https://acme.zerossl.com/v2/DV90\"",
            "is no public name",
        ),
    ];
    for (hosts, rest, expected) in table {
        let mistakes = bad(&with_hosts(hosts, rest));
        assert!(mistakes.contains(expected), "{hosts}: {mistakes}");
    }
    good(&with_hosts(
        r#""localhost", "10.0.0.1", "intranet""#,
        private,
    ));
    good(&with_hosts(
        r#""8.8.8.8""#,
        "[acme]\nprofile = \"shortlived\"",
    ));
}

#[test]
fn values_that_cannot_work_are_refused() {
    let table = [
        ("directory = \"http://ca.test/dir\"", "https:// URL"),
        ("directory = \"letsencript\"", "https:// URL"),
        ("email = \"admin\"", "not an e-mail address"),
        ("email = \"a@b.test?subject=x\"", "not an e-mail address"),
        ("challenges = []", "must not be empty"),
        (
            "challenges = [\"dns-01\"]",
            "\"tls-alpn-01\" or \"http-01\"",
        ),
        ("ca_file = \"missing.pem\"", "cannot open"),
        ("eab_kid = \"kid\"", "needs eab_hmac_key"),
        ("eab_hmac_key = \"c2VjcmV0\"", "needs eab_kid"),
        (
            "eab_kid = \"kid\"\neab_hmac_key = \"no key\"",
            "not base64url",
        ),
    ];
    for (line, expected) in table {
        let mistakes = bad(&format!("[acme]\n{line}"));
        assert!(mistakes.contains(expected), "{line}: {mistakes}");
    }
    let no_plain = "[server]\nhttp = []\nhosts = [\"a.example.com\"]\n[tls]\nmode = \"acme\"\n[acme]\nchallenges = [\"http-01\"]";
    assert!(bad(no_plain).contains("needs a plain listener"));
}

#[test]
fn the_hmac_key_is_not_printed() {
    let config = good("[acme]\neab_kid = \"kid\"\neab_hmac_key = \"hunter22\"");
    let printed = config.effective_toml();
    assert!(printed.contains("eab_kid = \"kid\"") && !printed.contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn of_the_webhook_only_its_host_is_printed() {
    let config = good("[acme]\nwebhook = \"https://hooks.test/hunter2\"");
    let printed = config.effective_toml();
    assert!(
        printed.contains("webhook = \"https://hooks.test/***\""),
        "{printed}"
    );
    assert!(!format!("{config:?}").contains("hunter2"));
    for url in ["ftp://a.test/", "hooks.test", "https://u:p@a.test/"] {
        let mistakes = bad(&format!("[acme]\nwebhook = \"{url}\""));
        assert!(mistakes.contains("acme.webhook"), "{mistakes}");
        assert!(!mistakes.contains(url), "{mistakes}");
    }
}
