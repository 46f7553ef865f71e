//! Sockets that systemd has opened for us (`sd_listen_fds(3)`): it holds them while no process runs,
//! so that clients wait in their queues and meet no refusal, and ports below 1024 need no privilege.

use anyhow::{Context as _, bail};
use listenfd::ListenFd;

use super::Passed;

/// The sockets that this process was started with, if it was. To be asked once, before there is
/// another thread: it takes the variables out of the environment.
///
/// # Errors
/// One of them listens for no TCP connections.
pub fn sockets() -> anyhow::Result<Vec<Passed>> {
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        let number = index + 1;
        let socket = given
            .take_tcp_listener(index)
            .with_context(|| format!("LISTEN_FDS: socket {number} is none for TCP; ListenStream= of the .socket unit must be a port or an address"))?;
        let Some(socket) = socket else {
            bail!("LISTEN_FDS: there is no socket {number}");
        };
        let asked = socket
            .local_addr()
            .with_context(|| format!("LISTEN_FDS: socket {number} has no address"))?;
        sockets.push(Passed { asked, socket });
    }
    Ok(sockets)
}
