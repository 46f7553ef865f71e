//! The assembled way of a request, on real files.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::BodyExt;

use super::*;
use crate::edge::reply::Body;

/// A directory served under `/static/`.
struct Site {
    dir: tempfile::TempDir,
    files: StaticFiles,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Site {
    /// Serves `files`, given as path and content.
    fn of(files: &[(&str, &str)]) -> Self {
        Self::with(files, None, None)
    }

    fn with(
        files: &[(&str, &str)],
        spa: Option<&str>,
        cache_control: Option<&'static str>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let files = StaticFiles::open(&config(dir.path(), spa, cache_control)).unwrap();
        Self { dir, files }
    }

    async fn get(&self, target: &str) -> Reply {
        self.ask(Method::GET, target, &[]).await
    }

    async fn ask(&self, method: Method, target: &str, fields: &[(&str, &str)]) -> Reply {
        let (uri, headers) = request(target, fields);
        let rest = uri.path().strip_prefix("/static").unwrap();
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let answer = self.files.answer(&method, &headers, &uri, rest).await;
        let (head, body) = answer.into_parts();
        let body = match body {
            Body::Empty => Vec::new(),
            Body::Full(bytes) => bytes.to_vec(),
            Body::Stream(body) => body.collect().await.unwrap().to_bytes().to_vec(),
        };
        Reply {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// The entity tag of a file that has rested for longer than the file system's clock ticks: two
    /// answers agree on it.
    async fn settled_tag(&self, target: &str) -> String {
        let mut tag = self.get(target).await.header("etag").to_owned();
        loop {
            let again = self.get(target).await.header("etag").to_owned();
            if again == tag {
                return tag;
            }
            tag = again;
        }
    }
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }
}

fn config(root: &Path, spa: Option<&str>, cache_control: Option<&'static str>) -> Files {
    Files {
        root: root.to_owned(),
        spa: spa.map(str::to_owned),
        cache_control: cache_control.map(HeaderValue::from_static),
    }
}

fn request(target: &str, fields: &[(&str, &str)]) -> (Uri, HeaderMap) {
    let mut request = http::Request::get(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    (head.uri, head.headers)
}

#[tokio::test]
async fn a_file_is_answered_with_what_a_client_needs_to_know() {
    let site = Site::of(&[("app.js", "let a;"), ("index.html", "<p>")]);
    let reply = site.get("/static/app.js?v=1").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, b"let a;");
    assert_eq!(
        reply.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    assert_eq!(reply.header("content-length"), "6");
    assert_eq!(reply.header("accept-ranges"), "bytes");
    assert_eq!(reply.header("cache-control"), "max-age=0, must-revalidate");
    assert!(reply.header("etag").starts_with('"') && reply.header("etag").len() == 18);
    assert!(reply.header("last-modified").ends_with(" GMT"));
    let page = site.get("/static/").await;
    assert_eq!(
        (page.status, page.body.as_slice()),
        (StatusCode::OK, b"<p>".as_slice())
    );
    assert_eq!(page.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let site = Site::of(&[
        ("a.txt", "content"),
        ("404.html", "gone"),
        ("d/index.html", ""),
    ]);
    for target in [
        "/static/a.txt",
        "/static/missing",
        "/static/d",
        "/static/d/",
    ] {
        site.settled_tag("/static/d/").await;
        let get = site.get(target).await;
        let head = site
            .ask(Method::HEAD, target, &[("range", "bytes=0-0")])
            .await;
        assert_eq!(
            (head.status, &head.headers),
            (get.status, &get.headers),
            "{target}"
        );
        assert!(head.body.is_empty());
    }
}

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
async fn conditions_save_the_body_or_refuse() {
    let site = Site::of(&[("a.txt", "content")]);
    let tag = site.settled_tag("/static/a.txt").await;
    let weak = format!("W/{tag}");
    let date = site
        .get("/static/a.txt")
        .await
        .header("last-modified")
        .to_owned();
    let common = ["cache-control", "etag", "last-modified"];
    for (fields, status, names) in [
        (&[("if-none-match", tag.as_str())][..], 304, &common[..]),
        (&[("if-none-match", weak.as_str())], 304, &common),
        (&[("if-modified-since", date.as_str())], 304, &common),
        (
            &[("if-none-match", tag.as_str()), ("range", "bytes=0-0")],
            304,
            &common,
        ),
        (&[("if-match", weak.as_str())], 412, &[]),
        (
            &[("if-match", weak.as_str()), ("range", "bytes=99-")],
            412,
            &[],
        ),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let reply = site.ask(method, "/static/a.txt", fields).await;
            assert_eq!(
                (reply.status.as_u16(), reply.names().as_slice()),
                (status, names),
                "{fields:?}"
            );
            assert!(reply.body.is_empty(), "{fields:?}");
        }
    }
    fs::write(site.dir.path().join("a.txt"), "CONTENT").unwrap();
    let reply = site
        .ask(Method::GET, "/static/a.txt", &[("if-none-match", &tag)])
        .await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (StatusCode::OK, b"CONTENT".as_slice())
    );
}

#[tokio::test]
async fn ranges_are_cut_out() {
    let content = "0123456789".repeat(20_000);
    let site = Site::of(&[
        ("a.txt", &content),
        ("small.txt", "0123456789"),
        ("empty.txt", ""),
    ]);
    let tag = site.settled_tag("/static/a.txt").await;
    let get = async |target: &str, range: &str, if_range: &str| {
        let mut fields = vec![("range", range)];
        if !if_range.is_empty() {
            fields.push(("if-range", if_range));
        }
        site.ask(Method::GET, target, &fields).await
    };
    for (range, if_range, status, content_range, body) in [
        ("bytes=3-5", "", 206, "bytes 3-5/200000", "345"),
        ("bytes=-3", "", 206, "bytes 199997-199999/200000", "789"),
        ("bytes=199999-", "", 206, "bytes 199999-199999/200000", "9"),
        (
            "bytes=10-199999",
            "",
            206,
            "bytes 10-199999/200000",
            &content[10..],
        ),
        ("bytes=3-5", tag.as_str(), 206, "bytes 3-5/200000", "345"),
        ("bytes=3-5", "\"other\"", 200, "", &content),
        ("bytes=999999-", "\"other\"", 200, "", &content),
        ("bytes=5-3", "", 200, "", &content),
        ("bytes=200000-", "", 416, "bytes */200000", ""),
    ] {
        let reply = get("/static/a.txt", range, if_range).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("content-range")),
            (status, content_range),
            "{range}"
        );
        assert!(reply.body == body.as_bytes(), "{range}");
        if status != 416 {
            assert_eq!(
                reply.header("content-length"),
                body.len().to_string(),
                "{range}"
            );
            assert_eq!(
                reply.header("content-type"),
                "text/plain; charset=utf-8",
                "{range}"
            );
            assert_eq!(reply.header("etag"), tag, "{range}");
        }
    }
    assert_eq!(get("/static/empty.txt", "bytes=0-", "").await.status, 200);
    let twice = [("range", "bytes=0-1"), ("range", "bytes=4-5")];
    assert_eq!(
        site.ask(Method::GET, "/static/small.txt", &twice)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn several_ranges_come_as_parts() {
    let content = "0123456789".repeat(20_000);
    let site = Site::of(&[("a.txt", &content)]);
    for (range, parts) in [
        ("bytes=0-1,-2", vec![("0-1", "01"), ("199998-199999", "89")]),
        (
            "bytes=150000-199999,0-99999",
            vec![
                ("150000-199999", &content[150_000..]),
                ("0-99999", &content[..100_000]),
            ],
        ),
    ] {
        let reply = site
            .ask(Method::GET, "/static/a.txt", &[("range", range)])
            .await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("content-range")),
            (206, "")
        );
        let boundary = reply
            .header("content-type")
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        let mut expected = String::new();
        for (range, body) in parts {
            let lines = [
                &format!("--{boundary}"),
                "Content-Type: text/plain; charset=utf-8",
                &format!("Content-Range: bytes {range}/200000"),
                "",
                body,
                "",
            ];
            expected += &lines.join("\r\n");
        }
        expected += &["--", boundary, "--\r\n"].concat();
        assert!(reply.body == expected.as_bytes(), "{range}");
        assert_eq!(reply.header("content-length"), expected.len().to_string());
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
        let error = StaticFiles::open(&config(dir.path(), Some(spa), None))
            .err()
            .unwrap();
        assert!(format!("{error:#}").contains(hint), "{spa}: {error:#}");
    }
    let error = StaticFiles::open(&config(&dir.path().join("missing"), None, None))
        .err()
        .unwrap();
    assert!(
        format!("{error:#}").contains("missing: create the directory"),
        "{error:#}"
    );
    assert!(StaticFiles::open(&config(dir.path(), Some("index.html"), None)).is_ok());
}

/// Content that shows at each byte which version it is of; lengths differ.
fn version(number: usize, scale: usize) -> Vec<u8> {
    vec![b'a' + u8::try_from(number % 26).unwrap(); (number % 7 + 1) * scale]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_replaced_is_answered_as_one_version_or_the_other() {
    for scale in [1000, 100_000] {
        let site = Site::of(&[("a.txt", "")]);
        let path = site.dir.path().join("a.txt");
        fs::write(&path, version(0, scale)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (path, stop) = (path.clone(), Arc::clone(&stop));
            move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let new = path.with_extension("new");
                    fs::write(&new, version(number, scale)).unwrap();
                    fs::rename(&new, &path).unwrap();
                }
                number
            }
        });
        let mut by_tag = HashMap::new();
        let mut bodies = std::collections::HashSet::new();
        while bodies.len() < 10 {
            let reply = site.get("/static/a.txt").await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("content-length"), reply.body.len().to_string());
            let number = usize::from(reply.body[0] - b'a');
            assert!(
                reply.body.iter().all(|byte| *byte == reply.body[0]),
                "two versions in one body"
            );
            let body = (number, reply.body.len());
            let known = *by_tag
                .entry(reply.header("etag").to_owned())
                .or_insert(body);
            assert_eq!(known, body, "one tag, two contents");
            bodies.insert(body);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() >= 9);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_rewritten_in_place_is_whole_or_unavailable() {
    let site = Site::of(&[("a.txt", "")]);
    let path = site.dir.path().join("a.txt");
    let length = 60_000;
    fs::write(&path, vec![b'a'; length]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut letters = (b'a'..=b'z').cycle();
            while !stop.load(Ordering::Relaxed) {
                fs::write(&path, vec![letters.next().unwrap(); length]).unwrap();
            }
        }
    });
    for _ in 0..200 {
        let reply = site.get("/static/a.txt").await;
        assert!(matches!(reply.status.as_u16(), 200 | 503));
        if reply.status == 200 {
            assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        } else {
            assert_eq!(reply.header("retry-after"), "1");
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
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
