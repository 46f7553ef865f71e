//! How much of a file is sent, and with what headers.

use std::fs;

use super::*;

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
        // The page for what is missing is dropped by the writer, which would else add its own.
        assert_eq!(head.body.is_empty(), head.status != 404, "{target}");
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
    fs::write(site.at("a.txt"), "CONTENT").unwrap();
    let fields = [("if-none-match", tag.as_str())];
    let reply = site
        .ask_until("/static/a.txt", &fields, |reply| reply.status == 200)
        .await;
    assert_eq!(reply.body, b"CONTENT");
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
