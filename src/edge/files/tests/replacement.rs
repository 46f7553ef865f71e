//! Files that change while they are served.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

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
        let mut bodies = HashSet::new();
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
