//! Figures as people read them; the dashboard writes them the same way.

use std::time::Duration;

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// More digits where there is less.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        ..0.095 => format!("{per_second:.2}"),
        ..9.95 => format!("{per_second:.1}"),
        _ => format!("{per_second:.0}"),
    }
}

/// A part of a whole; what is not nothing is never shown as nothing.
pub(super) fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return "-".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let percent = part as f64 / all as f64 * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        ..0.01 => "< 0.01 %".to_owned(),
        ..0.995 => format!("{percent:.2} %"),
        ..9.95 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// Seconds in the unit in which they are two or three digits.
pub(super) fn duration(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return "-".to_owned();
    };
    match seconds {
        ..0.000_995 => format!("{:.0} µs", seconds * 1e6),
        ..0.009_95 => format!("{:.1} ms", seconds * 1e3),
        ..0.999_5 => format!("{:.0} ms", seconds * 1e3),
        ..9.95 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// Bytes in binary units.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{} {unit}", bytes / size),
        None => format!("{bytes} B"),
    }
}

/// How long, in its two largest units.
pub(super) fn span(time: Duration) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut left = time.as_secs();
    let mut words = Vec::new();
    for (unit, length) in UNITS {
        let whole = left / length;
        left %= length;
        if whole > 0 || !words.is_empty() {
            words.push((whole, unit));
        }
    }
    let told: Vec<_> = words
        .iter()
        .take(2)
        .filter(|(whole, _)| *whole > 0)
        .map(|(whole, unit)| format!("{whole} {unit}"))
        .collect();
    if told.is_empty() {
        "0 s".to_owned()
    } else {
        told.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_true() {
        let table = [
            (count(0), "0"),
            (count(999), "999"),
            (count(1_234_567), "1,234,567"),
            (rate(0.0), "0"),
            (rate(0.02), "0.02"),
            (rate(0.25), "0.2"),
            (rate(124.4), "124"),
            (share(0, 0), "-"),
            (share(0, 9), "0 %"),
            (share(1, 1_000_000), "< 0.01 %"),
            (share(1, 300), "0.33 %"),
            (share(1, 3), "33 %"),
            (duration(None), "-"),
            (duration(Some(0.000_25)), "250 µs"),
            (duration(Some(0.001_25)), "1.2 ms"),
            (duration(Some(0.034)), "34 ms"),
            (duration(Some(1.5)), "1.50 s"),
            (duration(Some(60.0)), "60 s"),
            (bytes(12), "12 B"),
            (bytes(68_300_000), "65 MiB"),
            (span(Duration::ZERO), "0 s"),
            (span(Duration::from_secs(59)), "59 s"),
            (span(Duration::from_hours(1)), "1 h"),
            (span(Duration::from_secs(3661)), "1 h 1 min"),
            (span(Duration::from_secs(90_061)), "1 d 1 h"),
            (span(Duration::from_mins(1441)), "1 d"),
        ];
        for (text, expected) in table {
            assert_eq!(text, expected);
        }
    }
}
