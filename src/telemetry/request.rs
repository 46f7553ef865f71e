//! Which request a task is working on: what is said meanwhile, by whomever, is said of it, and `tracing`'s
//! spans are part of its trace.
//!
//! A task that is spawned for a request is no longer part of it.

use std::cell::RefCell;

use super::traces::Traced;

tokio::task_local! {
    static CURRENT: RefCell<Current>;
}

/// The request that is answered.
#[derive(Default)]
struct Current {
    id: String,
    /// If its spans are told.
    traced: Option<Traced>,
}

/// Runs `future`, which answers requests one after the other.
pub fn scope<F: Future>(future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(RefCell::default(), future)
}

/// From here on it is the request with this id that is answered, whose trace is `traced` if it is sampled.
pub fn begin(id: &str, traced: Option<Traced>) {
    // Outside of a scope nobody asks.
    let _ = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        // The next request over the same connection takes the same space.
        current.id.clear();
        current.id.push_str(id);
        current.traced = traced;
    });
}

/// Calls `read` with the id of the request that is answered here, and its trace if it is sampled.
pub(super) fn with_id<T>(read: impl FnOnce(&str, Option<&Traced>) -> T) -> Option<T> {
    with(|current| (!current.id.is_empty()).then(|| read(&current.id, current.traced.as_ref())))
}

/// The trace of the request that is answered here, if it is sampled.
pub(super) fn traced() -> Option<Traced> {
    with(|current| current.traced.clone())
}

/// Whether there is one.
pub(super) fn is_traced() -> bool {
    with(|current| current.traced.is_some().then_some(())).is_some()
}

fn with<T>(read: impl FnOnce(&Current) -> Option<T>) -> Option<T> {
    let read = |current: &RefCell<Current>| {
        // What is said while this is written can't be said of it.
        read(&*current.try_borrow().ok()?)
    };
    CURRENT.try_with(read).ok().flatten()
}
