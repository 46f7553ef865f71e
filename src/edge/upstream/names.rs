//! Where servers are that have a name: looked up again and again, while requests go on with what is
//! known.
//!
//! A name is looked up when the lifetime of what was found is over ([`lookup`]), and at once
//! when an address has refused a connection: containers move without notice.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Upstream;
use super::balance::Endpoints;
use super::endpoint::Endpoint;
use super::lookup::{self, look_up};
use super::peer::Peers;
use crate::config::{self, UpstreamAddress, UpstreamServer};

/// Between two look-ups, whatever fails.
const BREATH: Duration = Duration::from_secs(1);

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
                Arc::new(Endpoint::new(place, server.weight, peer))
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
    let Some((mut found, names)) = upstream
        .upgrade()
        .map(|upstream| (upstream.found(), names(&upstream.config)))
    else {
        return;
    };
    let mut states: Vec<_> = names.iter().map(|_| State::unknown()).collect();
    loop {
        let began = Instant::now();
        let mut changed = false;
        for ((place, name, port), state) in names.iter().zip(&mut states) {
            if state.due > began {
                continue;
            }
            let answer = look_up(name, *port).await;
            state.take(name, &answer, Instant::now());
            // A resolver that is down for a moment is no reason to forget where the server was.
            if let Ok(lookup::Answer { addresses, .. }) = answer {
                changed |= found[*place] != addresses;
                found[*place] = addresses;
            }
        }
        let Some(known) = upstream.upgrade() else {
            return;
        };
        if changed {
            known.replace(&found);
        }
        known.looked_up(states.iter().find_map(|state| state.trouble.clone()));
        let moved = known.moved.clone();
        drop(known);
        sleep_until(began + BREATH).await;
        // A server has failed: whatever is believed is in doubt.
        if timeout_at(next(&states), moved.notified()).await.is_ok() {
            for state in &mut states {
                state.due = began;
            }
        }
    }
}

/// What came of the last look-up of a name.
struct State {
    /// When it is looked up next.
    due: Instant,
    /// Why it isn't known, if so.
    trouble: Option<String>,
}

impl State {
    fn unknown() -> Self {
        Self {
            due: Instant::now(),
            trouble: None,
        }
    }

    fn take(&mut self, name: &str, answer: &Result<lookup::Answer, String>, now: Instant) {
        let (lifetime, trouble) = match answer {
            Ok(answer) => (answer.lifetime, None),
            Err(reason) => (
                lookup::UNSAID,
                Some(format!("{name} is not known: {reason}")),
            ),
        };
        self.due = now + lifetime;
        self.trouble = trouble;
    }
}

/// When the first of the names is due.
fn next(states: &[State]) -> Instant {
    let due = states.iter().map(|state| state.due).min();
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
        assert_eq!(second.all[2].weight, 3);

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

    #[tokio::test]
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
        let trouble = states[0].trouble.as_deref();
        assert_eq!(trouble, Some("long.test is not known: no"));
        states[0].take("long.test", &lives(300), now);
        assert_eq!(states[0].trouble, None);
    }
}
