//! The best encodings of a file, each made once, in the background.
//!
//! 1. Whoever wants an encoding that is not there yet asks the [`Workshop`] for it and makes do
//!    with what there is: a live encoding.
//! 2. A few threads of the lowest priority work through what was asked for, and end when there is
//!    nothing left. They never take more than half of the cores.
//! 3. The result stays with the file, also if it is that encoding it gains nothing.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::config::Coding;

/// Bytes of the largest file that is encoded at the best level: it takes seconds for each of these
/// MiB, and all of it is in memory meanwhile.
pub(super) const LARGEST: u64 = 4 * 1024 * 1024;
/// Encodings that may be waiting to be made. Who is turned away asks again.
const LONGEST_QUEUE: usize = 256;

/// The encodings of one version of a file.
#[derive(Debug, Default)]
pub(super) struct Encodings([Slot; Coding::ALL.len()]);

#[derive(Debug, Default)]
struct Slot {
    /// Somebody has asked for it.
    ordered: AtomicBool,
    made: OnceLock<Option<Bytes>>,
}

/// How far an encoding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Here it is.
    Made(Bytes),
    /// It was tried, and the file is better sent as it is.
    Useless,
    /// Not yet.
    Awaited,
}

impl Encodings {
    /// How far the encoding is.
    #[must_use]
    pub(super) fn progress(&self, coding: Coding) -> Progress {
        match self.slot(coding).made.get() {
            Some(Some(bytes)) => Progress::Made(bytes.clone()),
            Some(None) => Progress::Useless,
            None => Progress::Awaited,
        }
    }

    /// Keeps what has been made; `None` if it is useless.
    pub(super) fn keep(&self, coding: Coding, made: Option<Bytes>) {
        // The first stays; others are the same.
        let _ = self.slot(coding).made.set(made);
    }

    /// Bytes of those that are made.
    #[must_use]
    pub(super) fn weight(&self) -> u64 {
        let made = self.0.iter().filter_map(|slot| slot.made.get()?.as_ref());
        made.map(|bytes| bytes.len() as u64).sum()
    }

    /// True for the first who asks, until [`Self::cancel`].
    fn order(&self, coding: Coding) -> bool {
        let ordered = &self.slot(coding).ordered;
        !ordered.load(Ordering::Relaxed) && !ordered.swap(true, Ordering::AcqRel)
    }

    /// Takes an order back, so that somebody else may give it.
    pub(super) fn cancel(&self, coding: Coding) {
        self.slot(coding).ordered.store(false, Ordering::Release);
    }

    fn slot(&self, coding: Coding) -> &Slot {
        &self.0[coding as usize]
    }
}

/// What there is to do: called on a thread of the lowest priority.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Where encodings are made.
#[derive(Clone)]
pub(super) struct Workshop(Arc<Mutex<Queue>>);

struct Queue {
    waiting: VecDeque<Job>,
    at_work: usize,
    most: usize,
}

impl Workshop {
    /// A workshop of half of the cores.
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, Into::into);
        Self::of(cores / 2)
    }

    fn of(threads: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue {
            waiting: VecDeque::new(),
            at_work: 0,
            most: threads.max(1),
        })))
    }

    /// Has the job done some time later, if nobody has ordered this encoding before. The job keeps
    /// its result with the encodings, or cancels the order.
    pub(super) fn order(&self, encodings: &Encodings, coding: Coding, job: impl FnOnce() -> Job) {
        if !encodings.order(coding) {
            return;
        }
        let mut queue = self.0.lock();
        if queue.waiting.len() >= LONGEST_QUEUE {
            encodings.cancel(coding);
            return;
        }
        queue.waiting.push_back(job());
        if queue.at_work < queue.most {
            let workshop = self.clone();
            let started = thread::Builder::new()
                .name("encodings".to_owned())
                .spawn(move || workshop.work());
            match started {
                Ok(_) => queue.at_work += 1,
                // The next order tries again, and this one is still there for it.
                Err(error) => tracing::warn!(%error, "no thread to compress static files"),
            }
        }
    }

    fn work(&self) {
        yield_to_requests();
        while let Some(job) = self.next() {
            if panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("compressing a static file failed; it is sent as it is");
            }
        }
    }

    /// The next job, or `None` and the caller is counted out: in one step, so that no order comes in
    /// between and takes it for a thread that will see to it.
    fn next(&self) -> Option<Job> {
        let mut queue = self.0.lock();
        let job = queue.waiting.pop_front();
        if job.is_none() {
            queue.at_work -= 1;
        }
        job
    }
}

/// Gives this thread the lowest priority. It works without as well, only less politely.
fn yield_to_requests() {
    // On Linux this is the priority of the calling thread alone; elsewhere it would be that of the
    // whole server.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "static files are compressed at the usual priority");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn order(workshop: &Workshop, encodings: &Encodings, job: impl FnOnce() + Send + 'static) {
        workshop.order(encodings, Coding::Br, || Box::new(job));
    }

    #[test]
    fn an_encoding_is_ordered_once_unless_it_is_cancelled() {
        let workshop = Workshop::of(1);
        let encodings = Encodings::default();
        let (done, jobs) = mpsc::channel();
        for expected in [1, 0, 0] {
            let done = done.clone();
            order(&workshop, &encodings, move || done.send(()).unwrap());
            let count = jobs.iter().take(expected).count();
            assert_eq!(count, expected);
        }
        encodings.cancel(Coding::Br);
        order(&workshop, &encodings, move || done.send(()).unwrap());
        jobs.recv().unwrap();
        assert!(jobs.recv().is_err(), "and no other has run");
    }

    #[test]
    fn few_work_at_a_time_and_the_queue_has_an_end() {
        let workshop = Workshop::of(2);
        let (started, starts) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let all: Vec<_> = (0..LONGEST_QUEUE + 4)
            .map(|_| Encodings::default())
            .collect();
        let give = |encodings: &Encodings| {
            let (started, released) = (started.clone(), released.clone());
            order(&workshop, encodings, move || {
                started.send(()).unwrap();
                let _ = released.lock().recv();
            });
        };
        for encodings in &all[..2] {
            give(encodings);
            starts.recv().unwrap();
        }
        for encodings in &all[2..] {
            give(encodings);
        }
        let queue = |of: fn(&Queue) -> usize| of(&workshop.0.lock());
        assert_eq!(queue(|queue| queue.at_work), 2);
        assert_eq!(queue(|queue| queue.waiting.len()), LONGEST_QUEUE);
        assert!(
            all[LONGEST_QUEUE + 1]
                .slot(Coding::Br)
                .ordered
                .load(Ordering::Relaxed)
        );
        assert!(
            !all[LONGEST_QUEUE + 2]
                .slot(Coding::Br)
                .ordered
                .load(Ordering::Relaxed),
            "who was turned away may ask again"
        );
        drop(release);
        assert_eq!(starts.iter().take(LONGEST_QUEUE).count(), LONGEST_QUEUE);
    }

    #[test]
    fn a_job_that_panics_stops_no_other() {
        let workshop = Workshop::of(1);
        let (done, jobs) = mpsc::channel();
        order(&workshop, &Encodings::default(), || panic!("on purpose"));
        order(&workshop, &Encodings::default(), move || {
            done.send(()).unwrap();
        });
        jobs.recv().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn requests_go_before_this_work() {
        let (done, jobs) = mpsc::channel();
        order(&Workshop::of(1), &Encodings::default(), move || {
            let priority = rustix::process::getpriority_process(None);
            done.send(priority.unwrap()).unwrap();
        });
        assert_eq!(jobs.recv().unwrap(), 19);
        assert_ne!(rustix::process::getpriority_process(None).unwrap(), 19);
    }
}
