//! `allow` and `deny`: the most specific network that holds the address decides; where no network
//! does, a route with `allow` is closed and one without is open.

use std::net::IpAddr;

use ipnet::IpNet;

/// Who is let in.
pub(super) struct Networks {
    /// Longest prefix first; `true` lets in.
    rules: Vec<(IpNet, bool)>,
    /// What holds where no rule does.
    otherwise: bool,
}

impl Networks {
    pub(super) fn new(allow: &[IpNet], deny: &[IpNet]) -> Self {
        let allowed = allow.iter().map(|network| (*network, true));
        let denied = deny.iter().map(|network| (*network, false));
        let mut rules: Vec<_> = allowed.chain(denied).collect();
        rules.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self {
            rules,
            otherwise: allow.is_empty(),
        }
    }

    /// Whether a client of this address is let in.
    pub(super) fn let_in(&self, address: IpAddr) -> bool {
        let rule = self
            .rules
            .iter()
            .find(|(network, _)| network.contains(&address));
        rule.map_or(self.otherwise, |(_, let_in)| *let_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_network_decides() {
        type Lists = &'static [&'static str];
        let table: &[(Lists, Lists, &str, bool, &str)] = &[
            (&[], &[], "203.0.113.9", true, "nothing is asked"),
            (&["10.0.0.0/8"], &[], "10.1.2.3", true, "allowed"),
            (&["10.0.0.0/8"], &[], "203.0.113.9", false, "not allowed"),
            (&["10.0.0.0/8"], &[], "::1", false, "of another family"),
            (&[], &["10.0.0.0/8"], "10.1.2.3", false, "denied"),
            (&[], &["10.0.0.0/8"], "203.0.113.9", true, "not denied"),
            (
                &["10.0.0.0/8"],
                &["10.0.0.5/32"],
                "10.0.0.5",
                false,
                "one taken out",
            ),
            (
                &["10.0.0.0/8"],
                &["10.0.0.5/32"],
                "10.0.0.6",
                true,
                "its neighbour",
            ),
            (
                &["10.1.2.0/24"],
                &["10.0.0.0/8"],
                "10.1.2.3",
                true,
                "one let in",
            ),
            (
                &["10.1.2.0/24"],
                &["10.0.0.0/8"],
                "203.0.113.9",
                false,
                "allow closes the rest",
            ),
            (&[], &["0.0.0.0/0"], "203.0.113.9", false, "all of IPv4"),
            (&[], &["0.0.0.0/0"], "2001:db8::1", true, "which is not all"),
            (
                &["2001:db8::/32"],
                &["::/0"],
                "2001:db8::1",
                true,
                "IPv6, too",
            ),
        ];
        let read = |list: Lists| -> Vec<IpNet> {
            list.iter()
                .map(|network| network.parse().unwrap())
                .collect()
        };
        for (allow, deny, address, expected, why) in table {
            let networks = Networks::new(&read(allow), &read(deny));
            let let_in = networks.let_in(address.parse().unwrap());
            assert_eq!(let_in, *expected, "{why}");
        }
    }
}
