//! Which codings a client takes: `Accept-Encoding` (RFC 9110, section 12.5.3) against what we have.
//!
//! Weights decide, our preference among equal weights. `*` speaks for codings not named; identity
//! is what is left, and wins only where the client names it with a higher weight than ours. Where
//! a client contradicts or garbles itself, the coding in question is not used: identity is right
//! for everybody. It is right even for a client that refuses it (`identity;q=0`) and takes nothing
//! else: an answer that nobody asked for serves better than 406, and nginx and Caddy do the same.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::config::Coding;

/// The codings that a client takes rather than the identity, best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Accepted {
    /// Filled from the left.
    ranking: [Option<Coding>; Coding::ALL.len()],
}

impl Accepted {
    /// Reads the lines of `Accept-Encoding`, none or several. Of the `available` codings the
    /// earlier ones are preferred among those that the client likes equally.
    ///
    /// A client without the header could take anything, but gets identity, as all servers do it:
    /// such clients are simple.
    pub(crate) fn read<'a>(
        lines: impl IntoIterator<Item = &'a [u8]>,
        available: &[Coding],
    ) -> Self {
        let mut weights = Weights::default();
        for member in lines
            .into_iter()
            .flat_map(|line| line.split(|byte| *byte == b','))
        {
            weights.note(member);
        }
        let of_identity = weights.identity.unwrap_or(0);
        let mut accepted = Self::default();
        let mut ranked = [0; Coding::ALL.len()];
        for &coding in available {
            let weight = weights.of(coding);
            if weight == 0
                || weight < of_identity
                || accepted.codings().any(|known| known == coding)
            {
                continue;
            }
            // Behind those that weigh as much.
            let place = ranked.partition_point(|before| *before >= weight);
            ranked[place..].rotate_right(1);
            ranked[place] = weight;
            accepted.ranking[place..].rotate_right(1);
            accepted.ranking[place] = Some(coding);
        }
        accepted
    }

    /// Reads the header of a request, as [`read`](Self::read) does.
    pub(crate) fn of(headers: &HeaderMap, available: &[Coding]) -> Self {
        let lines = headers.get_all(ACCEPT_ENCODING).iter();
        Self::read(lines.map(http::HeaderValue::as_bytes), available)
    }

    /// The codings, best first. None of them: identity.
    pub(crate) fn codings(self) -> impl Iterator<Item = Coding> {
        self.ranking.into_iter().map_while(|coding| coding)
    }

    /// The best coding, or `None` for identity.
    pub(crate) fn best(self) -> Option<Coding> {
        self.ranking[0]
    }
}

/// What a header says, in thousandths, the lowest where it names a coding more than once; `None`
/// for what it does not name.
#[derive(Default)]
struct Weights {
    named: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    others: Option<u16>,
}

impl Weights {
    fn note(&mut self, member: &[u8]) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let noted = if let Some(coding) = Coding::ALL.iter().position(|coding| is(coding.name())) {
            &mut self.named[coding]
        } else if is("x-gzip") {
            // Section 8.4.1.3 asks to treat the old name as the same.
            &mut self.named[Coding::Gzip as usize]
        } else if is("identity") {
            &mut self.identity
        } else if is("*") {
            &mut self.others
        } else {
            return;
        };
        let weight = parts.find_map(parse_weight).unwrap_or(1000);
        *noted = Some(noted.map_or(weight, |before| before.min(weight)));
    }

    fn of(&self, coding: Coding) -> u16 {
        self.named[coding as usize].or(self.others).unwrap_or(0)
    }
}

/// `q=0.5` as 500, any other parameter as `None`, and a weight that is none as 0.
fn parse_weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', value @ ..] = parameter else {
        return None;
    };
    let value = value.trim_ascii_start().strip_prefix(b"=")?;
    Some(parse_qvalue(value.trim_ascii_start()).unwrap_or(0))
}

/// `qvalue` (section 12.4.2) in thousandths.
fn parse_qvalue(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = decimals.get(place).unwrap_or(&b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit - b'0');
    }
    match (whole, thousandths) {
        (b'1', 0) => Some(1000),
        (b'1', _) => None,
        _ => Some(thousandths),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Br, Gzip, Zstd};
    use proptest::prelude::*;
    use std::fmt::Write;

    /// What is left of the header where there is only gzip.
    fn negotiated(lines: &[&[u8]]) -> Option<Coding> {
        Accepted::read(lines.iter().copied(), &[Gzip]).best()
    }

    #[test]
    fn weights_decide() {
        let gzip = Some(Coding::Gzip);
        let table: &[(&[&str], Option<Coding>, &str)] = &[
            (&[], None, "no header"),
            (&[""], None, "an empty one asks for identity"),
            (&["gzip"], gzip, "named"),
            (&["gzip, deflate, br, zstd"], gzip, "as browsers do"),
            (&["GZip"], gzip, "any case"),
            (&["x-gzip"], gzip, "the old name"),
            (&["br, zstd"], None, "others only"),
            (&["gzipped"], None, "another word"),
            (&["gzip;q=0"], None, "refused"),
            (&["gzip;q=0.000"], None, "refused at length"),
            (&["gzip; q=0, *"], None, "the name counts before the star"),
            (&["gzip;q=0.001"], gzip, "hardly wanted"),
            (&["gzip ; Q = 0.5"], gzip, "blanks and upper case"),
            (&["*"], gzip, "anything"),
            (&["*;q=0"], None, "nothing else"),
            (&["*;q=0, gzip;q=0.1"], gzip, "nothing but gzip"),
            (
                &["identity;q=0"],
                None,
                "no identity, but no other name either",
            ),
            (&["identity;q=0, *"], gzip, "no identity"),
            (&["identity, gzip;q=0.5"], None, "identity is wanted more"),
            (
                &["identity;q=0.5, gzip;q=0.5"],
                gzip,
                "equals: our preference",
            ),
            (&["identity;q=0.5, gzip"], gzip, "identity is wanted less"),
            (&["br", "gzip"], gzip, "several lines"),
            (&["gzip", "gzip;q=0"], None, "contradiction"),
            (&["gzip;q=1.5"], None, "no weight above 1"),
            (&["gzip;q=0.5555"], None, "three digits at most"),
            (&["gzip;q=x"], None, "not a number"),
            (&["gzip;q=-1"], None, "negative"),
            (&["gzip;q="], None, "nothing"),
            (&["gzip;q=1."], gzip, "the grammar allows a bare point"),
            (
                &["gzip;level=9;q=0"],
                None,
                "unknown parameters are skipped",
            ),
            (&[",, gzip ,"], gzip, "empty members"),
            (&["gzip\u{e9}"], None, "not ASCII"),
        ];
        for (lines, expected, why) in table {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(negotiated(&lines), *expected, "{lines:?}: {why}");
        }
    }

    #[test]
    fn weights_rank_and_our_preference_breaks_ties() {
        const ALL: &[Coding] = &Coding::ALL;
        let table: &[(&str, &[Coding], &[Coding], &str)] = &[
            (
                "gzip, deflate, br, zstd",
                ALL,
                &[Zstd, Br, Gzip],
                "as browsers do",
            ),
            (
                "gzip, deflate, br, zstd",
                &[Gzip, Br],
                &[Gzip, Br],
                "our order",
            ),
            (
                "gzip, deflate, br",
                ALL,
                &[Br, Gzip],
                "as older browsers do",
            ),
            ("*", ALL, &[Zstd, Br, Gzip], "anything"),
            (
                "gzip, *;q=0.5",
                ALL,
                &[Gzip, Zstd, Br],
                "one above all others",
            ),
            (
                "br;q=0.5, gzip;q=0.9, zstd;q=0.7",
                ALL,
                &[Gzip, Zstd, Br],
                "by weight",
            ),
            (
                "br;q=0.5, gzip;q=0.9, zstd;q=0.5",
                ALL,
                &[Gzip, Zstd, Br],
                "a tie below",
            ),
            (
                "gzip;q=0.5, br;q=0.001",
                ALL,
                &[Gzip, Br],
                "hardly wanted, but wanted",
            ),
            ("br;q=0, *", ALL, &[Zstd, Gzip], "all but one"),
            (
                "identity;q=0.7, br;q=0.5, gzip",
                ALL,
                &[Gzip],
                "identity before one",
            ),
            ("identity;q=0", ALL, &[], "nothing: identity all the same"),
            ("identity;q=0, br", ALL, &[Br], "nothing but br"),
            ("x-gzip, br;q=0.9", ALL, &[Gzip, Br], "the old name"),
            ("x-gzip;q=0, gzip", ALL, &[], "two names, one coding"),
            ("br, gzip", &[], &[], "there is nothing"),
            ("br, gzip", &[Zstd], &[], "or nothing of that"),
            ("br, gzip", &[Gzip, Gzip], &[Gzip], "once is enough"),
        ];
        for (line, available, expected, why) in table {
            let accepted = Accepted::read([line.as_bytes()], available);
            let codings: Vec<_> = accepted.codings().collect();
            assert_eq!(codings, *expected, "{line}: {why}");
            assert_eq!(accepted.best(), expected.first().copied(), "{line}");
        }
    }

    #[test]
    fn every_line_of_the_header_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(Accepted::of(&headers, &Coding::ALL).best(), None);
        headers.append(ACCEPT_ENCODING, "gzip".parse().unwrap());
        headers.append(ACCEPT_ENCODING, "br".parse().unwrap());
        headers.append(ACCEPT_ENCODING, "gzip;q=0".parse().unwrap());
        let codings: Vec<_> = Accepted::of(&headers, &Coding::ALL).codings().collect();
        assert_eq!(codings, [Br]);
    }

    proptest! {
        /// Against the rule spelled out the long way, over every spelling of the same list.
        #[test]
        fn the_spelling_does_not_matter(
            members in prop::collection::vec(
                (
                    prop::sample::select(vec!["gzip", "GZIP", "zstd", "br", "Br", "*", "identity", "deflate"]),
                    prop::option::of(prop_oneof![0_u16..=1000, Just(0), Just(500), Just(1000)]),
                    any::<bool>(),
                ),
                1..8,
            ),
            available in Just(Coding::ALL.to_vec()).prop_shuffle(),
            how_many in 0_usize..=3,
        ) {
            let mut lines = vec![String::new()];
            for (name, weight, new_line) in &members {
                if *new_line {
                    lines.push(String::new());
                }
                let line = lines.last_mut().unwrap();
                if !line.is_empty() {
                    line.push_str(" ,");
                }
                line.push_str(name);
                if let Some(weight) = weight {
                    write!(line, "; q={}.{:03}", weight / 1000, weight % 1000).unwrap();
                }
            }
            let lowest = |wanted: &str| {
                members
                    .iter()
                    .filter(|(name, ..)| name.eq_ignore_ascii_case(wanted))
                    .map(|(_, weight, _)| weight.unwrap_or(1000))
                    .min()
            };
            let weight = |coding: Coding| lowest(coding.name()).or(lowest("*")).unwrap_or(0);
            let of_identity = lowest("identity").unwrap_or(0);
            let available = &available[..how_many];
            let mut expected = available.to_vec();
            expected.retain(|coding| weight(*coding) > 0 && weight(*coding) >= of_identity);
            expected.sort_by_key(|coding| std::cmp::Reverse(weight(*coding)));
            let accepted = Accepted::read(lines.iter().map(String::as_bytes), available);
            prop_assert_eq!(accepted.codings().collect::<Vec<_>>(), expected);
        }

        /// Any bytes at all: what is chosen is ours, and ranked once.
        #[test]
        fn garbage_is_read(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4)) {
            let accepted = Accepted::read(lines.iter().map(Vec::as_slice), &Coding::ALL);
            let codings: Vec<_> = accepted.codings().collect();
            let distinct: std::collections::HashSet<_> = codings.iter().collect();
            prop_assert_eq!(distinct.len(), codings.len());
        }

        /// Whatever else stands in the header, a refused coding is not used.
        #[test]
        fn a_refused_coding_is_never_used(
            before in "[ -~\u{80}-\u{ff}]{0,30}",
            after in "[ -~\u{80}-\u{ff}]{0,30}",
        ) {
            let line = format!("{before},gzip;q=0,{after}");
            prop_assert_eq!(negotiated(&[line.as_bytes()]), None);
        }
    }
}
