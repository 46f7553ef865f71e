//! Which coding a client gets: `Accept-Encoding` (RFC 9110, section 12.5.3) against our preference.
//!
//! Weights decide, our preference among equal weights. `*` speaks for codings not named; identity
//! is what is left, and wins only where the client names it with a higher weight than ours. Where
//! a client contradicts or garbles itself, the coding in question is not used: identity is right
//! for everybody.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::config::Coding;

/// The coding for a client that sent `headers`, or `None` for identity. A client without the
/// header could take anything, but gets identity, as all servers do it: such clients are simple.
pub(crate) fn negotiate(headers: &HeaderMap, preference: &[Coding]) -> Option<Coding> {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return None;
    }
    let of_others = weight(headers, &["*"]).unwrap_or(0);
    let mut chosen = None;
    let mut highest = 0;
    for &coding in preference {
        let weight = weight(headers, names(coding)).unwrap_or(of_others);
        if weight > highest {
            highest = weight;
            chosen = Some(coding);
        }
    }
    let of_identity = weight(headers, &["identity"]).unwrap_or(0);
    chosen.filter(|_| highest >= of_identity)
}

/// The names of a coding in `Accept-Encoding`; the first is the one for `Content-Encoding`.
pub(super) fn names(coding: Coding) -> &'static [&'static str] {
    match coding {
        // Section 8.4.1.3 asks to treat the old name as the same.
        Coding::Gzip => &["gzip", "x-gzip"],
    }
}

/// The weight in thousandths that all lines together give to a coding, the lowest where it is
/// named more than once; `None` where it is not named.
fn weight(headers: &HeaderMap, names: &[&str]) -> Option<u16> {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|member| {
            let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next()?;
            names
                .iter()
                .any(|name| coding.eq_ignore_ascii_case(name.as_bytes()))
                .then(|| parts.find_map(parse_weight).unwrap_or(1000))
        })
        .min()
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
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::fmt::Write;

    fn negotiated(lines: &[&[u8]]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(line).unwrap());
        }
        negotiate(&headers, &[Coding::Gzip])
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
    fn without_algorithms_nothing_is_negotiated() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, *"));
        assert_eq!(negotiate(&headers, &[]), None);
    }

    proptest! {
        /// Against the rule spelled out the long way, over every spelling of the same list.
        #[test]
        fn the_spelling_does_not_matter(
            members in prop::collection::vec(
                (prop::sample::select(vec!["gzip", "GZIP", "*", "identity", "br"]), prop::option::of(0_u16..=1000), any::<bool>()),
                1..6,
            ),
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
            let of_gzip = lowest("gzip").or(lowest("*")).unwrap_or(0);
            let expected = of_gzip > 0 && of_gzip >= lowest("identity").unwrap_or(0);
            let lines: Vec<_> = lines.iter().map(String::as_bytes).collect();
            prop_assert_eq!(negotiated(&lines).is_some(), expected);
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
