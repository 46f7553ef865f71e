//! The sockets the edge listens on.
//!
//! They are bound here, before anything else is started, so that a port in use is an error with its
//! remedy and not a panic in Pingora; Pingora's listening services then take them over by name.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use parking_lot::Mutex;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{Fds, ListenFds, ShutdownWatch};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use tokio::task::JoinHandle;

use super::connection::Connection;

/// For TLS: rustls takes 4 KiB at a time, and a record has up to 16. Without TLS the reader's own
/// buffers are all that an idle connection needs.
const READ_BUFFER: usize = 16 * 1024;
/// Bytes collected before they are written: a head and a small body leave together.
const WRITE_BUFFER: usize = 8 * 1024;

/// A bound socket that nobody accepts from yet: clients wait in its queue.
#[derive(Debug)]
pub struct Bound {
    /// The address really bound; the port is known here where the configuration says 0.
    pub address: SocketAddr,
    socket: TcpListener,
}

impl Bound {
    /// The socket, for who accepts from it without Pingora. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn into_tokio(self) -> io::Result<tokio::net::TcpListener> {
        self.socket.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(self.socket)
    }
}

/// Binds every address, or says which one can't be had and why.
///
/// # Errors
/// One line naming the address, the configuration key and the remedy.
pub fn bind(key: &str, addresses: &[SocketAddr]) -> anyhow::Result<Vec<Bound>> {
    addresses
        .iter()
        .map(|&address| bind_one(address).map_err(|error| explain(key, address, &error)))
        .collect()
}

/// Accepts connections on `bound` and hands each to `app`, until `shutdown` turns true.
pub(super) fn accept(
    bound: Vec<Bound>,
    name: &str,
    app: Connection,
    shutdown: &ShutdownWatch,
) -> anyhow::Result<JoinHandle<()>> {
    let read_buffer = app.acceptor.as_ref().map_or(0, |_| READ_BUFFER);
    let buffers = L4BufferSettings::new(read_buffer, WRITE_BUFFER);
    let mut service = Service::new(name.to_owned(), app);
    let mut sockets = Fds::new();
    for Bound { address, socket } in bound {
        socket
            .set_nonblocking(true)
            .with_context(|| format!("cannot prepare the socket of {address}"))?;
        service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffers));
        sockets.add(address.to_string(), socket.into_raw_fd());
    }
    let sockets: ListenFds = Arc::new(Mutex::new(sockets));
    let shutdown = shutdown.clone();
    Ok(tokio::spawn(async move {
        service.start_service(Some(sockets), shutdown, 1).await;
    }))
}

fn bind_one(address: SocketAddr) -> io::Result<Bound> {
    let socket = match TcpListener::bind(address) {
        // Machines and containers without IPv6: "every address" then means every IPv4 address.
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))?
        }
        bound => bound?,
    };
    Ok(Bound {
        address: socket.local_addr()?,
        socket,
    })
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

fn explain(key: &str, address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "cannot listen on {address}: port {port} is in use; stop the program that holds it (ss -ltnp 'sport = :{port}') or change {key}"
        ),
        io::ErrorKind::PermissionDenied => anyhow!(
            "cannot listen on {address}: ports below 1024 need a privilege; run `setcap cap_net_bind_service=+ep` on the binary, give the service CAP_NET_BIND_SERVICE, or change {key}"
        ),
        io::ErrorKind::AddrNotAvailable => {
            anyhow!("cannot listen on {address}: this machine has no such address; change {key}")
        }
        _ => anyhow!("cannot listen on {address} ({key}): {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_its_key() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind("server.http", &[address]).unwrap_err().to_string();
        assert!(error.contains(&address.port().to_string()), "{error}");
        assert!(error.contains("server.http"), "{error}");
    }

    #[test]
    fn port_0_becomes_a_real_port() {
        let bound = bind("server.http", &["127.0.0.1:0".parse().unwrap()]).unwrap();
        assert_ne!(bound[0].address.port(), 0);
    }
}
