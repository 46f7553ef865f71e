//! How much is kept, and what gives way.

use std::fs;

use http::{HeaderMap, Method, Uri};

use super::super::{Answered, StaticFiles};
use super::*;
use crate::config::{Config, Files};
use crate::edge::reply::Body;

struct Scene {
    _directory: tempfile::TempDir,
    shelf: Arc<Shelf>,
    files: StaticFiles,
}

const FILE: u64 = 100 * 1024;

impl Scene {
    /// `files` of 100 KiB each, called 0, 1 and so on, and memory for `room` of them.
    fn new(files: usize, room: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in 0..files {
            let content = vec![b'x'; usize::try_from(FILE).unwrap()];
            fs::write(directory.path().join(name.to_string()), content).unwrap();
        }
        let memory = room * (FILE + OVERHEAD);
        let shelf = Arc::new(Shelf::of(memory, Watcher::start().map(Arc::new)));
        let config = Files {
            root: directory.path().to_owned(),
            spa: None,
            cache_control: None,
            immutable: false,
        };
        let compression = Arc::new(Config::default_for(Path::new("/")).compression);
        Self {
            files: StaticFiles::open(&config, None, &compression, &shelf).unwrap(),
            shelf,
            _directory: directory,
        }
    }

    async fn get(&self, name: usize) -> Answered {
        let uri: Uri = format!("/{name}").parse().unwrap();
        let rest = name.to_string();
        let headers = HeaderMap::new();
        self.files.answer(&Method::GET, &headers, &uri, &rest).await
    }

    /// Asks until the file is kept, and for others not at all.
    async fn keep(&self, name: usize) -> Body {
        loop {
            let answered = self.get(name).await;
            if answered.freshness.is_some() {
                return answered.answer.into_body();
            }
            tokio::task::yield_now().await;
        }
    }

    fn kept(&self) -> Vec<usize> {
        let names = &self.files.shared.names;
        let is_kept = |name: &usize| names.get(&name.to_string()).is_some();
        (0..20).filter(is_kept).collect()
    }
}

#[tokio::test]
async fn what_was_used_longest_ago_gives_way() {
    let scene = Scene::new(4, 3);
    for name in 0..3 {
        drop(scene.keep(name).await);
        scene.shelf.look();
    }
    assert_eq!(scene.kept(), [0, 1, 2]);
    let first = scene.get(0).await.freshness.unwrap();
    let second = scene.get(1).await.freshness.unwrap();
    // Two rounds: in the first it is noticed that both were used, in the second that one was.
    scene.shelf.look();
    assert!(first.is_fresh(), "a recording is used without us");
    scene.shelf.look();
    let room = scene.shelf.memory.left();
    assert!(room < FILE, "{room} left");
    scene.shelf.make_room(2 * FILE);
    assert_eq!(scene.kept(), [0], "2 was used before 1, and 1 before 0");
    assert!(first.is_fresh() && !second.is_fresh());
}

#[tokio::test]
async fn what_clients_still_hold_counts() {
    let scene = Scene::new(4, 2);
    let mut held = Vec::new();
    for name in 0..2 {
        held.push(scene.keep(name).await);
    }
    // Both give way, but their clients still read them: the third is sent piece by piece.
    let third = scene.get(2).await;
    assert!(matches!(third.answer.body(), Body::Stream(_)));
    assert!(scene.shelf.memory.left() < FILE);
    drop(held);
    assert!(scene.shelf.memory.left() >= FILE);
    assert!(matches!(scene.keep(3).await, Body::Full(_)));
}

#[tokio::test]
async fn the_memory_of_a_shelf_is_given_back() {
    let scene = Scene::new(2, 2);
    let all = scene.shelf.memory.left();
    for name in 0..2 {
        drop(scene.keep(name).await);
    }
    assert!(scene.shelf.memory.left() < FILE);
    let shelf = Arc::clone(&scene.shelf);
    drop(scene);
    assert_eq!(shelf.memory.left(), all);
    assert!(shelf.routes().is_empty());
}
