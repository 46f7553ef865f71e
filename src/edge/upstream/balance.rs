//! Which endpoint is asked next.
//!
//! Those that are out, by their failures or their health checks, are passed over; where that leaves
//! backups only, these are asked, and where it leaves none, any is better than none. A request that is tried again never meets the same endpoint twice.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::endpoint::Endpoint;
use crate::config::Balance;

/// The endpoints of one upstream at some moment.
pub(super) struct Endpoints {
    pub(super) all: Vec<Arc<Endpoint>>,
    /// Places in `all`, each as often as its weight says, spread evenly.
    turns: Vec<usize>,
}

impl Endpoints {
    pub(super) fn new(all: Vec<Arc<Endpoint>>) -> Self {
        let weights: Vec<_> = all.iter().map(|endpoint| endpoint.share.weight).collect();
        Self {
            all,
            turns: turns(&weights),
        }
    }

    /// Whether there is an address of the server at `place`.
    pub(super) fn knows(&self, place: usize) -> bool {
        self.all.iter().any(|endpoint| endpoint.server == place)
    }

    /// The endpoint to ask for `client`, other than those `tried`; `None` where there is no other.
    pub(super) fn choose(
        &self,
        balance: Balance,
        turn: &AtomicUsize,
        client: IpAddr,
        tried: impl Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let among = |fits: &dyn Fn(&Arc<Endpoint>) -> bool| match balance {
            Balance::RoundRobin => self.in_turn(turn, fits),
            Balance::LeastConnections => self.least_busy(turn, fits),
            Balance::IpHash => self.nearest(client, fits),
        };
        let is_ready = |endpoint: &Arc<Endpoint>| endpoint.is_in() && !tried(endpoint);
        among(&|endpoint| !endpoint.share.is_backup && is_ready(endpoint))
            .or_else(|| among(&is_ready))
            .or_else(|| among(&|endpoint| !tried(endpoint)))
    }

    fn in_turn(
        &self,
        turn: &AtomicUsize,
        fits: &dyn Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        // Who is passed over has had its turn, so the others' shares stay in proportion.
        for _ in 0..self.turns.len() {
            let turn = turn.fetch_add(1, Ordering::Relaxed) % self.turns.len();
            let endpoint = &self.all[self.turns[turn]];
            if fits(endpoint) {
                return Some(endpoint);
            }
        }
        // Others may have taken the turns in between.
        self.all.iter().find(|endpoint| fits(endpoint))
    }

    /// The fewest requests for its weight; among equals in turn, by weight as well.
    fn least_busy(
        &self,
        turn: &AtomicUsize,
        fits: &dyn Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let load = |endpoint: &Arc<Endpoint>| {
            endpoint.running() as u128 * 1000 / u128::from(endpoint.share.weight)
        };
        let fitting = || self.all.iter().filter(|endpoint| fits(endpoint));
        let least = fitting().map(load).min()?;
        self.in_turn(turn, &|endpoint| fits(endpoint) && load(endpoint) <= least)
            // All have got busier in between.
            .or_else(|| fitting().next())
    }

    /// Weighted rendezvous hashing (Thaler and Ravishankar, 1998): each endpoint draws a number for
    /// the client, the highest wins, so a client moves only when its endpoint goes or a better comes.
    fn nearest(
        &self,
        client: IpAddr,
        fits: &dyn Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let client = network(client);
        let score = |endpoint: &Arc<Endpoint>| {
            let drawn = mix(hash(endpoint.label.as_bytes()) ^ client);
            // In (0, 1): 53 bits are what a double can hold exactly.
            #[allow(clippy::cast_precision_loss)]
            let drawn = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            f64::from(endpoint.share.weight) / -drawn.ln()
        };
        self.all
            .iter()
            .filter(|endpoint| fits(endpoint))
            .map(|endpoint| (endpoint, score(endpoint)))
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(endpoint, _)| endpoint)
    }
}

/// Smooth weighted turns: each gains its weight each turn, the richest goes and pays for all.
fn turns(weights: &[u32]) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut purses = vec![0; weights.len()];
    (0..total)
        .map(|_| {
            for (purse, weight) in purses.iter_mut().zip(&weights) {
                *purse += weight;
            }
            // The first of the richest; there is one where there is a turn.
            let richest = (0..purses.len())
                .rev()
                .max_by_key(|&place| purses[place])
                .unwrap_or(0);
            purses[richest] -= total;
            richest
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An IPv4 address, or the /64 of an IPv6 one, within which a client changes its address daily.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => mix(u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            // The high half of 128 bits is 64 bits.
            mix(u64::try_from(address.to_bits() >> 64).unwrap_or_default())
        }
    }
}

/// FNV-1a: the same on every instance and after every restart.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finaliser of `SplitMix64`: every bit of the input stirs every bit of the output.
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::super::endpoint::tests::endpoint;
    use super::*;

    const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const LONG: Duration = Duration::from_hours(1);

    fn group(weights: &[u32]) -> Endpoints {
        let each = weights.iter().zip(1..);
        Endpoints::new(
            each.map(|(&weight, n)| Arc::new(endpoint(&format!("127.0.0.1:{n}"), weight)))
                .collect(),
        )
    }

    /// The last digits of the endpoints chosen one after the other.
    fn chosen(group: &Endpoints, balance: Balance, turns: usize) -> String {
        let turn = AtomicUsize::new(0);
        (0..turns)
            .map(|_| {
                let endpoint = group.choose(balance, &turn, NOBODY, |_| false);
                endpoint.unwrap().label.chars().next_back().unwrap()
            })
            .collect()
    }

    #[test]
    fn turns_are_taken_by_weight_and_evenly_spread() {
        for (weights, expected) in [
            (&[1][..], "111111"),
            (&[1, 1, 1], "123123"),
            (&[5, 1, 1], "1121311"),
            (&[2, 4], "212212"),
            (&[100, 100], "1212"),
        ] {
            let chosen = chosen(&group(weights), Balance::RoundRobin, expected.len());
            assert_eq!(chosen, expected, "{weights:?}");
        }
    }

    #[test]
    fn who_is_out_is_passed_over_and_the_others_share_evenly() {
        let group = group(&[1, 1, 1]);
        group.all[1].failed(1, LONG);
        assert_eq!(chosen(&group, Balance::RoundRobin, 6), "131313");
        group.all[0].set_unhealthy(true);
        for balance in [
            Balance::RoundRobin,
            Balance::LeastConnections,
            Balance::IpHash,
        ] {
            assert_eq!(chosen(&group, balance, 3), "333", "{balance:?}");
        }
        group.all[2].failed(1, LONG);
        let all = chosen(&group, Balance::RoundRobin, 6);
        assert_eq!(all, "123123", "any is better than none");
    }

    #[test]
    fn backups_are_asked_when_no_other_is_in() {
        let mut all = group(&[1, 1, 1, 1]).all;
        for backup in &mut all[2..] {
            Arc::get_mut(backup).unwrap().share.is_backup = true;
        }
        let group = Endpoints::new(all);
        for balance in [
            Balance::RoundRobin,
            Balance::LeastConnections,
            Balance::IpHash,
        ] {
            let chosen = chosen(&group, balance, 8);
            assert!(!chosen.contains(['3', '4']), "{balance:?}: {chosen}");
        }
        group.all[0].set_unhealthy(true);
        assert_eq!(chosen(&group, Balance::RoundRobin, 3), "222");
        group.all[1].set_unhealthy(true);
        assert_eq!(chosen(&group, Balance::RoundRobin, 4), "3434");
        group.all[2].set_unhealthy(true);
        assert_eq!(chosen(&group, Balance::IpHash, 2), "44");
        group.all[3].set_unhealthy(true);
        let all = chosen(&group, Balance::RoundRobin, 4);
        assert_eq!(all.len(), 4, "any is better than none: {all}");
        group.all[0].set_unhealthy(false);
        assert_eq!(chosen(&group, Balance::RoundRobin, 3), "111");
    }

    #[test]
    fn nobody_is_tried_twice() {
        let group = group(&[1, 1, 1]);
        group.all[2].failed(1, LONG);
        for balance in [
            Balance::RoundRobin,
            Balance::LeastConnections,
            Balance::IpHash,
        ] {
            let turn = AtomicUsize::new(0);
            let mut tried: Vec<Arc<Endpoint>> = Vec::new();
            while let Some(next) = group.choose(balance, &turn, NOBODY, |endpoint| {
                tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint))
            }) {
                tried.push(next.clone());
            }
            assert_eq!(tried.len(), 3, "{balance:?}");
            assert!(
                Arc::ptr_eq(&tried[2], &group.all[2]),
                "{balance:?}: who is out is the last resort"
            );
        }
    }

    #[test]
    fn the_least_busy_is_asked_by_weight() {
        let group = group(&[1, 1, 2]);
        let turn = AtomicUsize::new(0);
        let mut asked = HashMap::new();
        for _ in 0..8 {
            let choice = group.choose(Balance::LeastConnections, &turn, NOBODY, |_| false);
            let choice = choice.unwrap();
            choice.begin(LONG);
            *asked.entry(choice.label.clone()).or_insert(0) += 1;
        }
        let asked = |n: u32| asked[&format!("127.0.0.1:{n}")];
        assert_eq!((asked(1), asked(2), asked(3)), (2, 2, 4));
        group.all[0].end();
        let next = group.choose(Balance::LeastConnections, &turn, NOBODY, |_| false);
        assert_eq!(next.unwrap().label, "127.0.0.1:1");
    }

    #[test]
    fn among_idle_ones_the_least_busy_is_a_matter_of_turns() {
        for (weights, expected) in [
            (&[1, 1][..], "1212"),
            (&[2, 1], "121121"),
            (&[1, 3], "2122"),
        ] {
            let chosen = chosen(&group(weights), Balance::LeastConnections, expected.len());
            assert_eq!(chosen, expected, "{weights:?}");
        }
    }

    fn clients() -> impl Iterator<Item = IpAddr> {
        (0..10_000).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n * 7)))
    }

    fn homes(group: &Endpoints) -> Vec<String> {
        let turn = AtomicUsize::new(0);
        clients()
            .map(|client| {
                let home = group.choose(Balance::IpHash, &turn, client, |_| false);
                home.unwrap().label.clone()
            })
            .collect()
    }

    #[test]
    fn a_client_keeps_its_server_unless_that_goes() {
        let group = group(&[1, 1, 2]);
        let before = homes(&group);
        assert_eq!(homes(&group), before);
        for (n, share) in [(1, 2500), (2, 2500), (3, 5000)] {
            let label = format!("127.0.0.1:{n}");
            let clients: i32 = before.iter().map(|home| i32::from(*home == label)).sum();
            assert!((clients - share).abs() < 250, "{label} has {clients}");
        }
        group.all[1].set_unhealthy(true);
        for (before, after) in before.iter().zip(homes(&group)) {
            assert_ne!(after, "127.0.0.1:2");
            assert!(*before == after || before == "127.0.0.1:2");
        }
    }

    #[test]
    fn a_client_is_its_network() {
        let v6 = |text: &str| network(IpAddr::V6(text.parse::<Ipv6Addr>().unwrap()));
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:1"), "the same /64");
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"), "another /64");
        let v4 = network("192.0.2.1".parse().unwrap());
        assert_eq!(v6("::ffff:192.0.2.1"), v4, "the same client");
        assert_ne!(network("192.0.2.2".parse().unwrap()), v4);
    }
}
