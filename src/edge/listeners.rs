//! The sockets the edge listens on.
//!
//! They are bound here, before anything else is started, so that a port in use is an error with its
//! remedy and not a panic in Pingora; Pingora's listening services then take them over by name. A
//! socket that somebody has bound before ([`AtHand`]) is taken as it is.
//!
//! Each listener has a service of its own, so that one can be opened or taken away while the others
//! go on ([`Listening`]).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use parking_lot::Mutex;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::farewell::{Farewell, Stage};

/// Part of what serves the connections of a listener, of which there is one: it lives while the listener
/// accepts, and as long as any connection. Pingora has it beside each from the moment of its acceptance,
/// and so before the connection's task has begun to run and counts as open.
pub(super) type Here = oneshot::Sender<Infallible>;

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

/// A listener at work.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) is_tls: bool,
    /// The socket, for whoever is to accept from it as well.
    pub(super) socket: Bound,
    farewell: Arc<Farewell>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    /// Resolves when [`Here`] is no more.
    gone: oneshot::Receiver<Infallible>,
}

/// A listener that lacks nothing but its start.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) is_tls: bool,
    pub(super) socket: Bound,
    accepting: TcpListener,
}

/// A listener that was taken away, and connections that it has left behind.
#[derive(Debug)]
pub(super) struct Leaving {
    farewell: Arc<Farewell>,
    gone: JoinHandle<()>,
}

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

impl Prepared {
    /// # Errors
    /// The process has no more handles.
    pub(super) fn new(socket: Bound, is_tls: bool) -> anyhow::Result<Self> {
        let address = socket.address;
        let accepting = socket.socket.try_clone();
        let accepting =
            accepting.with_context(|| format!("cannot prepare the socket of {address}"))?;
        Ok(Self {
            is_tls,
            socket,
            accepting,
        })
    }

    /// Accepts connections and hands each to what `app` makes, until the listener is taken away. Must be
    /// called within a tokio runtime.
    pub(super) fn open<A>(self, app: impl FnOnce(Arc<Farewell>, Here) -> A) -> Listening
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let Self {
            is_tls,
            socket,
            accepting,
        } = self;
        let farewell = Farewell::new();
        let (here, gone) = oneshot::channel();
        let name = socket.address.to_string();
        // `edge/socket` has its own.
        let buffers = L4BufferSettings::unbuffered();
        let mut service = Service::new(name.clone(), app(farewell.clone(), here));
        service.add_listener(ListenerConfig::tcp(name.clone()).l4_buffer(buffers));
        let mut sockets = Fds::new();
        sockets.add(name, accepting.into_raw_fd());
        let sockets: ListenFds = Arc::new(Mutex::new(sockets));
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(async move {
            service.start_service(Some(sockets), stopped, 1).await;
        });
        Listening {
            is_tls,
            socket,
            farewell,
            stop,
            accepting,
            gone,
        }
    }
}

impl Listening {
    /// Takes it away: nothing is accepted from here on, its connections have `drain` for what they
    /// are doing.
    pub(super) fn take_away(self, drain: Duration) -> Leaving {
        // Whoever is told that it is taken away finds it so.
        self.say_farewell();
        let farewell = self.farewell.clone();
        let gone = tokio::spawn(async move {
            let address = self.socket.address;
            match self.empty(drain).await {
                0 => tracing::info!(%address, "no longer listening: every request was finished"),
                cut => tracing::warn!(
                    %address, connections = cut,
                    "no longer listening: server.drain is over, connections cut"
                ),
            }
        });
        Leaving { farewell, gone }
    }

    /// Has every answer from here on be its connection's last.
    pub(super) fn say_farewell(&self) {
        self.farewell.go_on_to(Stage::LastAnswer);
    }

    /// Leaves the queue of clients to another process. Each connection has one more answer, within
    /// `drain`; returns how many were cut then.
    pub(super) async fn hand_over(self, drain: Duration) -> usize {
        self.say_farewell();
        self.empty(drain).await
    }

    /// Accepts nothing from here on, and waits until the connections that are there have ended; returns
    /// how many were cut after `drain`.
    async fn empty(self, drain: Duration) -> usize {
        drop(self.socket);
        self.stop.send_replace(true);
        // A listener that panicked has stopped as well; its panic is in the log.
        let _ = self.accepting.await;
        self.farewell.take(drain, self.gone).await
    }

    /// Stops accepting, and ends the connections that ask nothing. The others end with their answer,
    /// those that have none within a part of `drain`. Returns when all have ended.
    pub(super) async fn close(self, drain: Duration) {
        self.farewell.part(drain);
        self.farewell.go_on_to(Stage::Leaving);
        drop(self.socket);
        self.stop.send_replace(true);
        // Nothing is ever sent.
        let _ = self.gone.await;
    }
}

impl Leaving {
    /// Whether none of its connections is left.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_finished()
    }

    /// Waits until none of its connections is left.
    pub(super) async fn gone(self) {
        // It panics nowhere; were it to, there would be nothing to wait for.
        let _ = self.gone.await;
    }

    /// Ends the connections that ask nothing.
    pub(super) fn hurry(&self) {
        self.farewell.go_on_to(Stage::Leaving);
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
    use std::net::TcpStream;
    use std::pin::pin;

    use async_trait::async_trait;
    use pingora_core::protocols::Stream;
    use pingora_core::server::ShutdownWatch;
    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    /// Accepts a connection, and doesn't begin with it before it is told to.
    struct Late {
        accepted: Arc<Notify>,
        begin: Arc<Notify>,
        _here: Here,
    }

    #[async_trait]
    impl ServerApp for Late {
        async fn process_new(
            self: &Arc<Self>,
            _stream: Stream,
            _shutdown: &ShutdownWatch,
        ) -> Option<Stream> {
            self.accepted.notify_one();
            self.begin.notified().await;
            None
        }
    }

    #[tokio::test]
    async fn whoever_was_accepted_is_waited_for_also_before_it_has_begun() {
        for is_handed_over in [false, true] {
            let asked = "127.0.0.1:0".parse().unwrap();
            let socket = bind_one("server.http", asked, &mut AtHand::nothing()).unwrap();
            let _client = TcpStream::connect(socket.address).unwrap();
            let [accepted, begin] = [Arc::<Notify>::default(), Arc::default()];
            let listening = Prepared::new(socket, false).unwrap();
            let listening = listening.open(|_, here| Late {
                accepted: accepted.clone(),
                begin: begin.clone(),
                _here: here,
            });
            accepted.notified().await;
            let mut ended = pin!(async {
                let drain = Duration::from_mins(1);
                if is_handed_over {
                    assert_eq!(listening.hand_over(drain).await, 0);
                } else {
                    listening.close(drain).await;
                }
            });
            let early = timeout(Duration::from_millis(100), ended.as_mut()).await;
            assert!(early.is_err(), "{is_handed_over}");
            begin.notify_one();
            ended.await;
        }
    }

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
