//! What the program says while it runs: one stream of lines on stdout.
//!
//! A thread of its own writes them, many at once under load, so that no request waits for whoever
//! reads our output. If that reader stops, lines are dropped and counted, and serving goes on.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};

/// Lines that may wait for the writer before further ones are dropped.
const QUEUE: usize = 16 * 1024;
/// Bytes written at once.
const BATCH: usize = 64 * 1024;
/// How long lines are collected before they are written together. Under load this saves a wake-up
/// of the writing thread, and a system call, for each line.
const COLLECT: Duration = Duration::from_millis(10);
/// How long the last lines may take at exit when nobody reads them.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Of the libraries only what a person has to act on.
const LIBRARIES: &str = "pingora_core=error,pingora_proxy=error,h2=error,rustls=error,tokio_postgres=warn,refinery_core=warn";

/// The way to stdout. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Lines(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Output {
    /// Starts the thread that writes to stdout.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn stdout() -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write_all(&messages, &counted))?;
        Ok(Self { queue, dropped })
    }

    /// Hands over whole lines, each with its line end.
    pub fn write(&self, lines: Vec<u8>) {
        if self.queue.try_send(Message::Lines(lines)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was handed over has been written, for at most two seconds.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // Nobody reads: exit must not hang on it.
            let _ = wait.recv_timeout(LAST_LINES);
        }
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

fn write_all(messages: &Receiver<Message>, dropped: &AtomicU64) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut waiting = Vec::new();
    while let Ok(first) = messages.recv() {
        if matches!(first, Message::Lines(_)) {
            thread::sleep(COLLECT);
        }
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Lines(lines) => batch.extend_from_slice(&lines),
                Message::Flush(done) => waiting.push(done),
            }
            next = (batch.len() < BATCH)
                .then(|| messages.try_recv().ok())
                .flatten();
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let notice = format!("{lost} log lines were dropped: stdout is not read fast enough\n");
            batch.extend_from_slice(notice.as_bytes());
        }
        let mut stdout = io::stdout().lock();
        // A stdout that is closed is the operator's choice; serving doesn't depend on it.
        let _ = stdout.write_all(&batch).and_then(|()| stdout.flush());
        batch.clear();
        for done in waiting.drain(..) {
            let _ = done.send(());
        }
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
        self.output.write(std::mem::take(&mut self.bytes));
    }
}
