//! What the program says while it runs: one stream of lines on stdout.
//!
//! A thread of its own writes them, many at once under load, so that no request waits for whoever
//! reads our output. If that reader stops, lines are dropped and counted, and serving goes on.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use parking_lot::{Condvar, Mutex};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};

/// Bytes that may wait for the writer before further lines are dropped.
const QUEUE: usize = 4 * 1024 * 1024;
/// Bytes that the queue keeps room for once they have been written.
const USUAL: usize = 256 * 1024;
/// How long lines are collected before they are written together. Under load this saves a wake-up
/// of the writing thread, and a system call, for each line.
const COLLECT: Duration = Duration::from_millis(10);
/// How long the last lines may take at exit when nobody reads them.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Of the libraries only what a person has to act on.
const LIBRARIES: &str = "pingora_core=error,pingora_proxy=error,pingora_cache=error,h2=error,rustls=error,tokio_postgres=warn,refinery_core=warn";

/// The way to stdout. Cheap to clone.
#[derive(Clone)]
pub struct Output(Arc<Handle>);

/// What all clones of an [`Output`] share; the writing thread ends with it.
struct Handle(Arc<Queue>);

/// What lies between those who say something and the thread that writes it. The lock is held for
/// as long as it takes to copy a line.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to write, or nothing will come any more.
    called: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    /// Bytes handed over, and written, since the start.
    taken_in: u64,
    written: u64,
    is_closed: bool,
}

impl Output {
    /// Starts the thread that writes to stdout.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn stdout() -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let read = queue.clone();
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write_all(&read))?;
        Ok(Self(Arc::new(Handle(queue))))
    }

    /// Hands over whole lines, each with its line end.
    pub fn write(&self, lines: &[u8]) {
        let queue = &self.0.0;
        let mut state = queue.state.lock();
        if state.lines.len() + lines.len() > QUEUE {
            state.dropped += 1;
            return;
        }
        let is_first = state.lines.is_empty();
        state.lines.extend_from_slice(lines);
        state.taken_in += lines.len() as u64;
        drop(state);
        if is_first {
            queue.called.notify_one();
        }
    }

    /// Waits until what was handed over has been written, for at most two seconds.
    pub fn flush(&self) {
        let queue = &self.0.0;
        let mut state = queue.state.lock();
        let taken_in = state.taken_in;
        // Where nobody reads, exit must not hang on it.
        queue
            .written
            .wait_while_for(&mut state, |state| state.written < taken_in, LAST_LINES);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.lock().is_closed = true;
        self.0.called.notify_one();
    }
}

/// Sends `tracing` events, and those of libraries that use `log`, to `output`.
///
/// # Errors
/// `log.level` is no filter, or logging was started before.
pub fn start(log: &Log, output: &Output) -> anyhow::Result<()> {
    // The more exact directive wins, so the user's own about a library are kept.
    let filter = EnvFilter::try_new(format!("{LIBRARIES},{}", log.level))
        .with_context(|| format!("log.level = {:?} is no level or filter", log.level))?;
    let events = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(output.clone())
        .with_ansi(false);
    let started = match log.format {
        LogFormat::Text => events.with_target(false).try_init(),
        LogFormat::Json => events.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic is a line like any other; `RUST_BACKTRACE=1` adds where it came from.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("not a text");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(location, message, %backtrace, "panic");
    } else {
        tracing::error!(location, message, "panic");
    }
}

fn write_all(queue: &Queue) {
    let mut batch = Vec::with_capacity(USUAL);
    loop {
        let mut state = queue.state.lock();
        queue.called.wait_while(&mut state, |state| {
            state.lines.is_empty() && !state.is_closed
        });
        if state.lines.is_empty() {
            return;
        }
        drop(state);
        thread::sleep(COLLECT);
        let mut state = queue.state.lock();
        std::mem::swap(&mut batch, &mut state.lines);
        let lost = std::mem::take(&mut state.dropped);
        drop(state);

        let count = batch.len() as u64;
        if lost > 0 {
            let notice = format!("{lost} log lines were dropped: stdout is not read fast enough\n");
            batch.extend_from_slice(notice.as_bytes());
        }
        let mut stdout = io::stdout().lock();
        // A stdout that is closed is the operator's choice; serving doesn't depend on it.
        let _ = stdout.write_all(&batch).and_then(|()| stdout.flush());
        drop(stdout);
        queue.state.lock().written += count;
        queue.written.notify_all();
        batch.clear();
        batch.shrink_to(USUAL);
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event {
            output: self.clone(),
            bytes: Vec::new(),
        }
    }
}

/// One event on its way; it is handed over whole when dropped.
pub struct Event {
    output: Output,
    bytes: Vec<u8>,
}

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.output.write(&self.bytes);
    }
}
