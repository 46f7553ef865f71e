//! What is kept of a route's files, by the path that was asked for.
//!
//! Reading takes no lock: each part of the map is replaced whole when something in it changes, which
//! is rare, and there are many parts, so that replacing one is cheap.

use std::array;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::loaded::Loaded;

/// Parts of the map.
const PARTS: usize = 64;

type Part = HashMap<Arc<str>, Arc<Loaded>>;

/// The map.
pub(super) struct Names([ArcSwap<Part>; PARTS]);

impl Names {
    /// An empty map.
    pub(super) fn new() -> Self {
        Self(array::from_fn(|_| ArcSwap::default()))
    }

    /// What is kept under `key`, fresh or not.
    pub(super) fn get(&self, key: &str) -> Option<Arc<Loaded>> {
        self.part(key).load().get(key).cloned()
    }

    /// Keeps `loaded` under `key`.
    pub(super) fn insert(&self, key: &str, loaded: &Arc<Loaded>) {
        let key: Arc<str> = key.into();
        self.part(&key).rcu(|part| {
            let mut part = Part::clone(part);
            part.insert(key.clone(), loaded.clone());
            part
        });
    }

    /// Forgets what has ended.
    pub(super) fn forget_ended(&self) {
        let is_kept = |loaded: &Arc<Loaded>| !loaded.freshness().has_ended();
        for part in &self.0 {
            if part.load().values().all(is_kept) {
                continue;
            }
            part.rcu(|part| {
                part.iter()
                    .filter(|(_, loaded)| is_kept(loaded))
                    .map(|(key, loaded)| (key.clone(), loaded.clone()))
                    .collect::<Part>()
            });
        }
    }

    /// Everything that is kept.
    pub(super) fn all(&self) -> Vec<Arc<Loaded>> {
        let parts = self.0.iter().map(ArcSwap::load_full);
        parts
            .flat_map(|part| part.values().cloned().collect::<Vec<_>>())
            .collect()
    }

    fn part(&self, key: &str) -> &ArcSwap<Part> {
        // Names that differ anywhere should fall apart; whoever picks them to fall together has put
        // those files there.
        let sum = key.bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        &self.0[sum % PARTS]
    }
}
