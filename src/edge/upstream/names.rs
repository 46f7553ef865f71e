//! Where servers are that have a name: looked up again and again, while requests go on with what is
//! known.
//!
//! The system's resolver tells no lifetimes (TTL), but it reads what the machine's owner has set up:
//! `/etc/hosts`, `nsswitch.conf`, search domains. So names are looked up more often than almost any
//! lifetime says, and at once when an address has refused a connection: containers move without notice.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Upstream;
use super::balance::Endpoints;
use super::endpoint::Endpoint;
use super::peer::Peers;
use crate::config::{self, UpstreamAddress, UpstreamServer};

/// How long the addresses of a name are used before it is looked up again.
const LIFETIME: Duration = Duration::from_secs(5);
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
    let Some(mut found) = upstream.upgrade().map(|upstream| upstream.found()) else {
        return;
    };
    loop {
        let looked_up = Instant::now();
        let Some(names) = upstream.upgrade().map(|upstream| names(&upstream.config)) else {
            return;
        };
        let mut trouble = None;
        let mut changed = false;
        for (place, name, port) in names {
            match look_up(&name, port).await {
                Ok(addresses) => {
                    changed |= found[place] != addresses;
                    found[place] = addresses;
                }
                // A resolver that is down for a moment is no reason to forget where the server was.
                Err(reason) => trouble = Some(format!("{name} is not known: {reason}")),
            }
        }
        let Some(known) = upstream.upgrade() else {
            return;
        };
        if changed {
            known.replace(&found);
        }
        known.looked_up(trouble);
        let moved = known.moved.clone();
        drop(known);
        sleep_until(looked_up + BREATH).await;
        // Either way it is time.
        let _ = timeout_at(looked_up + LIFETIME, moved.notified()).await;
    }
}

/// Sorted, so that a resolver that turns its answers around changes nothing.
async fn look_up(name: &str, port: u16) -> Result<Found, String> {
    match tokio::net::lookup_host((name, port)).await {
        Ok(addresses) => {
            let mut addresses: Vec<_> = addresses.collect();
            addresses.sort_unstable();
            addresses.dedup();
            if addresses.is_empty() {
                return Err("it has no address".to_owned());
            }
            Ok(addresses)
        }
        Err(error) => Err(error.to_string()),
    }
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
    async fn a_name_has_its_addresses_once_each() {
        let found = look_up("localhost", 80).await.unwrap();
        assert!(
            found.contains(&"127.0.0.1:80".parse().unwrap()),
            "{found:?}"
        );
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        look_up("nowhere.invalid", 80).await.unwrap_err();
    }
}
