//! Which request a task is working on: what is said meanwhile, by whomever, is said of it.
//!
//! A task that is spawned for a request is no longer part of it.

use std::cell::RefCell;

tokio::task_local! {
    static CURRENT: RefCell<Current>;
}

/// The request that is answered.
#[derive(Default)]
struct Current {
    id: String,
}

/// Runs `future`, which answers requests one after the other.
pub fn scope<F: Future>(future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(RefCell::default(), future)
}

/// From here on it is the request with this id that is answered.
pub fn begin(id: &str) {
    // Outside of a scope nobody asks.
    let _ = CURRENT.try_with(|current| {
        let known = &mut current.borrow_mut().id;
        // The next request over the same connection takes the same space.
        known.clear();
        known.push_str(id);
    });
}

/// Calls `read` with the id of the request that is answered here, if there is one.
pub(super) fn with_id<T>(read: impl FnOnce(&str) -> T) -> Option<T> {
    let with = |current: &RefCell<Current>| {
        // What is said while this is written can't be said of it.
        let current = current.try_borrow().ok()?;
        (!current.id.is_empty()).then(|| read(&current.id))
    };
    CURRENT.try_with(with).ok().flatten()
}
