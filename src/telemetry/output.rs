//! The way to stdout: a thread of its own writes, many lines at once under load, so that no request
//! waits for whoever reads our output. If that reader stops, or the disk is full, lines are lost and
//! [counted](Losses), and serving goes on.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::stat::{SFlag, fstat};
use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

use super::losses::{Losses, lines_in};

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
    losses: Losses,
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
        // Not through `Stdout`, which would keep what could not be written and write it again.
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let at_once = most_at_once(&stdout);
        let queue = Arc::new(Queue::default());
        let read = queue.clone();
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write_all(&read, stdout, at_once))?;
        Ok(Self(Arc::new(Handle(queue))))
    }

    /// Hands over whole lines, each with its line end.
    pub fn write(&self, lines: &[u8]) {
        let queue = &self.0.0;
        let mut state = queue.state.lock();
        if state.lines.len() + lines.len() > QUEUE {
            state.losses.unread(lines_in(lines));
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
        // Where nobody reads, exit must not hang on it. What the writer itself has to tell comes with the
        // lines it follows.
        let is_underway = |state: &mut State| state.written < state.taken_in;
        queue
            .written
            .wait_while_for(&mut state, is_underway, LAST_LINES);
    }

    /// Lines that were lost.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.0.0.state.lock().losses.clone()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.lock().is_closed = true;
        self.0.called.notify_one();
    }
}

fn write_all(queue: &Queue, mut stdout: impl Write, at_once: usize) {
    let mut batch = Vec::with_capacity(USUAL);
    let mut is_torn = false;
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
        std::mem::swap(&mut batch, &mut queue.state.lock().lines);

        // A line that was begun and could not be finished must not run into the next one.
        let mended = if is_torn {
            write_piece(&mut stdout, b"\n").1
        } else {
            Ok(())
        };
        let (written, outcome) = match mended {
            Ok(()) => {
                is_torn = false;
                write_pieces(&mut stdout, &batch, at_once)
            }
            Err(error) => (0, Err(error)),
        };
        if let Some(last) = batch[..written].last() {
            is_torn = *last != b'\n';
        }
        let untold = match outcome {
            Ok(()) => queue.state.lock().losses.written(),
            // Serving doesn't depend on it. The next lines are tried again.
            Err(error) => {
                let lost = lines_in(&batch[written..]);
                queue.state.lock().losses.unwritten(lost, &error);
                None
            }
        };
        if let Some(untold) = untold {
            untold.tell();
        }
        queue.state.lock().written += batch.len() as u64;
        queue.written.notify_all();
        batch.clear();
        batch.shrink_to(USUAL);
    }
}

/// Writes `lines`; how many of their bytes were taken, and why not all.
fn write_pieces(stdout: &mut impl Write, lines: &[u8], at_once: usize) -> (usize, io::Result<()>) {
    let mut written = 0;
    for piece in pieces(lines, at_once) {
        let (taken, outcome) = write_piece(stdout, piece);
        written += taken;
        if outcome.is_err() {
            return (written, outcome);
        }
    }
    (written, Ok(()))
}

fn write_piece(stdout: &mut impl Write, piece: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < piece.len() {
        match stdout.write(&piece[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(taken) => written += taken,
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                // Somebody who shares stdout has made it so: then this waits as any other write would.
                ErrorKind::WouldBlock => thread::sleep(COLLECT),
                _ => return (written, Err(error)),
            },
        }
    }
    (written, Ok(()))
}

/// Bytes that `stdout` takes without another process's between them: at an upgrade the next process writes
/// to the same place.
fn most_at_once(stdout: &File) -> usize {
    let file = SFlag::S_IFREG.bits();
    match fstat(stdout) {
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
    use nix::libc::{EAGAIN, EINTR, ENOSPC};

    use super::*;

    /// A disk with so much room, and what lies on it.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, there) = &mut *self.0.lock();
            let taken = bytes.len().min(*room);
            if taken == 0 {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            *room -= taken;
            there.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Disk {
        fn has_room_for(&self, bytes: usize) {
            self.0.lock().0 = bytes;
        }

        fn there(&self) -> String {
            String::from_utf8(self.0.lock().1.clone()).unwrap()
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_tears_no_later_line() {
        let disk = Disk::default();
        let queue = Arc::new(Queue::default());
        let (read, to) = (queue.clone(), disk.clone());
        thread::spawn(move || write_all(&read, to, usize::MAX));
        let output = Output(Arc::new(Handle(queue)));
        let say = |lines: &str| {
            output.write(lines.as_bytes());
            output.flush();
            output.losses()
        };
        disk.has_room_for(5);
        assert_eq!(say("one\n").total(), 0);
        let lost = say("two\nthree\n");
        assert_eq!(
            (lost.unwritten, lost.unread),
            (2, 0),
            "one is torn, one whole"
        );
        assert!(lost.failing.unwrap().contains("No space left"));
        assert_eq!(say("four\n").unwritten, 3);
        disk.has_room_for(1);
        assert_eq!(say("five\n").unwritten, 4, "only the torn line got its end");
        disk.has_room_for(1000);
        let lost = say("six\n");
        assert_eq!((lost.unwritten, lost.failing), (4, None));
        assert_eq!(say("seven\n").unwritten, 4);
        assert_eq!(disk.there(), "one\nt\nsix\nseven\n");
    }

    #[test]
    fn what_has_no_room_to_wait_in_is_counted_by_its_lines() {
        let output = Output(Arc::new(Handle(Arc::new(Queue::default()))));
        output.write(&vec![b'x'; QUEUE]);
        output.write(b"one\ntwo\n");
        assert_eq!(output.losses().unread, 2);
        assert!(output.losses().last.is_some());
    }

    #[test]
    fn a_pause_of_the_reader_is_no_failure() {
        struct Busy(Vec<i32>);
        impl Write for Busy {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match self.0.pop() {
                    Some(code) => Err(io::Error::from_raw_os_error(code)),
                    None => Ok(bytes.len()),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, outcome) = write_piece(&mut Busy(vec![EINTR, EAGAIN]), b"line\n");
        assert!(outcome.is_ok());
        assert_eq!(written, 5);
    }

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
