//! Everybody who names a metric names one that there is, and all that there are are explained.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::metrics::Metrics;
use crate::support::server::Setup;

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.split(|character| !is_name(character))
        .filter(|word| word.starts_with("unibody_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// The metrics that `docs/metrics.md` has in its tables, each once.
fn explained() -> BTreeSet<String> {
    let docs = read("docs/metrics.md");
    let rows = docs.lines().filter(|line| line.starts_with("| `"));
    let mut explained = BTreeSet::new();
    for name in rows.flat_map(|row| named(row.split(" | ").next().unwrap())) {
        assert!(explained.insert(name.clone()), "{name} is explained twice");
    }
    explained
}

/// What the dashboard asks Prometheus.
pub(super) fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text)
                        if ["expr", "query", "definition"].contains(&name.as_str()) =>
                    {
                        found.push(text.clone());
                    }
                    value => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// What `promtool` says of `input`, if it finds nothing wrong.
fn promtool(arguments: &[&str], directory: &str, input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(directory))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, which script/install brings");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_valid_and_explained() {
    let server = Setup::new()
        .admin()
        .config(
            "[[rate_limit]]\nname = \"odd\"\nrate = \"1/s\"\nburst = 1\n\
             [[upstream]]\nname = \"b\"\nservers = [\"127.0.0.1:1\"]\n\
             [[route]]\npath = \"/b\"\nupstream = \"b\"\nrate_limit = [\"odd\"]",
        )
        .start();
    let sample = "unibody_tls_handshakes_total{kind=\"full\",version=\"1.3\"}";
    let metrics = Metrics::once(&server, sample, 1.0).await;
    let said = promtool(&["check", "metrics"], ".", &metrics.text);
    assert_eq!(said, "", "advice");

    let told: BTreeSet<_> = metrics.families.keys().cloned().collect();
    let explained = explained();
    let unexplained: Vec<_> = told.difference(&explained).collect();
    assert!(
        unexplained.is_empty(),
        "not in docs/metrics.md: {unexplained:?}"
    );
    // Where there are no backups and no traces there is nothing to tell of them.
    let missing = explained.difference(&told);
    let missing: Vec<_> = missing
        .filter(|name| {
            !["unibody_backup_", "unibody_trace_"]
                .iter()
                .any(|part| name.starts_with(part))
        })
        .collect();
    assert!(missing.is_empty(), "in docs/metrics.md only: {missing:?}");
}

#[test]
fn alerts_and_dashboard_name_what_there_is() {
    let explained = explained();
    assert!(explained.len() > 40, "{explained:?}");
    let known = |name: &String| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|name| explained.contains(name))
        });
        explained.contains(name) || of_histogram
    };
    let mut asked = Vec::new();
    let dashboard = read("packaging/grafana/unibody.json");
    expressions(&serde_json::from_str(&dashboard).unwrap(), &mut asked);
    let shown = named(&asked.join("\n"));
    let unseen = explained.iter().filter(|name| {
        let name = name.as_str();
        !shown.iter().any(|shown| shown.starts_with(name))
    });
    // Of no use in a graph, or told by another.
    let rest: Vec<_> = unseen
        .filter(|name| {
            name.as_str() != "unibody_tls_handshake_duration_seconds"
                && !name.contains("_certificate_stored_")
                && !name.contains("_certificate_next_")
        })
        .collect();
    assert!(rest.is_empty(), "the dashboard leaves out {rest:?}");

    for (where_to, text) in [
        ("dashboard", asked.join("\n")),
        ("alerts", read("packaging/prometheus/alerts.yml")),
        ("their tests", read("packaging/prometheus/alerts_test.yml")),
    ] {
        let unknown: Vec<_> = named(&text)
            .into_iter()
            .filter(|name| !known(name))
            .collect();
        assert!(unknown.is_empty(), "{where_to}: {unknown:?}");
    }
}

#[test]
fn alerts_do_what_their_tests_say() {
    let directory = "packaging/prometheus";
    let said = promtool(&["check", "rules", "alerts.yml"], directory, "");
    let alerts = read("packaging/prometheus/alerts.yml");
    let names = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let tests = read("packaging/prometheus/alerts_test.yml");
    let mut count = 0;
    for name in names {
        count += 1;
        assert!(
            tests.contains(&format!("alertname: {name}\n")),
            "{name} has no test"
        );
    }
    assert!(said.contains(&format!("{count} rules found")), "{said}");
    promtool(&["test", "rules", "alerts_test.yml"], directory, "");
}

/// Prometheus itself parses what the dashboard asks, as rules.
#[test]
fn the_dashboards_questions_can_be_answered() {
    let mut asked = Vec::new();
    let dashboard: Value = serde_json::from_str(&read("packaging/grafana/unibody.json")).unwrap();
    expressions(&dashboard["panels"], &mut asked);
    assert!(asked.len() > 40, "{}", asked.len());
    let rules: Vec<_> = asked
        .iter()
        .enumerate()
        .map(|(number, expression)| {
            let expression = expression.replace("$__rate_interval", "5m");
            serde_json::json!({ "record": format!("asked:{number}"), "expr": expression })
        })
        .collect();
    let rules = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.json");
    fs::write(&file, rules.to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], ".", "");
    let ids: BTreeSet<_> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len());
}
