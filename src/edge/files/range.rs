//! `Range` (RFC 9110, section 14): which bytes of a representation are asked for.
//!
//! A range is an optimisation that a server may always decline, so everything unclear, hostile or
//! wasteful is answered with the whole representation; only a well-formed request for bytes that
//! do not exist is told so.

use std::ops::Range;

/// Ranges of one request. More is no reader's need, and each costs a part header.
const MAX_RANGES: usize = 16;

/// What a `Range` field comes to for a representation of known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything: the field is malformed, of another unit, or not worth honouring.
    Whole,
    /// One or several stretches, none empty, none overlapping, in the order asked for.
    Parts(Vec<Range<u64>>),
    /// Nothing that exists: 416.
    Unsatisfiable,
}

/// Optional whitespace (RFC 9110, section 5.6.3).
const OWS: [char; 2] = [' ', '\t'];

/// Reads the value of a `Range` field against a representation of `length` bytes.
#[must_use]
pub(crate) fn parse(field: &str, length: u64) -> Wanted {
    let Some((unit, set)) = field.split_once('=') else {
        return Wanted::Whole;
    };
    // Of an empty representation no part can be named, and all of it is nothing to send.
    if !unit.eq_ignore_ascii_case("bytes") || length == 0 {
        return Wanted::Whole;
    }
    let mut parts = Vec::new();
    // Empty list elements are ignored (RFC 9110, section 5.6.1.2).
    let specifiers = set
        .split(',')
        .map(|element| element.trim_matches(OWS))
        .filter(|element| !element.is_empty());
    let mut asked = 0;
    for specifier in specifiers {
        asked += 1;
        if asked > MAX_RANGES {
            return Wanted::Whole;
        }
        match parse_one(specifier, length) {
            None => return Wanted::Whole,
            Some(part) if part.is_empty() => {}
            Some(part) => parts.push(part),
        }
    }
    if asked == 0 || overlap(&parts) {
        Wanted::Whole
    } else if parts.is_empty() {
        Wanted::Unsatisfiable
    } else {
        Wanted::Parts(parts)
    }
}

/// The value of `Content-Range` for `part` of `length` bytes.
#[must_use]
pub(super) fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// `first-last`, `first-` or `-suffix`, cut to `length`; empty where nothing of it exists, `None`
/// where it is malformed (RFC 9110, section 14.1.1).
fn parse_one(specifier: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = specifier.split_once('-')?;
    if first.is_empty() {
        let suffix = parse_position(last)?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first = parse_position(first)?;
    let end = if last.is_empty() {
        length
    } else {
        parse_position(last)?.saturating_add(1)
    };
    // Backwards is malformed, unlike beyond the end.
    if end <= first && !last.is_empty() {
        return None;
    }
    Some(first.min(length)..end.min(length))
}

/// Digits only, however many: what no file can reach is as good as the largest number.
fn parse_position(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Whether any two share a byte: a client has no use for that, an attacker has.
fn overlap(parts: &[Range<u64>]) -> bool {
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_unstable_by_key(|part| part.start);
    sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Wanted::{Unsatisfiable, Whole};
    use super::*;

    fn parts(parts: &[(u64, u64)]) -> Wanted {
        Wanted::Parts(parts.iter().map(|&(start, end)| start..end).collect())
    }

    #[test]
    fn fields_are_read_against_the_length() {
        let many = |count: u64| {
            (0..count)
                .map(|n| format!("{n}-{n}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        for (field, length, expected, why) in [
            ("bytes=0-0", 10, parts(&[(0, 1)]), "both ends are included"),
            ("bytes=0-9", 10, parts(&[(0, 10)]), "all of it, asked for"),
            ("bytes=0-", 10, parts(&[(0, 10)]), "open end"),
            ("bytes=9-", 10, parts(&[(9, 10)]), "last byte"),
            ("bytes=5-99", 10, parts(&[(5, 10)]), "cut to the length"),
            ("bytes=-3", 10, parts(&[(7, 10)]), "suffix"),
            ("bytes=-99", 10, parts(&[(0, 10)]), "suffix longer than all"),
            ("BYTES=0-0", 10, parts(&[(0, 1)]), "units ignore case"),
            (
                "bytes= 0-0 ,\t5-5",
                10,
                parts(&[(0, 1), (5, 6)]),
                "optional whitespace",
            ),
            (
                "bytes=,0-0,,5-5,",
                10,
                parts(&[(0, 1), (5, 6)]),
                "empty elements",
            ),
            (
                "bytes=5-6,0-1",
                10,
                parts(&[(5, 7), (0, 2)]),
                "in the order asked for",
            ),
            (
                "bytes=0-1,2-3",
                10,
                parts(&[(0, 2), (2, 4)]),
                "touching is not overlapping",
            ),
            (
                "bytes=0-1,50-60",
                10,
                parts(&[(0, 2)]),
                "what does not exist is dropped",
            ),
            (
                "bytes=5-99999999999999999999999",
                10,
                parts(&[(5, 10)]),
                "beyond 64 bits, at the end",
            ),
            ("bytes=10-", 10, Unsatisfiable, "begins at the end"),
            ("bytes=10-20,30-40", 10, Unsatisfiable, "all beyond the end"),
            ("bytes=-0", 10, Unsatisfiable, "no bytes"),
            (
                "bytes=99999999999999999999999-",
                10,
                Unsatisfiable,
                "beyond 64 bits, at the start",
            ),
            ("bytes=0-", 0, Whole, "of nothing"),
            ("bytes=-1", 0, Whole, "of nothing"),
            ("bytes=5-4", 10, Whole, "backwards"),
            ("bytes=0-1,5-4", 10, Whole, "one malformed, all malformed"),
            ("bytes=", 10, Whole, "no range"),
            ("bytes=,", 10, Whole, "no range"),
            ("bytes=-", 10, Whole, "neither end"),
            ("bytes=--1", 10, Whole, "signed"),
            ("bytes=+1-2", 10, Whole, "signed"),
            ("bytes=1 - 2", 10, Whole, "blanks inside"),
            ("bytes=a-b", 10, Whole, "letters"),
            ("bytes=0-1-2", 10, Whole, "three ends"),
            ("bytes 0-1", 10, Whole, "no equals sign"),
            ("bytes =0-1", 10, Whole, "blank before the equals sign"),
            ("lines=0-1", 10, Whole, "unknown unit"),
            ("", 10, Whole, "empty"),
            ("bytes=0-5,5-9", 10, Whole, "overlapping by one byte"),
            ("bytes=0-,0-,0-", 10, Whole, "the same thrice"),
            ("bytes=-5,0-7", 10, Whole, "overlapping suffix"),
        ] {
            assert_eq!(parse(field, length), expected, "{field} of {length}: {why}");
        }
        assert!(
            matches!(parse(&format!("bytes={}", many(16)), 100), Wanted::Parts(parts) if parts.len() == 16)
        );
        assert_eq!(parse(&format!("bytes={}", many(17)), 100), Whole);
    }

    proptest! {
        #[test]
        fn parts_are_never_empty_outside_or_overlapping(
            field in prop_oneof![
                any::<String>(),
                "bytes=[0-9]{0,3}-[0-9]{0,3}(, ?[0-9]{0,3}-[0-9]{0,3}){0,4}",
            ],
            length in prop_oneof![Just(0), 1..1000_u64, Just(u64::MAX)]
        ) {
            if let Wanted::Parts(parts) = parse(&field, length) {
                prop_assert!(!parts.is_empty() && parts.len() <= MAX_RANGES);
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
                let total: u64 = parts.iter().map(|part| part.end - part.start).sum();
                prop_assert!(total <= length);
            }
        }

        #[test]
        fn a_single_range_is_cut_to_what_exists(first in 0..200_u64, extra in 0..200_u64, length in 1..200_u64) {
            let last = first + extra;
            let expected = if first < length {
                parts(&[(first, length.min(last + 1))])
            } else {
                Unsatisfiable
            };
            prop_assert_eq!(parse(&format!("bytes={first}-{last}"), length), expected);
        }
    }
}
