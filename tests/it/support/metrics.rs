//! `/metrics` as Prometheus reads it, strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::http;
use super::server::{PATIENCE, Server};

/// One reading.
pub struct Metrics {
    /// As it was sent.
    pub text: String,
    /// By their names with their labels, as they are written.
    samples: BTreeMap<String, f64>,
    /// The kinds of families, by their names.
    pub families: BTreeMap<String, String>,
}

impl Metrics {
    /// Asks `server`, and parses what it says.
    pub async fn of(server: &Server) -> Self {
        let answer = http::client().get(server.admin_url("/metrics")).send();
        Self::parse(answer.await.unwrap().text().await.unwrap())
    }

    /// The same once `sample` has `value`: an exchange is counted a little after its answer.
    pub async fn once(server: &Server, sample: &str, value: f64) -> Self {
        let begin = Instant::now();
        loop {
            let metrics = Self::of(server).await;
            let found = metrics.samples.get(sample);
            if found == Some(&value) {
                return metrics;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{sample} is {found:?}, not {value}:\n{}",
                metrics.text
            );
        }
    }

    /// Whatever breaks a rule of the text format, version 0.0.4, panics.
    pub fn parse(text: String) -> Self {
        let mut samples = BTreeMap::new();
        let mut families = BTreeMap::new();
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        assert!(text.ends_with('\n'), "the last line has an end, too");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.trim().is_empty(), "{line}");
                assert!(helped.insert(name.to_owned()), "told twice: {line}");
                name.clone_into(&mut family);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert_eq!(name, family, "follows its help: {line}");
                assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
                let before = families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "told twice: {line}");
                let is_counter = kind == "counter";
                assert_eq!(name.ends_with("_total"), is_counter, "its name: {line}");
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a value");
                let name = sample.split('{').next().unwrap();
                let kind = &families[&family];
                let of_histogram = ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix) == Some(&family));
                let belongs = if kind == "histogram" {
                    of_histogram
                } else {
                    name == family
                };
                assert!(belongs, "in the family {family}: {line}");
                check_labels(&sample[name.len()..]);
                let value = value
                    .parse()
                    .unwrap_or_else(|_| panic!("no number: {line}"));
                let before = samples.insert(sample.to_owned(), value);
                assert!(before.is_none(), "a duplicate: {line}");
                let never_falls = kind != "gauge";
                assert!(!never_falls || value >= 0.0, "negative: {line}");
            }
        }
        let metrics = Self {
            text,
            samples,
            families,
        };
        metrics.check_histograms();
        metrics
    }

    /// What `sample` is, written as in the text; 0 where it isn't there.
    pub fn value(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or(0.0)
    }

    /// All samples of `name`, by their labels.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.samples.iter().filter_map(move |(sample, value)| {
            let labels = sample.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }

    /// Every histogram: its buckets grow, and the last is its count.
    fn check_histograms(&self) {
        let histograms = self
            .families
            .iter()
            .filter(|(_, kind)| *kind == "histogram");
        for (family, _) in histograms {
            let buckets = format!("{family}_bucket");
            let mut by_labels = BTreeMap::<&str, Vec<(f64, f64)>>::new();
            for (labels, count) in self.all(&buckets) {
                let (others, bound) = labels.rsplit_once("le=\"").expect("a bound, last");
                let bound = bound.trim_end_matches("\"}");
                let bound = if bound == "+Inf" {
                    f64::INFINITY
                } else {
                    bound.parse().unwrap()
                };
                by_labels.entry(others).or_default().push((bound, count));
            }
            for (others, mut buckets) in by_labels {
                buckets.sort_by(|one, two| one.0.total_cmp(&two.0));
                let grows = buckets.is_sorted_by_key(|(_, count)| *count);
                assert!(grows, "{family}{others} {buckets:?}");
                let (last, all) = *buckets.last().unwrap();
                assert!(last.is_infinite(), "{family}{others}");
                let labels = match others.trim_end_matches([',', '{']) {
                    "" => String::new(),
                    labels => format!("{labels}}}"),
                };
                let of = |suffix: &str| self.samples[&format!("{family}{suffix}{labels}")];
                assert!(of("_count").total_cmp(&all).is_eq(), "{family}{labels}");
                assert!(of("_sum") >= 0.0);
            }
        }
    }
}

/// `{a="b",c="d"}`, or nothing.
fn check_labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    let mut rest = inner.unwrap_or_else(|| panic!("braces: {text}"));
    let mut known = BTreeSet::new();
    loop {
        let (name, value) = rest
            .split_once("=\"")
            .unwrap_or_else(|| panic!("a label: {text}"));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(!name.is_empty() && name.bytes().all(is_name), "{text}");
        assert!(known.insert(name), "twice: {text}");
        let mut escaped = false;
        let end = value.find(|character| match character {
            '\\' if !escaped => {
                escaped = true;
                false
            }
            '"' if !escaped => true,
            character => {
                assert!(!escaped || "\\\"n".contains(character), "{text}");
                escaped = false;
                false
            }
        });
        let end = end.unwrap_or_else(|| panic!("an end: {text}"));
        let after = &value[end + 1..];
        let Some(more) = after.strip_prefix(',') else {
            assert!(after.is_empty(), "{text}");
            return;
        };
        rest = more;
    }
}
