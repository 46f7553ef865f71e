//! What an upstream that is defined anew takes over from the one before: where its servers are, and
//! how they were. A server that was out stays out, and names needn't be looked up first.

use std::sync::Arc;

use pingora_core::upstreams::peer::HttpPeer;

use super::endpoint::Endpoint;
use super::{Upstream, names};
use crate::config;

/// The upstream before, in terms of the new one's servers.
pub(super) struct Past<'a> {
    config: &'a config::Upstream,
    before: Option<&'a Upstream>,
    /// The place of each server among those before, if it was there.
    places: Vec<Option<usize>>,
}

impl<'a> Past<'a> {
    pub(super) fn of(before: Option<&'a Arc<Upstream>>, config: &'a config::Upstream) -> Self {
        let place = |server: &config::UpstreamServer| {
            let mut before = before?.config.servers.iter();
            before.position(|known| {
                (&known.address, known.protocol) == (&server.address, server.protocol)
            })
        };
        Self {
            config,
            before: before.map(Arc::as_ref),
            places: config.servers.iter().map(place).collect(),
        }
    }

    /// Where the servers are, as far as that was known.
    pub(super) fn found(&self) -> Vec<names::Found> {
        let mut found = names::written(self.config);
        if let Some(before) = self.before {
            let known = before.found();
            for (place, before) in self.places.iter().enumerate() {
                if let Some(before) = before {
                    found[place].clone_from(&known[*before]);
                }
            }
        }
        found
    }

    /// The endpoint of the server at `place` that `peer` reaches, with all that was known of it.
    pub(super) fn endpoint(&self, place: usize, peer: &HttpPeer) -> Option<Arc<Endpoint>> {
        let before = self.places[place]?;
        let endpoints = self.before?.endpoints.load();
        let known = endpoints
            .all
            .iter()
            .find(|known| known.server == before && *known.address() == peer._address)?;
        // Who asks nobody would never learn that it is well again.
        if self.config.health.is_none() && known.is_unhealthy() {
            return None;
        }
        let share = self.config.servers[place].share;
        Some(Arc::new(known.moved(place, share, peer.clone())))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::Condition;
    use super::*;
    use crate::config::{Environment, parse};

    fn config(keys: &str) -> Arc<config::Upstream> {
        let text = format!("[[upstream]]\nname = \"a\"\n{keys}");
        let config = parse(&text, Path::new("/"), &Environment::empty()).unwrap();
        config.upstreams["a"].clone()
    }

    fn conditions(upstream: &Upstream) -> Vec<Condition> {
        let facts = upstream.facts().into_iter();
        facts.map(|facts| facts.condition).collect()
    }

    const HEALTH: &str = "[upstream.health]\npath = \"/\"";

    #[test]
    fn what_is_known_of_a_server_outlives_a_change_around_it() {
        use Condition::{Ejected, Unhealthy, Up};
        let servers = r#"servers = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]"#;
        let first = Upstream::following(&config(&format!("{servers}\n{HEALTH}")), None).unwrap();
        {
            let endpoints = first.endpoints.load();
            endpoints.all[0].failed(1, Duration::from_hours(1));
            endpoints.all[1].set_unhealthy(true);
        }
        assert_eq!(conditions(&first), [Ejected, Unhealthy, Up]);
        for (keys, expected, why) in [
            (
                format!("{servers}\nretries = 2\n{HEALTH}"),
                vec![Ejected, Unhealthy, Up],
                "another key",
            ),
            (
                format!(
                    "servers = [\"127.0.0.1:2\", \"127.0.0.1:1 weight=3\", \"127.0.0.1:4\"]\n{HEALTH}"
                ),
                vec![Unhealthy, Ejected, Up],
                "other places, another weight, a new server",
            ),
            (
                servers.to_owned(),
                vec![Ejected, Up, Up],
                "nobody asks any more, so nobody would say that it is well again",
            ),
            (
                format!("servers = [\"h2c://127.0.0.1:1\"]\n{HEALTH}"),
                vec![Up],
                "another protocol is another server",
            ),
        ] {
            let second = Upstream::following(&config(&keys), Some(&first)).unwrap();
            assert!(!Arc::ptr_eq(&first, &second), "{why}");
            assert_eq!(conditions(&second), expected, "{why}");
        }
    }

    #[test]
    fn what_is_defined_the_same_stays_the_same() {
        let keys = r#"servers = ["127.0.0.1:1"]"#;
        let first = Upstream::following(&config(keys), None).unwrap();
        let second = Upstream::following(&config(keys), Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn addresses_of_names_are_known_at_once() {
        let first = Upstream::following(&config(r#"servers = ["app.test:80"]"#), None).unwrap();
        assert!(!*first.looked_up.borrow());
        first.replace(&[vec!["10.0.0.1:80".parse().unwrap()]]);
        let keys = r#"servers = ["127.0.0.1:1", "app.test:80"]"#;
        let second = Upstream::following(&config(keys), Some(&first)).unwrap();
        assert!(*second.looked_up.borrow(), "nobody has to wait");
        let servers: Vec<_> = second
            .facts()
            .into_iter()
            .map(|facts| facts.server)
            .collect();
        assert_eq!(servers, ["127.0.0.1:1", "10.0.0.1:80"]);
    }
}
