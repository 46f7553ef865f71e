//! Which file answers which path, and what does not answer at all.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::edge::files::answer::Failure;
use crate::edge::files::reader::Broken;
use crate::edge::files::root::OpenError;

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let site = Site::of(&[("a.txt", "")]);
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND",
    ] {
        let reply = site
            .ask(method.parse().unwrap(), "/static/a.txt", &[])
            .await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("allow")),
            (405, "GET, HEAD"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn directories_have_a_slash_and_an_index() {
    let site = Site::of(&[
        ("index.html", "root"),
        ("docs/index.html", "docs"),
        ("a b/index.html", "space"),
        ("x:y/index.html", "colon"),
        ("bare/file", "file"),
        ("index-is-a-directory/index.html/file", ""),
    ]);
    for (target, status, location, body) in [
        ("/static/", 200, "", "root"),
        ("/static", 301, "./static/", ""),
        ("/static?q=1", 301, "./static/?q=1", ""),
        ("/static/docs/", 200, "", "docs"),
        ("/static/docs/index.html", 200, "", "docs"),
        ("/static/docs", 301, "./docs/", ""),
        (
            "/static/docs?a=//evil.example&b",
            301,
            "./docs/?a=//evil.example&b",
            "",
        ),
        ("/static/a%20b", 301, "./a%20b/", ""),
        ("/static/x:y", 301, "./x:y/", ""),
        ("/static/bare", 404, "", ""),
        ("/static/bare/", 404, "", ""),
        ("/static/index-is-a-directory/", 404, "", ""),
        ("/static/docs/index.html/", 404, "", ""),
        ("/static//docs", 404, "", ""),
        ("/static//evil.example/", 404, "", ""),
    ] {
        let reply = site.get(target).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("location")),
            (status, location),
            "{target}"
        );
        assert_eq!(
            String::from_utf8(reply.body.clone()).unwrap(),
            body,
            "{target}"
        );
        if status == 301 {
            assert_eq!(reply.header("cache-control"), "no-cache", "{target}");
        }
    }
}

#[tokio::test]
async fn what_must_not_be_served_is_missing() {
    let site = Site::of(&[
        ("a.txt", "a"),
        (".env", "secret"),
        (".git/config", "secret"),
        ("sub/.htpasswd", "secret"),
        (".well-known/security.txt", "Contact"),
    ]);
    symlink("/etc/passwd", site.dir.path().join("passwd")).unwrap();
    symlink("a.txt", site.dir.path().join("link")).unwrap();
    nix::unistd::mkfifo(&site.dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (target, status) in [
        ("/static/a.txt", 200),
        ("/static/link", 200),
        ("/static/.well-known/security.txt", 200),
        ("/static/.env", 404),
        ("/static/%2eenv", 404),
        ("/static/.git/config", 404),
        ("/static/sub/.htpasswd", 404),
        ("/static/passwd", 404),
        ("/static/fifo", 404),
        ("/static/../../etc/passwd", 404),
        ("/static/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/static/..%2f..%2fetc/passwd", 404),
        ("/static/a.txt%00.html", 404),
        ("/static/a.txt/", 404),
        ("/static/%zz", 400),
    ] {
        let reply = site.get(target).await;
        assert_eq!(reply.status, status, "{target}");
        assert!(
            reply.status == 200 || reply.body.is_empty() && reply.headers.is_empty(),
            "{target}"
        );
    }
}

#[tokio::test]
async fn the_spa_file_answers_unknown_paths() {
    let files = [
        ("index.html", "app"),
        ("main.js", "js"),
        ("dir/file", ""),
        ("404.html", "gone"),
    ];
    let site = Site::with(&files, Some("index.html"), Some("max-age=60"));
    for (target, status, body, cache_control) in [
        ("/static/", 200, "app", "max-age=60"),
        ("/static/main.js", 200, "js", "max-age=60"),
        ("/static/notes/1", 200, "app", "no-cache"),
        ("/static/notes/", 200, "app", "no-cache"),
        ("/static/old.js", 200, "app", "no-cache"),
        ("/static/dir", 200, "app", "no-cache"),
        ("/static/dir/", 200, "app", "no-cache"),
        ("/static/.git/config", 404, "gone", "no-cache"),
        ("/static/%2e%2e/x", 404, "gone", "no-cache"),
    ] {
        let reply = site.get(target).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("cache-control")),
            (status, cache_control),
            "{target}"
        );
        assert_eq!(reply.body, body.as_bytes(), "{target}");
    }
    let tag = site.settled_tag("/static/notes/1").await;
    let reply = site
        .ask(Method::GET, "/static/notes/1", &[("if-none-match", &tag)])
        .await;
    assert_eq!(reply.status, 304);
}

#[tokio::test]
async fn a_name_with_a_hash_is_for_ever_where_the_route_says_so() {
    const FOR_EVER: &str = "max-age=31536000, immutable";
    let files = [
        ("index.html", ""),
        ("app.js", ""),
        ("assets/app.3f9a1c2b.js", ""),
        ("assets/page.3f9a1c2b.html", ""),
    ];
    let mut site = Site::with(&files, Some("index.html"), None);
    for (immutable, cache_control, target, expected) in [
        (true, None, "/static/assets/app.3f9a1c2b.js", FOR_EVER),
        (true, None, "/static/assets/page.3f9a1c2b.html", FOR_EVER),
        (true, None, "/static/app.js", "max-age=0, must-revalidate"),
        (true, None, "/static/", "no-cache"),
        // The page that stands in for a file that is gone must not stay for a year.
        (true, None, "/static/assets/app.00000a2b.js", "no-cache"),
        (true, Some("max-age=60"), "/static/app.js", "max-age=60"),
        (
            true,
            Some("max-age=60"),
            "/static/assets/app.3f9a1c2b.js",
            FOR_EVER,
        ),
        (
            false,
            None,
            "/static/assets/app.3f9a1c2b.js",
            "max-age=0, must-revalidate",
        ),
    ] {
        let config = Files {
            immutable,
            ..config(site.dir.path(), Some("index.html"), cache_control)
        };
        site.files = open(&config).unwrap();
        let reply = site.get(target).await;
        assert_eq!(reply.header("cache-control"), expected, "{target}");
    }
}

#[tokio::test]
async fn a_page_of_the_root_answers_for_what_is_missing() {
    let site = Site::with(
        &[("404.html", "gone")],
        None,
        Some("max-age=31536000, immutable"),
    );
    let fields = [
        ("if-none-match", "*"),
        ("if-match", "\"x\""),
        ("range", "bytes=0-0"),
    ];
    for fields in [&[][..], &fields] {
        let reply = site.ask(Method::GET, "/static/missing", fields).await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.as_slice()),
            (404, b"gone".as_slice())
        );
        assert_eq!(
            reply.names(),
            ["cache-control", "content-length", "content-type"]
        );
        assert_eq!(reply.header("cache-control"), "no-cache");
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    }
    assert_eq!(site.get("/static/404.html").await.status, 200);
}

#[test]
fn a_route_that_cannot_work_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("index.html"), "").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    for (spa, hint) in [
        ("missing.html", "\"missing.html\" is no file"),
        ("sub", "\"sub\" is no file"),
        ("../index.html", "no path below the root"),
        (".env", "no path below the root"),
    ] {
        let error = open(&config(dir.path(), Some(spa), None)).err().unwrap();
        assert!(format!("{error:#}").contains(hint), "{spa}: {error:#}");
    }
    let error = open(&config(&dir.path().join("missing"), None, None))
        .err()
        .unwrap();
    assert!(
        format!("{error:#}").contains("missing: create the directory"),
        "{error:#}"
    );
    assert!(open(&config(dir.path(), Some("index.html"), None)).is_ok());
}

#[test]
fn failures_have_their_status() {
    let io = || std::io::Error::from(std::io::ErrorKind::Other);
    for (failure, status, retry_after) in [
        (OpenError::Denied.into(), 403, false),
        (OpenError::Exhausted(io()).into(), 503, true),
        (OpenError::Failed(io()).into(), 500, false),
        (Broken::Shrank.into(), 503, true),
        (Broken::Rewritten.into(), 503, true),
        (Broken::Failed(io()).into(), 500, false),
    ] {
        let failure: Failure = failure;
        let answer = failure.answer(&Uri::from_static("/static/a.txt"));
        assert_eq!(answer.status(), status, "{failure}");
        assert_eq!(
            answer.headers().contains_key("retry-after"),
            retry_after,
            "{failure}"
        );
    }
}
