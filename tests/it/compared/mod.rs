//! The same directory served by nginx and by us, request by request.
//!
//! 1. [`corpus`] writes the directory: one file of each kind that matters.
//! 2. [`requests`] is what both are asked: every file, and the tables of conditions, ranges,
//!    codings and paths.
//! 3. [`answer`] asks, and brings what is comparable of an answer into one form: what each may word
//!    as it likes (entity tags, boundaries, the pages of errors) is not.
//! 4. [`differences`] lists where they differ and why ours is right. A difference that is not in it
//!    fails the test, and so does one in it that is not there.
//!
//! nginx runs with what a careful configuration has: `gzip_static`, `gzip` with `gzip_vary`, a
//! charset, dotfiles closed, and the type of scripts that RFC 9239 asks for. It has one content coding,
//! so we are told to use that one alone.

mod answer;
mod corpus;
mod differences;
mod requests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::answer::Server;
use self::differences::Difference;
use self::requests::Request;
use crate::support::nginx::Nginx;
use crate::support::server::Setup;

/// The first answer to a path is made from the disk, the second from memory, and the third is one that
/// was given before: all have to be the same.
const ROUNDS: usize = 3;

/// A field, what each says of it, and the requests in which it is so.
type Differing = BTreeMap<(&'static str, String, String), Vec<String>>;

#[test]
fn every_answer_is_that_of_nginx_or_better_for_a_reason() {
    let setup = Setup::new()
        .plain()
        .database("postgres://localhost:1/none")
        .config("[database]\nwait = \"0s\"\n[[route]]\npath = \"/\"\nfiles = \"site\"\n[compression]\nalgorithms = [\"gzip\"]");
    let site = setup.directory().join("site");
    corpus::write(&site, setup.directory());
    let nginx = Nginx::start(&careful(&site));
    let unibody = setup.start();

    let theirs = Server::Nginx(nginx.path("socket"));
    let ours = Server::Unibody(unibody.http.unwrap());
    let requests = requests::all();
    for round in 1..=ROUNDS {
        let mut differing = Differing::new();
        for request in &requests {
            for (field, theirs, ours) in answer::differing(theirs.ask(request), ours.ask(request)) {
                let requests = differing.entry((field, theirs, ours)).or_default();
                requests.push(request.to_string());
            }
        }
        let wrong = unexpected(differing, &requests);
        assert!(wrong.is_empty(), "round {round}, nginx -> ours:\n{wrong}");
    }
}

/// Takes what is listed from what differs, and tells of what is left of either.
fn unexpected(mut differing: Differing, requests: &[Request]) -> String {
    let mut wrong = Vec::new();
    for listed in differences::ALL {
        let Difference {
            field, nginx, ours, ..
        } = listed;
        let key = (*field, (*nginx).to_owned(), (*ours).to_owned());
        let found = differing.entry(key).or_default();
        for pattern in listed.requests {
            let concerned: Vec<_> = requests
                .iter()
                .map(Request::to_string)
                .filter(|request| matches(pattern, request))
                .collect();
            if concerned.is_empty() {
                wrong.push(format!("nobody asks for {pattern}"));
            }
            for request in concerned {
                match found.iter().position(|found| *found == request) {
                    Some(at) => drop(found.swap_remove(at)),
                    None => {
                        wrong.push(format!(
                            "no longer so: {request}: {field}: {nginx} -> {ours}"
                        ));
                    }
                }
            }
        }
    }
    for ((field, nginx, ours), requests) in differing {
        for request in requests {
            wrong.push(format!("not listed: {request}: {field}: {nginx} -> {ours}"));
        }
    }
    wrong.join("\n")
}

/// Whether `pattern`, in which `…` stands for anything, is of `request`.
fn matches(pattern: &str, request: &str) -> bool {
    match pattern.split_once('…') {
        Some((start, end)) => request.starts_with(start) && request.ends_with(end),
        None => pattern == request,
    }
}

/// The contents of nginx's `server` block.
fn careful(site: &Path) -> String {
    format!(
        r"include {types};
        default_type application/octet-stream;
        charset utf-8;
        charset_types text/html text/css text/plain text/javascript;
        types {{ text/javascript js mjs; }}
        gzip on; gzip_vary on; gzip_static on; gzip_min_length 1024;
        gzip_types text/css text/plain text/javascript application/json image/svg+xml;
        location / {{ root {site}; }}
        location ~ /\.(?!well-known/) {{ return 404; }}",
        types = mime_types().display(),
        site = site.display(),
    )
}

/// The types that the distribution's nginx comes with lie beside its configuration.
fn mime_types() -> PathBuf {
    let about = Command::new("nginx").arg("-V").output().unwrap().stderr;
    let about = String::from_utf8(about).unwrap();
    let config = about
        .split_whitespace()
        .find_map(|argument| argument.strip_prefix("--conf-path="))
        .expect("nginx -V tells its --conf-path");
    Path::new(config).with_file_name("mime.types")
}
