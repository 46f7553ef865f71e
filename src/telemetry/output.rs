//! The way to stdout: a thread of its own writes, many lines at once under load, so that no request
//! waits for whoever reads our output. If that reader stops, lines are dropped and counted, and serving
//! goes on.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::stat::{SFlag, fstat};
use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait for the writer before further lines are dropped.
const QUEUE: usize = 4 * 1024 * 1024;
/// Bytes that the queue keeps room for once they have been written.
const USUAL: usize = 256 * 1024;
/// How long lines are collected before they are written together. Under load this saves a wake-up
/// of the writing thread, and a system call, for each line.
const COLLECT: Duration = Duration::from_millis(10);
/// What a pipe takes in one piece (POSIX.1-2017, `write`).
const PIPE_BUF: usize = nix::libc::PIPE_BUF;
/// How long the last lines may take at exit when nobody reads them.
const LAST_LINES: Duration = Duration::from_secs(2);

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

fn write_all(queue: &Queue) {
    let mut batch = Vec::with_capacity(USUAL);
    let at_once = most_at_once();
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
        for piece in pieces(&batch, at_once) {
            // A stdout that is closed is the operator's choice; serving doesn't depend on it.
            let _ = stdout.write_all(piece).and_then(|()| stdout.flush());
        }
        drop(stdout);
        queue.state.lock().written += count;
        queue.written.notify_all();
        batch.clear();
        batch.shrink_to(USUAL);
    }
}

/// Bytes that stdout takes without another process's between them: at an upgrade the next process writes
/// to the same place.
fn most_at_once() -> usize {
    let file = SFlag::S_IFREG.bits();
    match fstat(io::stdout()) {
        Ok(stat) if stat.st_mode & SFlag::S_IFMT.bits() == file => usize::MAX,
        // A pipe, a socket, a terminal: what POSIX promises of pipes.
        _ => PIPE_BUF,
    }
}

/// Cuts `lines` at line ends into pieces of at most `most` bytes; a longer line is a piece of its own.
fn pieces(lines: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let within = &rest[..rest.len().min(most)];
        let end = if within.len() == rest.len() {
            rest.len()
        } else {
            let cut = memchr::memrchr(b'\n', within).or_else(|| memchr::memchr(b'\n', rest));
            cut.map_or(rest.len(), |end| end + 1)
        };
        let (piece, others) = rest.split_at(end);
        rest = others;
        Some(piece)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_cut() {
        for (lines, most, expected) in [
            ("", 4, &[][..]),
            ("a\n", 4, &["a\n"]),
            ("a\nb\n", 4, &["a\nb\n"]),
            ("a\nb\nc\n", 4, &["a\nb\n", "c\n"]),
            ("abc\nd\n", 5, &["abc\n", "d\n"]),
            ("longer\na\n", 4, &["longer\n", "a\n"]),
            ("a\nlonger", 4, &["a\n", "longer"]),
            ("a\nb\n", usize::MAX, &["a\nb\n"]),
        ] {
            let cut: Vec<_> = pieces(lines.as_bytes(), most).collect();
            let expected: Vec<_> = expected.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(cut, expected, "{lines:?}");
        }
    }
}
