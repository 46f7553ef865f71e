//! What is kept in memory of the files of all routes, and the two threads that keep it true.
//!
//! - What can be watched is watched ([`super::watch`]) and stays as long as nothing happens to it.
//! - What cannot (network file systems, hard links, no watches left) is believed for [`BELIEVED`]; a
//!   thread looks at it again before that is over if somebody uses it.
//! - A root that another directory has taken the place of is noticed by the same looking.
//! - Looking may take long, on a network's file system for ever. It keeps nobody from watching, and
//!   what is not looked at is not believed.
//! - Memory is counted for as long as anybody holds it, and what was used longest ago makes room.

use std::collections::HashMap;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::answer::Shared;
use super::budget::{Budget, Share};
use super::encodings::{Encodings, Progress, Workshop};
use super::load;
use super::loaded::Loaded;
use super::root::Beneath;
use super::validators::Identity;
use super::watch::Watcher;
use crate::config::Coding;
use crate::edge::compression::whole;
use crate::edge::freshness::Freshness;

/// Bytes for what is kept: files, their encodings and their headers.
const MEMORY: u64 = 64 * 1024 * 1024;
/// Bytes for pieces of large files on their way to all clients.
pub(super) const PIECES: u64 = 64 * 1024 * 1024;
/// Bytes that each file takes besides its content: headers, names, watches.
pub(super) const OVERHEAD: u64 = 4 * 1024;
/// The part of the memory that is freed when there is no room: not each new file is to look for the
/// oldest.
const FREED: u64 = MEMORY / 16;

/// An encoding is sent if it is no longer than this part of the file: else decoding costs more.
const WORTHWHILE: (usize, usize) = (19, 20);

/// How long what cannot be watched is believed without looking at it again.
pub(super) const BELIEVED: Duration = Duration::from_secs(1);
/// How often the thread looks, so that what is in use never stops being believed.
const ROUND: Duration = Duration::from_millis(300);
/// Rounds between two that let go of watches.
const TIDY: u32 = 20;

/// The shelf.
pub(crate) struct Shelf {
    routes: Mutex<Vec<Weak<Shared>>>,
    held: Mutex<HashMap<Identity, Weak<Held>>>,
    memory: Budget,
    pub(super) pieces: Budget,
    pub(super) workshop: Workshop,
    watcher: Option<Arc<Watcher>>,
    round: AtomicU32,
}

/// The content of one version of one file, whatever its names.
pub(super) struct Held {
    pub(super) identity: Identity,
    /// All of it, if it is small and there was room.
    pub(super) bytes: Option<Bytes>,
    pub(super) encodings: Arc<Encodings>,
}

/// How much of the way to a file is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// All of it.
    ToItsEnd,
    /// All that there is of it: it leads nowhere.
    AsFarAsItGoes,
    /// Something may happen on it unseen.
    InPart,
}

impl Shelf {
    /// An empty shelf and its threads, which end when the shelf is dropped.
    ///
    /// # Errors
    /// If the threads can't be started.
    pub(crate) fn new() -> anyhow::Result<Arc<Self>> {
        let watcher = Watcher::start().map(Arc::new);
        let shelf = Arc::new(Self::of(MEMORY, watcher.clone()));
        if let Some(watcher) = watcher {
            let shelf = Arc::downgrade(&shelf);
            start("files: watch", move || {
                watcher.wait(ROUND);
                shelf.strong_count() > 0
            })?;
        }
        let looking = Arc::downgrade(&shelf);
        start("files: look", move || {
            thread::sleep(ROUND);
            let shelf = looking.upgrade();
            if let Some(shelf) = &shelf {
                shelf.look();
            }
            shelf.is_some()
        })?;
        Ok(shelf)
    }

    /// A shelf that nobody tends.
    fn of(memory: u64, watcher: Option<Arc<Watcher>>) -> Self {
        Self {
            routes: Mutex::default(),
            held: Mutex::default(),
            memory: Budget::of(memory),
            pieces: Budget::of(PIECES),
            workshop: Workshop::new(),
            watcher,
            round: AtomicU32::new(0),
        }
    }

    /// Keeps the files of `route` true from now on.
    pub(super) fn tend_to(&self, route: &Arc<Shared>) {
        self.routes.lock().push(Arc::downgrade(route));
    }

    /// Ends `freshness` when anything happens on the way to `path`.
    pub(super) fn watch(&self, beneath: &Beneath, path: &Path, freshness: &Freshness) -> Watched {
        let Some(watcher) = &self.watcher else {
            return Watched::InPart;
        };
        let mut every_step = true;
        let end = beneath.follow(path, |step| {
            every_step = every_step && watcher.watch(beneath, step, freshness);
        });
        match end {
            _ if !every_step => Watched::InPart,
            Some(_) => Watched::ToItsEnd,
            None => Watched::AsFarAsItGoes,
        }
    }

    /// The content of a version that somebody has loaded before.
    pub(super) fn held(&self, identity: &Identity) -> Option<Arc<Held>> {
        self.held.lock().get(identity)?.upgrade()
    }

    /// Lets others find `held` for as long as somebody has it.
    pub(super) fn hold(&self, held: &Arc<Held>) {
        let weak = Arc::downgrade(held);
        self.held.lock().insert(held.identity, weak);
    }

    /// Memory for `bytes` more, if need be by giving up what was used longest ago.
    pub(super) fn room_for(&self, bytes: u64) -> Option<Share> {
        if let Some(share) = self.memory.share(bytes) {
            return Some(share);
        }
        self.make_room(bytes.max(FREED));
        // Slow clients may still hold what was given up.
        self.memory.share(bytes)
    }

    /// Makes an encoding of the file, at the best level. Takes long.
    pub(super) fn encode(&self, loaded: &Loaded, coding: Coding) {
        let encodings = &loaded.parts.held.encodings;
        match self.best(loaded, coding) {
            Progress::Made(made) => encodings.keep(coding, Some(made)),
            Progress::Useless => encodings.keep(coding, None),
            Progress::Awaited => encodings.cancel(coding),
        }
    }

    /// The best encoding; still awaited if it can't be made now.
    fn best(&self, loaded: &Loaded, coding: Coding) -> Progress {
        if loaded.freshness().has_ended() {
            return Progress::Awaited;
        }
        let Some(source) = load::source(loaded) else {
            return Progress::Awaited;
        };
        // Before the work, so that it is not done for nothing.
        let Some(room) = self.room_for(source.len() as u64) else {
            return Progress::Awaited;
        };
        let encoded = match whole::compress(coding, coding.highest_level(), &source) {
            Ok(encoded) => encoded,
            Err(error) => {
                tracing::warn!(%error, "cannot compress a static file");
                return Progress::Awaited;
            }
        };
        drop(room);
        if encoded.len() * WORTHWHILE.1 > source.len() * WORTHWHILE.0 {
            return Progress::Useless;
        }
        match self.room_for(encoded.len() as u64) {
            Some(share) => Progress::Made(Share::tie(Some(share), encoded)),
            None => Progress::Awaited,
        }
    }

    fn make_room(&self, bytes: u64) {
        let routes = self.routes();
        let mut all: Vec<_> = routes.iter().flat_map(|route| route.names.all()).collect();
        all.sort_unstable_by_key(|loaded| loaded.last_used());
        let mut freed = 0;
        for loaded in all {
            if freed >= bytes {
                break;
            }
            freed += OVERHEAD + loaded.weight();
            loaded.freshness().end();
        }
        for route in routes {
            route.names.forget_ended();
        }
    }

    /// Looks at everything that does not tell of itself.
    fn look(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        for route in self.routes() {
            route.root.follow_replacement();
            for loaded in route.names.all() {
                if route.root.is_current(&loaded.parts.beneath) {
                    look_at(&loaded, round);
                } else {
                    loaded.freshness().end();
                }
            }
            route.names.forget_ended();
        }
        if round.is_multiple_of(TIDY) {
            self.held.lock().retain(|_, held| held.strong_count() > 0);
            if let Some(watcher) = &self.watcher {
                watcher.tidy();
            }
        }
    }

    fn routes(&self) -> Vec<Arc<Shared>> {
        let mut routes = self.routes.lock();
        routes.retain(|route| route.strong_count() > 0);
        routes.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Notes whether it was used, and looks at it again if it was and nothing tells of its changes.
fn look_at(loaded: &Loaded, round: u32) {
    let was_used = loaded.freshness().take_used();
    if was_used || loaded.last_used() == u32::MAX {
        loaded.use_at(round);
    }
    if was_used && !loaded.parts.is_watched {
        check(loaded);
    }
}

/// Believes it for a while longer, or ends it. Blocks on the disk.
pub(super) fn check(loaded: &Loaded) {
    let before = Instant::now();
    if load::still_holds(loaded) {
        loaded
            .freshness()
            .renew(BELIEVED.saturating_sub(before.elapsed()));
    } else {
        loaded.freshness().end();
    }
}

/// Starts a thread that does `round` as long as it says to go on.
fn start(name: &str, round: impl Fn() -> bool + Send + 'static) -> io::Result<()> {
    let work = move || {
        loop {
            // Whatever goes wrong, nobody else would notice changes.
            match panic::catch_unwind(AssertUnwindSafe(&round)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    tracing::error!("watching static files failed; trying again");
                    // What keeps failing must not keep a core busy.
                    thread::sleep(ROUND);
                }
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    Ok(())
}

#[cfg(test)]
mod tests;
