//! How many connections there may be: of all clients together, and of one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::client_address::network_key;
use super::open_files;

/// Of the room for connections, the part that must be free for the next want of it to be news.
const EASE: usize = 10;

/// Counts connections; shared by all listeners.
///
/// The lock is taken twice in the life of a connection, never for a request.
#[derive(Clone)]
pub(crate) struct Connections {
    /// Open files that the process may have.
    files: u64,
    counts: Arc<Mutex<Counts>>,
    open: Arc<watch::Sender<usize>>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    of_network: HashMap<IpAddr, usize>,
    /// Somebody was refused for want of room, and there has been no ease since.
    refusing: bool,
}

/// The most connections allowed at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    /// Of all clients together.
    pub(crate) total: usize,
    /// Of one IPv4 address or IPv6 /64; `None` for a proxy that speaks for many clients.
    pub(crate) per_network: Option<usize>,
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// `server.max_connections` is reached.
    Total {
        /// Whether nobody was, since there was room enough.
        first: bool,
    },
    /// `server.max_connections_per_ip` is reached.
    Network,
}

/// One counted connection; it stops counting when dropped.
pub(crate) struct Place {
    connections: Connections,
    network: IpAddr,
}

impl Connections {
    /// For a process that may have so many open files.
    pub(crate) fn within(files: u64) -> Self {
        Self {
            files,
            counts: Arc::default(),
            open: Arc::new(watch::Sender::new(0)),
        }
    }

    /// How many connections there may be: as many as are wished for, or as open files allow.
    pub(crate) fn room(&self, wished: usize, forwards: bool) -> usize {
        wished.min(open_files::connections_within(self.files, forwards))
    }

    /// Counts a connection from `address`, if there is room for it.
    pub(crate) fn admit(&self, address: IpAddr, caps: Caps) -> Result<Place, Full> {
        let network = network_key(address);
        let mut counts = self.counts.lock();
        if counts.total >= caps.total {
            let first = !std::mem::replace(&mut counts.refusing, true);
            return Err(Full::Total { first });
        }
        // A tenth must be free again, or the log would tell of each coming and going.
        if counts.total < caps.total - caps.total / EASE {
            counts.refusing = false;
        }
        let of_network = counts.of_network.entry(network).or_default();
        if caps.per_network.is_some_and(|most| *of_network >= most) {
            return Err(Full::Network);
        }
        *of_network += 1;
        counts.total += 1;
        self.open.send_replace(counts.total);
        Ok(Place {
            connections: self.clone(),
            network,
        })
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until no connection is left.
    pub(crate) async fn all_closed(&self) {
        let mut open = self.open.subscribe();
        // The sender lives as long as `self`, so this ends with the count at zero.
        let _ = open.wait_for(|open| *open == 0).await;
    }
}

impl Place {
    /// Counts the connection as one of `address` from here on: of the client that a proxy speaks for.
    ///
    /// # Errors
    /// That client has its `per_network` connections already. The place counts as before then.
    pub(crate) fn belongs_to(
        &mut self,
        address: IpAddr,
        per_network: Option<usize>,
    ) -> Result<(), Full> {
        let network = network_key(address);
        let mut counts = self.connections.counts.lock();
        let of_network = counts.of_network.get(&network).copied().unwrap_or_default();
        // It may be one of them already: then there need be no room for another.
        let others = of_network - usize::from(network == self.network);
        if per_network.is_some_and(|most| others >= most) {
            return Err(Full::Network);
        }
        counts.leave(self.network);
        *counts.of_network.entry(network).or_default() += 1;
        self.network = network;
        Ok(())
    }
}

impl Counts {
    fn leave(&mut self, network: IpAddr) {
        if let Some(of_network) = self.of_network.get_mut(&network) {
            *of_network -= 1;
            if *of_network == 0 {
                self.of_network.remove(&network);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.connections.counts.lock();
        counts.total -= 1;
        counts.leave(self.network);
        self.connections.open.send_replace(counts.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_network_is_capped_before_all_are() {
        let connections = Connections::within(u64::MAX);
        let caps = Caps {
            total: 3,
            per_network: Some(2),
        };
        let first = connections.admit(address("10.0.0.1"), caps).ok();
        let _second = connections.admit(address("10.0.0.1"), caps).ok();
        assert_eq!(
            connections.admit(address("10.0.0.1"), caps).err(),
            Some(Full::Network)
        );
        let _third = connections.admit(address("10.0.0.2"), caps).ok();
        assert_eq!(
            connections.admit(address("10.0.0.3"), caps).err(),
            Some(Full::Total { first: true })
        );
        drop(first);
        assert_eq!(connections.open(), 2);
        assert!(connections.admit(address("10.0.0.1"), caps).is_ok());
    }

    #[test]
    fn a_want_of_room_is_news_once_until_there_is_ease() {
        let connections = Connections::within(u64::MAX);
        let caps = Caps {
            total: 20,
            per_network: None,
        };
        let client = address("10.0.0.1");
        let come = || connections.admit(client, caps);
        let mut inside: Vec<_> = (0..20).map(|_| come().ok()).collect();
        let table = [
            (0, true, "the first"),
            (0, false, "nobody has left"),
            (1, false, "one place is no ease"),
            (2, false, "a tenth is not more than a tenth"),
            (3, true, "that was ease: the next is news"),
        ];
        for (leave, expected, why) in table {
            inside.truncate(20 - leave);
            inside.resize_with(20, || come().ok());
            let refused = come().err();
            assert_eq!(refused, Some(Full::Total { first: expected }), "{why}");
        }
    }

    #[test]
    fn few_open_files_mean_few_connections() {
        let connections = Connections::within(1024);
        assert_eq!(connections.room(10_000, false), 768);
        assert_eq!(connections.room(100, false), 100);
    }

    #[test]
    fn ipv6_clients_are_counted_by_their_64() {
        let connections = Connections::within(u64::MAX);
        let caps = Caps {
            total: 9,
            per_network: Some(1),
        };
        let _one = connections.admit(address("2001:db8::1"), caps).ok();
        assert_eq!(
            connections.admit(address("2001:db8::2"), caps).err(),
            Some(Full::Network)
        );
        assert!(connections.admit(address("2001:db8:0:1::1"), caps).is_ok());
    }

    #[test]
    fn a_refused_client_leaves_no_trace() {
        let connections = Connections::within(u64::MAX);
        let none = Caps {
            total: 9,
            per_network: Some(0),
        };
        assert!(connections.admit(address("10.0.0.1"), none).is_err());
        let proxy = Caps {
            total: 9,
            per_network: None,
        };
        drop(connections.admit(address("10.0.0.1"), proxy));
        assert!(connections.counts.lock().of_network.is_empty());
    }

    #[test]
    fn a_proxys_connection_counts_for_its_client() {
        let connections = Connections::within(u64::MAX);
        let proxy = Caps {
            total: 9,
            per_network: None,
        };
        let mut places = [(); 3].map(|()| connections.admit(address("10.0.0.1"), proxy).ok());
        let mut moved = places
            .iter_mut()
            .flatten()
            .map(|place| place.belongs_to(address("2001:db8::1"), Some(2)).err());
        assert_eq!(
            [moved.next(), moved.next(), moved.next()],
            [Some(None), Some(None), Some(Some(Full::Network))]
        );
        drop(moved);
        drop(places);
        assert_eq!(connections.open(), 0);
        assert!(connections.counts.lock().of_network.is_empty());
    }

    #[test]
    fn a_connection_does_not_stand_in_its_own_way() {
        let connections = Connections::within(u64::MAX);
        let one = Caps {
            total: 9,
            per_network: Some(1),
        };
        let proxy = Caps {
            per_network: None,
            ..one
        };
        let stays = |caps: Caps, from: &str, to: &str| {
            let mut place = connections.admit(address(from), caps).ok()?;
            let refusal = place.belongs_to(address(to), one.per_network).err();
            refusal.is_none().then_some(place)
        };
        let direct = stays(one, "10.0.0.1", "10.0.0.1");
        assert!(direct.is_some(), "nobody speaks for it");
        let neighbour = stays(proxy, "2001:db8::1", "2001:db8::2");
        assert!(neighbour.is_some(), "a proxy and its client in one /64");
        let second = stays(proxy, "2001:db8::1", "2001:db8::3");
        assert!(second.is_none(), "that client's second");
        assert_eq!(connections.open(), 2);
        drop((direct, neighbour));
        assert!(connections.counts.lock().of_network.is_empty());
    }
}
