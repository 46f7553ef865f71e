//! Sizes and durations: a number and its unit.

use std::time::Duration;

use super::Invalid;

/// Units of size in bytes; the first of equal value is the one that is printed.
const SIZES: [(&str, u64); 9] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

/// Units of duration in milliseconds, largest first, each with its words; the first is printed.
const DURATIONS: [(&[&str], u64); 5] = [
    (&["d", "day", "days"], 86_400_000),
    (&["h", "hour", "hours"], 3_600_000),
    (&["m", "min", "minute", "minutes"], 60_000),
    (&["s", "sec", "second", "seconds"], 1_000),
    (&["ms"], 1),
];

/// Longest duration: a hundred years. Beyond it clocks overflow when it is added to now.
const LONGEST: u64 = 36_500 * 86_400_000;

/// A size in bytes: `20MiB` (1,048,576 bytes each), `10MB` (1,000,000 bytes each), `512` (bytes).
/// Upper and lower case are the same, and a space may stand before the unit.
///
/// # Errors
/// Says how to write a size.
pub fn parse_size(text: &str) -> Result<u64, Invalid> {
    let invalid = || Invalid::new(r#"not a size; write for example "20MiB""#);
    let (number, unit) = split_unit(text.trim()).ok_or_else(invalid)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" => 1,
        unit => {
            SIZES
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(invalid)?
                .1
        }
    };
    number
        .checked_mul(factor)
        // TOML's integers end there, so a larger size could not be printed and read again.
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or_else(|| Invalid::new("too large"))
}

/// A size as [`parse_size`] reads it, in the largest unit that divides it.
#[must_use]
pub fn print_size(bytes: u64) -> String {
    for (unit, name) in [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ] {
        if bytes > 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// A duration: `75s`, `5m`, `500ms`, `1h30m`, `180 days`. Units are `ms`, `s`, `m`, `h`, `d` and
/// their words; several follow one another from large to small.
///
/// # Errors
/// Says how to write a duration.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let invalid = || Invalid::new(r#"not a duration; write for example "75s", "5m" or "180 days""#);
    let mut rest = text.trim();
    let mut total = 0_u64;
    let mut smallest = u64::MAX;
    while !rest.is_empty() || smallest == u64::MAX {
        let (number, after) = split_unit(rest).ok_or_else(invalid)?;
        let after = after.trim_start();
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = unit.to_ascii_lowercase();
        let known = DURATIONS
            .iter()
            .find(|(names, _)| names.contains(&unit.as_str()));
        let factor = known.ok_or_else(invalid)?.1;
        if factor >= smallest {
            return Err(invalid());
        }
        smallest = factor;
        let sum = number
            .checked_mul(factor)
            .and_then(|part| total.checked_add(part));
        total = sum
            .filter(|&sum| sum <= LONGEST)
            .ok_or_else(|| Invalid::new("too long"))?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// A duration as [`parse_duration`] reads it, to the millisecond: `1h30m`.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (names, factor) in DURATIONS {
        // "75s" stays "75s": that is how timeouts are written everywhere.
        let short = left < 120_000 && factor == 60_000 && left % factor != 0;
        if left >= factor && !short {
            text = format!("{text}{}{}", left / factor, names[0]);
            left %= factor;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// The digits at the start as a number, and what follows.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, expected, why) in [
            ("20MiB", Some(20 << 20), "the usual"),
            ("1KiB", Some(1024), "binary"),
            ("10MB", Some(10_000_000), "decimal"),
            ("3 gib", Some(3 << 30), "a space, lower case"),
            ("512", Some(512), "bytes"),
            ("0B", Some(0), "nothing"),
            ("20M", None, "ambiguous"),
            ("20MB?", None, "garbage after"),
            ("1.5GiB", None, "no fractions"),
            ("-1B", None, "negative"),
            ("", None, "empty"),
            ("MiB", None, "no number"),
            ("9999999999999TiB", None, "overflow"),
            ("99999999999999999999", None, "overflow of the number"),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}: {why}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected, why) in [
            ("75s", Some(75_000), "seconds"),
            ("5m", Some(300_000), "minutes"),
            ("500ms", Some(500), "milliseconds"),
            ("1h30m", Some(5_400_000), "two units"),
            ("1h 30m", Some(5_400_000), "with a space"),
            ("180 days", Some(180 * 86_400_000), "words"),
            ("1 day", Some(86_400_000), "one"),
            ("0s", Some(0), "none"),
            ("75", None, "no unit"),
            ("30m1h", None, "small before large"),
            ("1s1s", None, "the same unit twice"),
            ("1.5h", None, "no fractions"),
            ("-5s", None, "negative"),
            ("5 fortnights", None, "unknown unit"),
            ("", None, "empty"),
            ("s", None, "no number"),
            ("99999 days", None, "longer than clocks bear"),
            ("18446744073709551615d", None, "overflow"),
        ] {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(parse_duration(text).ok(), expected, "{text}: {why}");
        }
    }

    #[test]
    fn amounts_print_as_people_write_them() {
        for (bytes, expected) in [
            (20 << 20, "20MiB"),
            (1024, "1KiB"),
            (1000, "1000B"),
            (0, "0B"),
        ] {
            assert_eq!(print_size(bytes), expected);
        }
        for (millis, expected) in [
            (75_000, "75s"),
            (60_000, "1m"),
            (30 * 60_000, "30m"),
            (5_400_000, "1h30m"),
            (500, "500ms"),
            (90_500, "90s500ms"),
            (180 * 86_400_000, "180d"),
            (0, "0s"),
        ] {
            assert_eq!(print_duration(Duration::from_millis(millis)), expected);
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_reads_the_same(bytes in 0..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(parse_size(&print_size(bytes)), Ok(bytes));
        }

        #[test]
        fn a_printed_duration_reads_the_same(millis in 0..=LONGEST) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&print_duration(duration)), Ok(duration));
        }

        #[test]
        fn parsing_never_panics(text in "[0-9]{0,22} ?[a-zA-Z]{0,4}\\PC{0,8}") {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
