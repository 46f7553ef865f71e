//! Who accepts from the [bound sockets](super::bound).
//!
//! Each listener has a Pingora service of its own, which takes its socket over by name, so that one can be opened or
//! taken away while the others go on ([`Listening`]).

use std::convert::Infallible;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::bound::Bound;
use super::farewell::{Farewell, Stage};

/// Part of what serves the connections of a listener, of which there is one: it lives while the listener
/// accepts, and as long as any connection. Pingora has it beside each from the moment of its acceptance,
/// and so before the connection's task has begun to run and counts as open.
pub(super) type Here = oneshot::Sender<Infallible>;

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
    accepting: Bound,
}

/// A listener that was taken away, and connections that it has left behind.
#[derive(Debug)]
pub(super) struct Leaving {
    farewell: Arc<Farewell>,
    gone: JoinHandle<()>,
}

impl Prepared {
    /// # Errors
    /// The process has no more handles.
    pub(super) fn new(socket: Bound, is_tls: bool) -> anyhow::Result<Self> {
        let address = socket.address;
        let accepting = socket.share();
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

    /// How its connections come to their end.
    pub(super) fn farewell(&self) -> &Arc<Farewell> {
        &self.farewell
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
    /// How its connections come to their end.
    pub(super) fn farewell(&self) -> &Arc<Farewell> {
        &self.farewell
    }

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
    use crate::edge::bound::{AtHand, bind_one};

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
}
