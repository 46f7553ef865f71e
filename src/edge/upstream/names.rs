//! Where servers are that have a name: looked up again and again, while requests go on with what is
//! known.
//!
//! A name is looked up when the lifetime of what was found is over ([`lookup`]), and at once
//! when an address has refused a connection: containers move without notice.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::time::{Instant, sleep_until};

use super::Upstream;
use super::balance::Endpoints;
use super::endpoint::{Endpoint, Facts};
use super::lookup::{self, look_up};
use super::peer::Peers;
use crate::config::{self, UpstreamAddress, UpstreamServer};

/// Between two look-ups, whatever fails.
const BREATH: Duration = Duration::from_secs(1);

/// A server whose name could not be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Which of the upstream's servers it is.
    pub(super) place: usize,
    /// Its name and port.
    server: String,
    pub(super) reason: String,
}

impl Trouble {
    /// What is known of a server where no address is.
    pub(super) fn facts(&self) -> Facts {
        Facts::unknown(self.server.clone(), self.reason.clone())
    }
}

/// What is known of one server's addresses.
pub(super) type Found = Vec<SocketAddr>;

/// The addresses of servers that have no name; a name has none yet.
pub(super) fn written(config: &config::Upstream) -> Vec<Found> {
    let address = |server: &UpstreamServer| match &server.address {
        UpstreamAddress::Tcp { host, port } => match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, *port)],
            Err(_) => Vec::new(),
        },
        UpstreamAddress::Unix(_) => Vec::new(),
    };
    config.servers.iter().map(address).collect()
}

/// The names among the servers, with their places and ports.
pub(super) fn names(config: &config::Upstream) -> Vec<(usize, String, u16)> {
    let name = |(place, server): (usize, &UpstreamServer)| match &server.address {
        UpstreamAddress::Tcp { host, port } if host.parse::<IpAddr>().is_err() => {
            Some((place, host.clone(), *port))
        }
        _ => None,
    };
    config.servers.iter().enumerate().filter_map(name).collect()
}

/// The endpoints at `found`; `known` has those that were there before, with all that is known of them.
pub(super) fn endpoints(
    config: &config::Upstream,
    peers: &Peers,
    found: &[Found],
    known: impl Fn(usize, &HttpPeer) -> Option<Arc<Endpoint>>,
) -> pingora_core::Result<Endpoints> {
    let mut all: Vec<Arc<Endpoint>> = Vec::new();
    for (place, (server, found)) in config.servers.iter().zip(found).enumerate() {
        let reached: Vec<_> = match &server.address {
            UpstreamAddress::Unix(path) => vec![peers.unix(path)?],
            UpstreamAddress::Tcp { host, .. } => found
                .iter()
                .map(|&address| peers.tcp(address, host, server.protocol))
                .collect(),
        };
        for peer in reached {
            all.push(known(place, &peer).unwrap_or_else(|| {
                // A name with several addresses has the weight at each: its share grows with it.
                Arc::new(Endpoint::new(place, server.share, peer))
            }));
        }
    }
    Ok(Endpoints::new(all))
}

/// The endpoints among `before`, as they are.
pub(super) fn known_in(before: &Endpoints) -> impl Fn(usize, &HttpPeer) -> Option<Arc<Endpoint>> {
    |place, peer| {
        let mut before = before.all.iter();
        let known = before.find(|known| known.server == place && *known.address() == peer._address);
        known.cloned()
    }
}

/// Looks the names up for as long as there is an upstream.
pub(super) async fn keep_looking(upstream: Weak<Upstream>) {
    keep_asking(upstream, async |name, port| look_up(&name, port).await).await;
}

/// With `ask` for each look-up; one that takes its time holds up no other.
async fn keep_asking(
    upstream: Weak<Upstream>,
    ask: impl AsyncFn(String, u16) -> Result<lookup::Answer, String>,
) {
    let Some((mut found, names, moved)) = upstream.upgrade().map(|upstream| {
        let names = names(&upstream.config);
        (upstream.found(), names, upstream.moved.clone())
    }) else {
        return;
    };
    let mut states: Vec<_> = names.iter().map(|_| State::unknown()).collect();
    let mut running = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        for (index, ((_, name, port), state)) in names.iter().zip(&mut states).enumerate() {
            if state.due.is_some_and(|due| due <= now) {
                state.begin(now);
                let asked = ask(name.clone(), *port);
                running.push(async move { (index, asked.await) });
            }
        }
        tokio::select! {
            Some((index, answer)) = running.next() => {
                let (place, name, _) = &names[index];
                states[index].take(name, &answer, Instant::now());
                let Some(known) = upstream.upgrade() else {
                    return;
                };
                // A resolver that is down for a moment is no reason to forget where the server was.
                if let Ok(lookup::Answer { addresses, .. }) = answer
                    && found[*place] != addresses
                {
                    found[*place] = addresses;
                    known.replace(&found);
                }
                let troubles = names.iter().zip(&states);
                let troubles = troubles.filter_map(|((place, name, port), state)| {
                    let (place, server) = (*place, format!("{name}:{port}"));
                    let reason = state.trouble.clone()?;
                    Some(Trouble { place, server, reason })
                });
                known.looked_up(troubles.collect(), states.iter().all(State::was_answered));
            }
            () = sleep_until(next(&states)) => {}
            // A server has failed: whatever is believed is in doubt.
            () = moved.notified() => for state in &mut states {
                state.doubt();
            },
        }
    }
}

/// What came of the last look-up of a name.
struct State {
    /// When it is looked up next; `None` while it is.
    due: Option<Instant>,
    /// Not before that, whatever fails.
    earliest: Instant,
    /// Whether there was an answer, if only that there is none.
    was_answered: bool,
    /// Why it isn't known, if so.
    trouble: Option<String>,
}

impl State {
    fn unknown() -> Self {
        let now = Instant::now();
        Self {
            due: Some(now),
            earliest: now,
            was_answered: false,
            trouble: None,
        }
    }

    fn begin(&mut self, now: Instant) {
        self.due = None;
        self.earliest = now + BREATH;
    }

    fn take(&mut self, name: &str, answer: &Result<lookup::Answer, String>, now: Instant) {
        let (lifetime, trouble) = match answer {
            Ok(answer) => (answer.lifetime, None),
            Err(reason) => (
                lookup::UNSAID,
                Some(format!("{name} is not known: {reason}")),
            ),
        };
        self.due = Some(self.earliest.max(now + lifetime));
        self.was_answered = true;
        self.trouble = trouble;
    }

    /// Has it be looked up as soon as may be.
    fn doubt(&mut self) {
        if self.due.is_some() {
            self.due = Some(self.earliest);
        }
    }

    fn was_answered(&self) -> bool {
        self.was_answered
    }
}

/// When the first of the names is due that isn't being looked up.
fn next(states: &[State]) -> Instant {
    let due = states.iter().filter_map(|state| state.due).min();
    due.unwrap_or_else(|| Instant::now() + lookup::UNSAID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    fn upstream(servers: &str) -> Arc<config::Upstream> {
        let text = format!("[[upstream]]\nname = \"a\"\nservers = {servers}");
        let config = parse(&text, std::path::Path::new("/"), &Environment::empty()).unwrap();
        config.upstreams["a"].clone()
    }

    #[test]
    fn an_endpoint_that_stays_keeps_what_is_known_of_it() {
        let config = upstream(r#"["127.0.0.1:1", "app.test:80 weight=3", "unix:/app.sock"]"#);
        let peers = Peers::new(&config);
        let mut found = written(&config);
        let labels = |endpoints: &Endpoints| -> Vec<String> {
            let labels = endpoints.all.iter();
            labels.map(|endpoint| endpoint.label.clone()).collect()
        };
        let first = endpoints(&config, &peers, &found, |_, _| None).unwrap();
        assert_eq!(labels(&first), ["127.0.0.1:1", "unix:/app.sock"]);
        assert_eq!(names(&config), [(1, "app.test".to_owned(), 80)]);

        found[1] = ["10.0.0.1:80", "10.0.0.2:80"]
            .map(|at| at.parse().unwrap())
            .into();
        let second = endpoints(&config, &peers, &found, known_in(&first)).unwrap();
        let expected = [
            "127.0.0.1:1",
            "10.0.0.1:80",
            "10.0.0.2:80",
            "unix:/app.sock",
        ];
        assert_eq!(labels(&second), expected);
        assert_eq!(second.all[2].share.weight, 3);

        found[1] = vec![
            "10.0.0.2:80".parse().unwrap(),
            "10.0.0.3:80".parse().unwrap(),
        ];
        let third = endpoints(&config, &peers, &found, known_in(&second)).unwrap();
        assert!(Arc::ptr_eq(&third.all[0], &first.all[0]));
        assert!(Arc::ptr_eq(&third.all[1], &second.all[2]));
        assert_eq!(third.all[2].label, "10.0.0.3:80");
        assert!(Arc::ptr_eq(&third.all[3], &first.all[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn each_name_is_due_when_its_own_lifetime_is_over() {
        let now = Instant::now();
        let lives = |seconds| {
            Ok(lookup::Answer {
                addresses: vec!["10.0.0.1:80".parse().unwrap()],
                lifetime: Duration::from_secs(seconds),
            })
        };
        let mut states = [State::unknown(), State::unknown()];
        states[0].take("long.test", &lives(300), now);
        states[1].take("short.test", &lives(30), now);
        assert_eq!(next(&states), now + Duration::from_secs(30));
        states[1].take("short.test", &lives(600), now);
        assert_eq!(next(&states), now + Duration::from_mins(5));
        states[0].take("long.test", &Err("no".to_owned()), now);
        assert_eq!(next(&states), now + lookup::UNSAID);
        states[0].begin(now);
        assert_eq!(
            next(&states),
            now + Duration::from_mins(10),
            "one is asked about"
        );
        states[0].doubt();
        assert_eq!(next(&states), now + Duration::from_mins(10), "that will do");
        states[1].doubt();
        assert!(next(&states) <= now, "the other is in doubt");
        let trouble = states[0].trouble.as_deref();
        assert_eq!(trouble, Some("long.test is not known: no"));
        states[0].take("long.test", &lives(300), now);
        assert_eq!(states[0].trouble, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_leads_nowhere_is_told_of_with_the_reason() {
        let config = upstream(r#"["gone.test:80", "127.0.0.1:1", "never.test:81"]"#);
        let upstream = Upstream::following(&config, None).unwrap();
        let is_down = std::cell::Cell::new(false);
        let ask = async |name: String, port| {
            if name == "never.test" || is_down.get() {
                return Err("no such name".to_owned());
            }
            Ok(lookup::Answer {
                addresses: vec![SocketAddr::from(([10, 0, 0, 1], port))],
                lifetime: Duration::from_secs(1),
            })
        };
        let looking = keep_asking(Arc::downgrade(&upstream), ask);
        let told = || -> Vec<_> {
            let facts = upstream.facts().into_iter();
            facts
                .map(|facts| (facts.server, facts.condition.to_string(), facts.reason))
                .collect()
        };
        let up = |server: &str| (server.to_owned(), "up".to_owned(), None);
        let never = "never.test is not known: no such name".to_owned();
        let never = (
            "never.test:81".to_owned(),
            "unknown".to_owned(),
            Some(never),
        );
        let expected = [up("10.0.0.1:80"), up("127.0.0.1:1"), never];
        assert_eq!(told(), expected[1..2], "nobody has asked yet");
        let seeing = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(told(), expected);
            is_down.set(true);
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(upstream.troubles.load().len(), 2);
            assert_eq!(told(), expected, "what is known is used");
        };
        tokio::select! {
            () = looking => panic!("it looks for as long as there is an upstream"),
            () = seeing => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_whose_server_is_silent_holds_up_no_other() {
        let config = upstream(r#"["silent.test:80", "app.test:80"]"#);
        let upstream = Upstream::following(&config, None).unwrap();
        let asked = std::cell::Cell::new(0);
        let ask = async |name: String, port| {
            if name == "silent.test" {
                return std::future::pending().await;
            }
            asked.set(asked.get() + 1);
            Ok(lookup::Answer {
                addresses: vec![SocketAddr::from(([10, 0, 0, asked.get()], port))],
                lifetime: Duration::from_secs(30),
            })
        };
        let mut looked_up = upstream.looked_up.subscribe();
        let looking = keep_asking(Arc::downgrade(&upstream), ask);
        let seeing = async {
            looked_up.wait_for(|looked_up| *looked_up).await.unwrap();
            assert_eq!(upstream.facts()[0].server, "10.0.0.1:80");
            tokio::time::sleep(Duration::from_secs(31)).await;
            assert_eq!(upstream.facts()[0].server, "10.0.0.2:80");
            upstream.moved.notify_one();
            tokio::time::sleep(BREATH).await;
            assert_eq!(upstream.facts()[0].server, "10.0.0.3:80");
        };
        tokio::select! {
            () = looking => panic!("it looks for as long as there is an upstream"),
            () = seeing => {}
        }
    }
}
