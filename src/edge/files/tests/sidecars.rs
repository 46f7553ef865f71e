//! Encodings that the owner has put beside a file.

use std::fs;
use std::time::{Duration, SystemTime};

use super::*;

const SCRIPT: &str = "let a;";

/// `app.js` with sidecars that say which they are; real ones decode to the script.
fn site() -> Site {
    let site = Site::of(&[
        ("app.js", SCRIPT),
        ("app.js.br", "br"),
        ("app.js.gz", "gzip"),
        ("photo.jpg", "jpeg"),
        ("photo.jpg.gz", "gzip of jpeg"),
        ("empty.js", SCRIPT),
        ("empty.js.br", ""),
        ("dir.js", SCRIPT),
        ("dir.js.br/file", ""),
        ("sub/index.html", "<p>"),
        ("sub/index.html.br", "br of page"),
    ]);
    for entry in [
        "app.js",
        "photo.jpg",
        "empty.js",
        "dir.js",
        "sub/index.html",
    ] {
        age(&site.at(entry), 2);
    }
    site
}

fn age(path: &Path, hours: u64) {
    let time = SystemTime::now() - Duration::from_hours(hours);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[tokio::test]
async fn the_best_that_the_client_takes_is_sent() {
    let site = site();
    for (target, accepted, coding, body) in [
        ("/static/app.js", "br, gzip", "br", "br"),
        ("/static/app.js", "gzip;q=1, br;q=0.5", "gzip", "gzip"),
        ("/static/app.js", "gzip", "gzip", "gzip"),
        ("/static/app.js", "zstd", "", SCRIPT),
        ("/static/app.js", "br;q=0", "", SCRIPT),
        ("/static/app.js", "identity, br;q=0.5", "", SCRIPT),
        ("/static/app.js", "", "", SCRIPT),
        ("/static/photo.jpg", "gzip", "gzip", "gzip of jpeg"),
        ("/static/empty.js", "br", "", SCRIPT),
        ("/static/dir.js", "br", "", SCRIPT),
        ("/static/sub/", "br", "br", "br of page"),
    ] {
        let fields = [("accept-encoding", accepted)];
        let reply = site.ask(Method::GET, target, &fields).await;
        assert_eq!(
            (reply.header("content-encoding"), reply.body.as_slice()),
            (coding, body.as_bytes()),
            "{target} for {accepted:?}"
        );
        assert_eq!(reply.header("content-length"), body.len().to_string());
        let has_sidecar = !target.contains("empty") && !target.contains("dir.js");
        let vary = if has_sidecar { "Accept-Encoding" } else { "" };
        assert_eq!(reply.header("vary"), vary, "{target}");
    }
    let reply = site
        .ask(Method::GET, "/static/app.js", &[("accept-encoding", "br")])
        .await;
    assert_eq!(
        reply.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    let itself = site.get("/static/app.js.br").await;
    assert_eq!(
        (itself.header("content-encoding"), itself.body.as_slice()),
        ("", b"br".as_slice())
    );
}

#[tokio::test]
async fn a_sidecar_older_than_its_file_is_not_used() {
    let site = site();
    let fields = [("accept-encoding", "br, gzip")];
    for (what, hours, coding) in [
        ("older", 3, "gzip"),
        ("of the same time", 2, "br"),
        ("newer", 1, "br"),
    ] {
        age(&site.at("app.js.br"), hours);
        let file = fs::metadata(site.at("app.js")).unwrap().modified().unwrap();
        if hours == 2 {
            let sidecar = fs::File::options()
                .write(true)
                .open(site.at("app.js.br"))
                .unwrap();
            sidecar.set_modified(file).unwrap();
        }
        let reply = site
            .ask_until("/static/app.js", &fields, |reply| {
                reply.header("content-encoding") == coding
            })
            .await;
        assert_eq!(reply.status, 200, "{what}");
    }
}

#[tokio::test]
async fn sidecars_that_come_change_and_go_are_noticed() {
    let site = Site::of(&[("app.js", SCRIPT)]);
    age(&site.at("app.js"), 2);
    let fields = [("accept-encoding", "br")];
    let is_br = |reply: &Reply| reply.header("content-encoding") == "br";
    let plain = site.kept("/static/app.js", &fields).await;
    assert!(!is_br(&plain));
    fs::write(site.at("app.js.br"), "one").unwrap();
    let one = site.ask_until("/static/app.js", &fields, is_br).await;
    assert!(!plain.freshness.as_ref().unwrap().is_fresh());
    fs::write(site.at("app.js.br"), "two").unwrap();
    let two = site
        .ask_until("/static/app.js", &fields, |reply| reply.body == b"two")
        .await;
    assert_ne!(one.header("etag"), two.header("etag"));
    fs::remove_file(site.at("app.js.br")).unwrap();
    let gone = site
        .ask_until("/static/app.js", &fields, |reply| !is_br(reply))
        .await;
    assert_eq!(gone.body, SCRIPT.as_bytes());
    assert_eq!(gone.header("etag"), plain.header("etag"));
}

#[tokio::test]
async fn each_representation_has_its_tag_and_its_parts() {
    let site = site();
    let target = "/static/app.js";
    let tag = async |accepted: &str| {
        let fields = [("accept-encoding", accepted)];
        let reply = site.kept(target, &fields).await;
        reply.header("etag").to_owned()
    };
    let (plain, br, gzip) = (tag("").await, tag("br").await, tag("gzip").await);
    assert!(
        plain != br && br != gzip && gzip != plain,
        "{plain} {br} {gzip}"
    );
    let both = format!("{plain}, {br}");
    for (accepted, name, value, status, coding, body, why) in [
        (
            "br",
            "if-none-match",
            &br,
            304,
            "",
            "",
            "it has what it would get",
        ),
        (
            "gzip, br",
            "if-none-match",
            &gzip,
            304,
            "",
            "",
            "it has another that it takes",
        ),
        (
            "gzip, br",
            "if-none-match",
            &plain,
            304,
            "",
            "",
            "the plain one is always taken",
        ),
        (
            "gzip",
            "if-none-match",
            &br,
            200,
            "gzip",
            "gzip",
            "what it has it takes no more",
        ),
        ("", "if-none-match", &br, 200, "", SCRIPT, "neither here"),
        ("br", "if-none-match", &both, 304, "", "", "one of them"),
        (
            "br, gzip",
            "if-match",
            &gzip,
            200,
            "gzip",
            "gzip",
            "it insists on this one",
        ),
        (
            "br",
            "if-match",
            &plain,
            200,
            "",
            SCRIPT,
            "or on the plain one",
        ),
        ("br", "if-match", &gzip, 412, "", "", "but takes no gzip"),
        (
            "br",
            "range",
            &"bytes=1-".to_owned(),
            206,
            "",
            &SCRIPT[1..],
            "a part of what? the plain one",
        ),
    ] {
        let fields = [("accept-encoding", accepted), (name, value)];
        let reply = site.ask(Method::GET, target, &fields).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("content-encoding")),
            (status, coding),
            "{why}"
        );
        assert_eq!(reply.body, body.as_bytes(), "{why}");
        if status == 304 {
            assert!(value.contains(reply.header("etag")), "{why}");
            assert_eq!(reply.header("vary"), "Accept-Encoding", "{why}");
        }
    }
}

#[tokio::test]
async fn a_part_is_of_what_the_client_says() {
    let site = site();
    let target = "/static/app.js";
    let tag = async |accepted: &str| {
        let fields = [("accept-encoding", accepted)];
        let reply = site.kept(target, &fields).await;
        reply.header("etag").to_owned()
    };
    let (plain, br) = (tag("").await, tag("br").await);
    for (if_range, accepted, status, coding, body) in [
        (&br, "br", 206, "br", "r"),
        (&plain, "br", 206, "", &SCRIPT[1..]),
        (&br, "gzip", 200, "", SCRIPT),
        (&"\"other\"".to_owned(), "br", 200, "", SCRIPT),
    ] {
        let fields = [
            ("accept-encoding", accepted),
            ("range", "bytes=1-"),
            ("if-range", if_range),
        ];
        let reply = site.ask(Method::GET, target, &fields).await;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.header("content-encoding"),
                reply.body.as_slice()
            ),
            (status, coding, body.as_bytes()),
            "{if_range} for {accepted}"
        );
    }
}
