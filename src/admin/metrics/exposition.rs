//! The text that Prometheus reads: families, and the samples of each.

use std::fmt::{Display, Write as _};

use crate::measure::Latencies;

/// The text, and the family that samples belong to.
#[derive(Default)]
pub(super) struct Exposition {
    pub(super) text: String,
    family: &'static str,
}

/// The labels of one sample.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

impl Exposition {
    /// Begins a family of gauges.
    pub(super) fn family(&mut self, name: &'static str, help: &str) {
        self.begin(name, help, "gauge");
    }

    /// Begins a family of counters, which only grow while the process runs.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) {
        self.begin(name, help, "counter");
    }

    /// Begins a family of histograms, in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) {
        self.begin(name, help, "histogram");
    }

    /// Begins a family of this kind.
    pub(super) fn begin(&mut self, name: &'static str, help: &str, kind: &str) {
        self.family = name;
        // Writing to a `String` cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample of a gauge or counter.
    pub(super) fn sample(&mut self, labels: &Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// The family's one sample without labels, if there is something to tell.
    pub(super) fn sample_if_any(&mut self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.sample(&[], value);
        }
    }

    /// One histogram.
    pub(super) fn latencies(&mut self, labels: &Labels<'_>, latencies: &Latencies) {
        for (bound, count) in latencies.cumulative() {
            let bound = match bound {
                Some(bound) => bound.as_secs_f64().to_string(),
                None => "+Inf".to_owned(),
            };
            self.line("_bucket", labels, Some(("le", &bound)), count);
        }
        self.line("_sum", labels, None, latencies.total().as_secs_f64());
        self.line("_count", labels, None, latencies.count());
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &Labels<'_>,
        last: Option<(&str, &str)>,
        value: impl Display,
    ) {
        let _ = write!(self.text, "{}{suffix}", self.family);
        let mut before = '{';
        for (label, text) in labels.iter().copied().chain(last) {
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(text));
            before = ',';
        }
        let after = if before == ',' { "}" } else { "" };
        let _ = writeln!(self.text, "{after} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::Histogram;

    #[test]
    fn labels_cannot_break_the_format() {
        let mut out = Exposition::default();
        out.family("x", "Help.");
        out.sample(&[("a", "q\"b\\n\n"), ("b", "")], 1);
        let expected = "# HELP x Help.\n# TYPE x gauge\nx{a=\"q\\\"b\\\\n\\n\",b=\"\"} 1\n";
        assert_eq!(out.text, expected);
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_a_sum_and_a_count() {
        let histogram = Histogram::default();
        for millis in [1, 30, 200_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut out = Exposition::default();
        out.histogram("x", "Help.");
        out.latencies(&[("a", "b")], &histogram.read());
        assert!(out.text.starts_with("# HELP x Help.\n# TYPE x histogram\n"));
        for line in [
            "x_bucket{a=\"b\",le=\"0.0001\"} 0",
            "x_bucket{a=\"b\",le=\"0.001\"} 1",
            "x_bucket{a=\"b\",le=\"0.05\"} 2",
            "x_bucket{a=\"b\",le=\"100\"} 2",
            "x_bucket{a=\"b\",le=\"+Inf\"} 3",
            "x_sum{a=\"b\"} 200.031",
            "x_count{a=\"b\"} 3",
        ] {
            assert!(
                out.text.lines().any(|found| found == line),
                "{line} in {}",
                out.text
            );
        }
    }
}
