//! The directory that both serve.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

/// When every file was last changed: Wed, 01 May 2024 12:00:00 GMT.
const CHANGED: Duration = Duration::from_hours(476_268);

/// Paths of the files, encoded as clients send them.
pub const FILES: &[&str] = &[
    "/page.html",
    "/style.css",
    "/app.js",
    "/logo.svg",
    "/data.json",
    "/dot.png",
    "/notes.txt",
    "/font.woff2",
    "/LICENSE",
    "/data.unheard-of",
    "/empty.txt",
    "/one.txt",
    "/a%20b.txt",
    "/caf%C3%A9.txt",
    "/100%25.txt",
    "/inside.txt",
    "/large.txt",
    "/.well-known/security.txt",
    "/",
    "/docs/",
];

/// Bytes of `large.txt`.
pub const LARGE: usize = 200 * 1024;

/// Writes the corpus to `site`, and beside it what lies outside.
pub fn write(site: &Path, outside: &Path) {
    for directory in ["docs", "bare", ".well-known", ".git"] {
        fs::create_dir_all(site.join(directory)).unwrap();
    }
    let script = lines("console.log('a line that compresses well');", 4 * 1024);
    let mut sidecar = GzEncoder::new(Vec::new(), Compression::best());
    sidecar.write_all(&script).unwrap();
    let noise: Vec<u8> = (0..4096_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let files: &[(&str, &[u8])] = &[
        ("page.html", &lines("<p>a paragraph</p>", 3000)),
        ("style.css", &lines("p { color: red }", 3000)),
        ("app.js", &script),
        ("app.js.gz", &sidecar.finish().unwrap()),
        ("logo.svg", &lines("<svg/>", 3000)),
        ("data.json", &lines("[1, 2, 3]", 3000)),
        ("dot.png", &noise),
        ("notes.txt", &lines("short", 100)),
        ("font.woff2", &noise),
        ("LICENSE", &lines("Do as you like.", 3000)),
        ("data.unheard-of", &noise),
        ("empty.txt", b""),
        ("one.txt", b"1"),
        ("a b.txt", b"a blank"),
        ("caf\u{e9}.txt", b"UTF-8"),
        ("100%.txt", b"a percent sign"),
        ("large.txt", &lines("one of many lines", LARGE)),
        ("index.html", b"<h1>home</h1>"),
        ("docs/index.html", b"<h1>documents</h1>"),
        ("bare/page.html", b"no index here"),
        (".well-known/security.txt", b"Contact: mailto:a@b.test"),
        (".git/config", b"secret"),
        (".env", b"secret"),
    ];
    for (name, content) in files {
        write_file(&site.join(name), content);
    }
    symlink("notes.txt", site.join("inside.txt")).unwrap();
    write_file(&outside.join("outside.txt"), b"not below the root");
    symlink("../outside.txt", site.join("outside.txt")).unwrap();
}

fn write_file(path: &Path, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + CHANGED).unwrap();
}

/// Numbered lines, `length` bytes in all: no two stretches are the same.
fn lines(text: &str, length: usize) -> Vec<u8> {
    let mut lines: Vec<u8> = (0..=length / text.len())
        .flat_map(|n| format!("{n} {text}\n").into_bytes())
        .collect();
    lines.truncate(length);
    lines
}
