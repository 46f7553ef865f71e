//! One process hands its work over to the next, and no client notices.
//!
//! Both sides talk over a unix socket ([`channel`]) in the words of [`message`]:
//! 1. The running process offers its listening sockets and its lock on the data directory.
//! 2. The new one prepares everything with them and says that it is ready, or why it can't be.
//! 3. "Begin", says the old one. From here on the new one accepts connections, too.
//! 4. "Serving", says the new one. Both accept now, for as long as the old one watches: were the new one to
//!    crash with its first requests, the old one would just go on.
//! 5. The old one ends the conversation. It stops accepting, finishes what it has begun, and ends; the
//!    new one is on its own.
//!
//! Whatever goes wrong before the fifth step leaves the old process in charge, and nothing lost but what
//! the new one was answering if it crashed: the queue of a listening socket belongs to both. One that has
//! begun to serve and is to stop, because it was told so or because the old one says "refused", finishes
//! what it has begun; a [child](started) of the old one is waited for.
//!
//! [`leaving`] is the old side, [`arriving`] the new one; [`program`] starts a new process, and at
//! [`place`] one that somebody else has started finds the old one. [`activation`] and [`notify`] are the
//! same with systemd at the other end.

pub mod activation;
pub mod arriving;
mod channel;
pub mod leaving;
mod message;
pub mod notify;
mod place;
mod program;
mod started;

use std::net::{SocketAddr, TcpListener};

/// A listening socket on its way from one process to another.
#[derive(Debug)]
pub struct Passed {
    /// The address that the configuration asks for, whose port may be 0.
    pub asked: SocketAddr,
    /// The socket.
    pub socket: TcpListener,
}

/// Which process it is about.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Program {
    /// Of the program.
    pub version: String,
    /// Its process id.
    pub pid: u32,
}

impl Program {
    /// This process.
    #[must_use]
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        }
    }
}

/// What this process may hand over.
#[derive(Debug, Default)]
pub struct Belongings {
    /// What it listens on.
    pub sockets: Vec<Passed>,
    /// The lock of the embedded database, where this process keeps one.
    pub lock: Option<std::os::fd::OwnedFd>,
}
