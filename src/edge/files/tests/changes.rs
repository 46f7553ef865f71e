//! What is kept is sent without a look at the disk, and still no more than a second old.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, SystemTime};

use super::*;

/// How old an answer may be.
const PROMISE: Duration = Duration::from_secs(1);

/// What happens to a site that serves `dir/a.txt`.
type Change = fn(&Site);

/// A site whose `/static/dir/a.txt` says "old", and after the change "new" or nothing.
fn site() -> Site {
    let site = Site::of(&[
        ("releases/1/a.txt", "old"),
        ("releases/2/a.txt", "new"),
        ("spare/a.txt", "new"),
    ]);
    symlink("releases/1", site.at("dir")).unwrap();
    site
}

const CHANGES: &[(&str, Change, u16)] = &[
    (
        "another file renamed over it",
        |site| fs::rename(site.at("spare/a.txt"), site.at("releases/1/a.txt")).unwrap(),
        200,
    ),
    (
        "rewritten in place, same size",
        |site| fs::write(site.at("releases/1/a.txt"), "new").unwrap(),
        200,
    ),
    (
        "rewritten in place, same size, same time",
        |site| {
            let path = site.at("releases/1/a.txt");
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "new").unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        },
        200,
    ),
    (
        "deleted",
        |site| fs::remove_file(site.at("releases/1/a.txt")).unwrap(),
        404,
    ),
    (
        "its directory renamed away",
        |site| fs::rename(site.at("releases/1"), site.at("gone")).unwrap(),
        404,
    ),
    (
        "a directory further up renamed away",
        |site| fs::rename(site.at("releases"), site.at("gone")).unwrap(),
        404,
    ),
    (
        "another directory in place of its own",
        |site| {
            fs::rename(site.at("releases/1"), site.at("gone")).unwrap();
            fs::rename(site.at("spare"), site.at("releases/1")).unwrap();
        },
        200,
    ),
    (
        "the link pointed at the next release (ln -sfn)",
        |site| {
            fs::remove_file(site.at("dir")).unwrap();
            symlink("releases/2", site.at("dir")).unwrap();
        },
        200,
    ),
    (
        "the link replaced at once (mv -T)",
        |site| {
            symlink("releases/2", site.at("next")).unwrap();
            fs::rename(site.at("next"), site.at("dir")).unwrap();
        },
        200,
    ),
];

async fn assert_is_noticed(name: &str, site: &Site, change: Change, status: u16) {
    let target = "/static/dir/a.txt";
    let before = site.kept(target, &[]).await;
    assert_eq!(before.body, b"old", "{name}");
    let recorded = before.freshness.unwrap();
    change(site);
    let changed = Instant::now();
    let after = site
        .ask_until(target, &[], |reply| reply.body != b"old")
        .await;
    assert!(
        changed.elapsed() < PROMISE,
        "{name}: {:?}",
        changed.elapsed()
    );
    assert!(!recorded.is_fresh(), "{name}: a recording is not stale");
    assert_eq!(after.status, status, "{name}");
    if status == 200 {
        assert_eq!(after.body, b"new", "{name}");
        assert_ne!(after.headers["etag"], before.headers["etag"], "{name}");
    }
}

#[tokio::test]
async fn changes_are_noticed_within_a_second() {
    for (name, change, status) in CHANGES {
        assert_is_noticed(name, &site(), *change, *status).await;
    }
}

#[tokio::test]
async fn changes_are_noticed_within_a_second_where_nothing_can_be_watched() {
    for (name, change, status) in CHANGES {
        let site = site();
        // With two names a file may be changed through the other, unseen.
        fs::hard_link(site.at("releases/1/a.txt"), site.at("other-name")).unwrap();
        assert_is_noticed(name, &site, *change, *status).await;
    }
    let site = site();
    fs::hard_link(site.at("releases/1/a.txt"), site.at("other-name")).unwrap();
    let change: Change = |site| fs::write(site.at("other-name"), "new").unwrap();
    assert_is_noticed("through its other name", &site, change, 200).await;
}

#[tokio::test]
async fn a_root_that_is_replaced_is_noticed_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    for (release, content) in [("1", "old"), ("2", "new")] {
        fs::create_dir(dir.path().join(release)).unwrap();
        fs::write(dir.path().join(release).join("a.txt"), content).unwrap();
    }
    symlink("1", dir.path().join("current")).unwrap();
    let files = open(&config(&dir.path().join("current"), None, None)).unwrap();
    let site = Site { dir, files };
    let before = site.kept("/static/a.txt", &[]).await;
    assert_eq!(before.body, b"old");
    symlink("2", site.at("next")).unwrap();
    fs::rename(site.at("next"), site.at("current")).unwrap();
    let changed = Instant::now();
    site.ask_until("/static/a.txt", &[], |reply| reply.body == b"new")
        .await;
    assert!(changed.elapsed() < PROMISE, "{:?}", changed.elapsed());
    assert!(!before.freshness.unwrap().is_fresh());
}

#[tokio::test]
async fn what_is_kept_is_not_looked_at_by_requests() {
    let site = Site::of(&[("a.txt", "content"), ("docs/index.html", "<p>")]);
    for target in ["/static/a.txt", "/static/docs/", "/static/%61.txt"] {
        site.kept(target, &[]).await;
        let path = if target.ends_with('/') {
            "docs/index.html"
        } else {
            "a.txt"
        };
        let fields = [("range", "bytes=0-0")];
        let (uri, headers) = request(target, &fields);
        let asked = Asked::read(&Method::GET, &headers, &[]);
        let rest = &target["/static/".len()..];
        let answered = site
            .files
            .shared
            .answer_from_memory(rest, &uri, &asked)
            .expect(path);
        assert_eq!(answered.answer.status(), 206, "{target}");
    }
}

#[tokio::test]
async fn a_path_that_only_looks_the_same_has_its_own_answer() {
    let site = Site::of(&[
        ("docs/index.html", "page"),
        ("a%41", "percent"),
        ("aA", "letter"),
    ]);
    for (target, status, body) in [
        ("/static/docs/", 200, "page"),
        ("/static/docs", 301, ""),
        ("/static/docs/index.html", 200, "page"),
        ("/static/docs/index.html/", 404, ""),
        ("/static/docs//", 404, ""),
        ("/static/./docs/", 404, ""),
        ("/static/a%41", 200, "letter"),
        ("/static/a%2541", 200, "percent"),
        ("/static/aA", 200, "letter"),
        ("/static/aA/", 404, ""),
    ] {
        for when in ["first", "then"] {
            let reply = site.get(target).await;
            assert_eq!(reply.status, status, "{target}, {when}");
            assert_eq!(reply.body, body.as_bytes(), "{target}, {when}");
            if status == 200 {
                site.kept(target, &[]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_was_just_written_is_not_kept() {
    let site = Site::of(&[]);
    let path = site.at("a.txt");
    let written = || {
        fs::write(&path, "content").unwrap();
        fs::metadata(&path).unwrap()
    };
    // The clock of files is coarse: the next change might look like this one.
    loop {
        let metadata = written();
        let reply = site.get("/static/a.txt").await;
        if validators::has_settled(&metadata, SystemTime::now()) {
            continue;
        }
        assert!(reply.freshness.is_none());
        break;
    }
    site.kept("/static/a.txt", &[]).await;
}
