//! Another configuration in the place of the one in force, while requests run.
//!
//! 1. [`View::prepare`] makes everything that can fail: the snapshot, and the sockets of new listeners.
//!    It sees what is running and can't touch it, so an error leaves nothing to take back.
//! 2. [`Running::go_on_with`] can't fail: the snapshot is swapped, new listeners open, and those that
//!    are no longer wanted are [taken away](super::farewell). The others don't notice; requests that
//!    have begun keep the snapshot they began with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::bound::{self, AtHand, Bound};
use super::listeners::Prepared;
use super::snapshot::{Snapshot, Surroundings};
use super::{Addresses, Edge, Running, Tls, kept_connections};
use crate::config::Config;

/// What is running, for who prepares what follows.
pub struct View {
    edge: Arc<Edge>,
    /// In the order of [`Running`], until it [goes on](Running::go_on_with).
    listening: Vec<Seen>,
}

/// A listener at work.
struct Seen {
    is_tls: bool,
    socket: Bound,
}

/// A configuration that lacks nothing but its being put into force.
pub struct Next {
    snapshot: Snapshot,
    /// In the order of the configuration: plain listeners, then those with TLS.
    listeners: Vec<Wanted>,
    drain: Duration,
    /// Where it listens.
    pub addresses: Addresses,
}

/// A listener of the next configuration.
enum Wanted {
    /// One that listens already, by its place among those.
    Running(usize),
    New(Prepared),
}

/// Listeners of one kind, as the configuration has them.
struct Kind<'a> {
    key: &'static str,
    is_tls: bool,
    asked: &'a [SocketAddr],
}

impl View {
    /// Prepares `config`. Blocks on the disk.
    ///
    /// # Errors
    /// A directory of a route that can't be opened, an address that can't be had. Nothing has
    /// changed then.
    pub fn prepare(self, config: &Arc<Config>) -> anyhow::Result<Next> {
        let server = &config.server;
        let kinds = [
            Kind {
                key: "server.http",
                is_tls: false,
                asked: &server.http,
            },
            Kind {
                key: "server.https",
                is_tls: true,
                asked: &server.https,
            },
        ];
        let mut staying = Vec::new();
        for kind in &kinds {
            for &asked in kind.asked {
                staying.push(self.listening(kind.is_tls, asked, &staying));
            }
        }
        let mut at_hand = self.sockets_besides(&staying)?;
        let mut listeners = Vec::new();
        let [mut http, mut https] = [Vec::new(), Vec::new()];
        let asked = kinds
            .iter()
            .flat_map(|kind| kind.asked.iter().map(move |&asked| (kind, asked)));
        for ((kind, asked), staying) in asked.zip(staying) {
            let (address, listener) = if let Some(place) = staying {
                let address = self.listening[place].socket.address;
                (address, Wanted::Running(place))
            } else {
                let bound = bound::bind_one(kind.key, asked, &mut at_hand);
                let bound = bound.map_err(|error| self.explain(asked, error))?;
                let address = bound.address;
                (address, Wanted::New(Prepared::new(bound, kind.is_tls)?))
            };
            let addresses = if kind.is_tls { &mut https } else { &mut http };
            addresses.push(address);
            listeners.push(listener);
        }
        let addresses = Addresses { http, https };
        let before = self.edge.snapshot();
        let around = Surroundings {
            measures: self.edge.measures,
            redirect: addresses.redirect(config),
            before: Some(&before),
        };
        Ok(Next {
            snapshot: Snapshot::prepare(config.clone(), &around)?,
            listeners,
            drain: server.drain,
            addresses,
        })
    }

    /// The place of the listener that the configuration means, other than those `taken`.
    fn listening(&self, is_tls: bool, asked: SocketAddr, taken: &[Option<usize>]) -> Option<usize> {
        let mut places = 0..self.listening.len();
        places
            .find(|&place| self.listening[place].is(is_tls, asked) && !taken.contains(&Some(place)))
    }

    /// The sockets of listeners that don't stay: one that becomes another kind of listener goes on
    /// with the same socket, and the clients in its queue.
    fn sockets_besides(&self, staying: &[Option<usize>]) -> anyhow::Result<AtHand> {
        let leaving = self.listening.iter().enumerate();
        let leaving = leaving.filter(|(place, _)| !staying.contains(&Some(*place)));
        let sockets = leaving.map(|(_, listener)| listener.socket.share());
        Ok(AtHand::of(sockets.collect::<Result<_, _>>()?))
    }

    /// Says so where it is this server that holds the port.
    fn explain(&self, asked: SocketAddr, error: anyhow::Error) -> anyhow::Error {
        let own = self
            .listening
            .iter()
            .map(|listener| listener.socket.address);
        let own = own
            .filter(|own| own.port() == asked.port() && asked.port() != 0)
            .find(|own| own.ip().is_unspecified() || asked.ip().is_unspecified());
        match own {
            Some(own) => anyhow!(
                "cannot listen on {asked} while this server listens on {own}: restart it, or reload once without {own} and then with {asked}"
            ),
            None => error,
        }
    }
}

impl Seen {
    /// Whether the configuration means this one.
    fn is(&self, is_tls: bool, asked: SocketAddr) -> bool {
        self.is_tls == is_tls && self.socket.asked == asked
    }
}

impl Next {
    /// With what its TLS listeners need.
    #[must_use]
    pub fn with(mut self, tls: Option<Tls>) -> Self {
        self.snapshot.speak(tls);
        self
    }
}

impl Running {
    /// What is running, for who prepares what follows.
    ///
    /// # Errors
    /// The process has no more handles.
    pub fn view(&self) -> anyhow::Result<View> {
        let listening = self.listening.iter().map(|listener| {
            Ok(Seen {
                is_tls: listener.is_tls,
                socket: listener.socket.share()?,
            })
        });
        Ok(View {
            edge: self.edge.clone(),
            listening: listening.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Puts what was prepared into force. Must be called within a tokio runtime.
    pub fn go_on_with(&mut self, next: Next) {
        let Next {
            snapshot,
            listeners,
            drain,
            ..
        } = next;
        let config = snapshot.config.clone();
        let snapshot = Arc::new(snapshot);
        snapshot.keep_watch();
        let before = self.edge.snapshot.swap(snapshot.clone());
        before.leave_checks_to(&snapshot);
        if kept_connections(&before.config) != kept_connections(&config) {
            // Pingora's pool never changes its size, so this is another pool.
            let proxy = super::proxy_as(&config, &self.edge);
            self.proxy.store(Arc::new(proxy));
        }
        let mut listening: Vec<_> = self.listening.drain(..).map(Some).collect();
        for listener in listeners {
            match listener {
                Wanted::New(new) => {
                    let (is_tls, address) = (new.is_tls, new.socket.address);
                    let scheme = if is_tls { "https" } else { "http" };
                    tracing::info!(url = %format!("{scheme}://{address}"), "listening");
                    self.open(new);
                }
                // Each is wanted once.
                Wanted::Running(place) => self.listening.extend(listening[place].take()),
            }
        }
        self.leaving.retain(|leaving| !leaving.is_gone());
        let unwanted = listening.into_iter().flatten();
        self.leaving
            .extend(unwanted.map(|listener| listener.take_away(drain)));
    }
}
