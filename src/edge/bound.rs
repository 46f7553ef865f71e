//! The sockets the edge listens on, before anybody accepts from them.
//!
//! They are bound before anything else is started, so that a port in use is an error with its remedy and not a panic in
//! Pingora. A socket that somebody has bound before ([`AtHand`]) is taken as it is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};

use anyhow::anyhow;

/// A bound socket that nobody accepts from yet: clients wait in its queue.
#[derive(Debug)]
pub struct Bound {
    /// The address as the configuration has it; a port 0 is still 0 here.
    pub asked: SocketAddr,
    /// The address really bound; the port is known here where the configuration says 0.
    pub address: SocketAddr,
    /// It never blocks.
    socket: TcpListener,
}

/// Sockets that are bound already: by a process before this one, by systemd, or by this process for
/// another configuration.
#[derive(Debug, Default)]
pub struct AtHand(Vec<Bound>);

impl Bound {
    /// A socket that somebody else has bound and listens on, for the listener that the configuration
    /// calls `asked`.
    ///
    /// # Errors
    /// It isn't such a socket.
    pub fn adopt(asked: SocketAddr, socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            asked,
            address: socket.local_addr()?,
            socket,
        })
    }

    /// Another handle to the same socket, whose clients wait in the same queue.
    ///
    /// # Errors
    /// The process has no more handles.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            ..*self
        })
    }

    /// The socket, for who accepts from it without Pingora. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn into_tokio(self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket)
    }
}

impl IntoRawFd for Bound {
    fn into_raw_fd(self) -> RawFd {
        self.socket.into_raw_fd()
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AtHand {
    /// Nothing was bound before.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// These.
    #[must_use]
    pub fn of(sockets: Vec<Bound>) -> Self {
        Self(sockets)
    }

    /// Where those are that nobody has asked for.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|bound| bound.address)
    }

    /// The socket for the listener that the configuration calls `asked`.
    fn take(&mut self, asked: SocketAddr) -> Option<Bound> {
        let fits = |bound: &Bound| bound.asked == asked || bound.address == asked;
        let place = self.0.iter().position(fits)?;
        // In order: each of several with port 0 keeps its place among them.
        let bound = self.0.remove(place);
        Some(Bound { asked, ..bound })
    }
}

/// Binds every address that isn't at hand, or says which one can't be had and why.
///
/// # Errors
/// One line naming the address, the configuration key and the remedy.
pub fn bind(
    key: &str,
    addresses: &[SocketAddr],
    at_hand: &mut AtHand,
) -> anyhow::Result<Vec<Bound>> {
    let each = addresses.iter();
    each.map(|&address| bind_one(key, address, at_hand))
        .collect()
}

/// Binds `address`, unless it is at hand.
///
/// # Errors
/// As [`bind`].
pub(super) fn bind_one(
    key: &str,
    address: SocketAddr,
    at_hand: &mut AtHand,
) -> anyhow::Result<Bound> {
    match at_hand.take(address) {
        Some(bound) => Ok(bound),
        None => bind_anew(address).map_err(|error| explain(key, address, &error)),
    }
}

fn bind_anew(address: SocketAddr) -> io::Result<Bound> {
    let socket = match TcpListener::bind(address) {
        // Machines and containers without IPv6: "every address" then means every IPv4 address.
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))?
        }
        bound => bound?,
    };
    Bound::adopt(address, socket)
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
        let error = bind("server.http", &[address], &mut AtHand::nothing());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&address.port().to_string()), "{error}");
        assert!(error.contains("server.http"), "{error}");
    }

    #[test]
    fn port_0_becomes_a_real_port() {
        let asked = "127.0.0.1:0".parse().unwrap();
        let bound = bind("server.http", &[asked], &mut AtHand::nothing()).unwrap();
        assert_ne!(bound[0].address.port(), 0);
        assert_eq!(bound[0].asked, asked);
    }

    #[test]
    fn what_is_at_hand_is_taken_once() {
        let asked: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = TcpListener::bind(asked).unwrap();
        let address = socket.local_addr().unwrap();
        for (name, why) in [
            (asked, "as the configuration has it"),
            (address, "as it is"),
        ] {
            let bound = Bound::adopt(asked, socket.try_clone().unwrap()).unwrap();
            let mut at_hand = AtHand::of(vec![bound]);
            let bound = bind_one("server.http", name, &mut at_hand).unwrap();
            assert_eq!((bound.asked, bound.address), (name, address), "{why}");
            assert!(at_hand.0.is_empty(), "{why}");
        }
    }
}
