//! What goes on without an end is told to begin anew elsewhere when its server ends, and the server
//! doesn't wait for the rest of `server.drain`.

mod event_streams;
mod websockets;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::server::{Server, Setup};
use crate::upgrade::{self, wait_for_end};

/// Nobody waits so long here.
const DRAIN: &str = "drain = \"10m\"";
/// What the end of a process may take on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Sigterm,
    Upgrade,
}

/// A process that was asked to end.
struct Ending {
    pid: Pid,
    how: How,
    asked: Instant,
}

fn setup(upstream: &str) -> Setup {
    upgrade::setup(
        DRAIN,
        &format!("{upstream}\n[[route]]\npath = \"/\"\nupstream = \"backend\"\n"),
    )
}

impl How {
    fn end(self, server: &mut Server) -> Ending {
        let pid = server.pid();
        match self {
            Self::Sigterm => server.signal(Signal::SIGTERM),
            Self::Upgrade => {
                upgrade::upgrade(server);
            }
        }
        Ending {
            pid,
            how: self,
            asked: Instant::now(),
        }
    }
}

impl Ending {
    /// Asserts that it has ended soon, with nobody cut.
    fn assert_in_order(self, server: &mut Server) {
        let how = self.how;
        // It may be read a moment after the end of who has written it.
        server.wait_for_line("every request was finished");
        match how {
            How::Sigterm => assert!(server.wait().success()),
            How::Upgrade => wait_for_end(self.pid),
        }
        let took = self.asked.elapsed();
        assert!(took < SOON, "{how:?}: {took:?}");
        let log = server.log();
        for complaint in ["connections cut", "request failed", "ejected", "panicked"] {
            assert!(!log.contains(complaint), "{how:?}: {log}");
        }
    }
}
