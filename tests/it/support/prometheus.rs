//! A real Prometheus that scrapes one server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::http;
use super::server::{PATIENCE, Server};

/// Prometheus, on a free port.
pub struct Prometheus {
    process: Child,
    url: String,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `server` five times a second and has the alerts of `packaging/`.
    pub fn scraping(server: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/alerts.yml");
        let config = serde_json::json!({
            "global": {
                "scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms",
            },
            "rule_files": [alerts],
            "scrape_configs": [{
                "job_name": "unibody",
                "static_configs": [{ "targets": [server.admin.unwrap().to_string()] }],
            }],
        });
        // JSON is YAML, too.
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus, which script/install brings");
        let mut said = BufReader::new(process.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut address = None;
        let mut log = Vec::new();
        for line in said.by_ref() {
            if line.contains("Listening on") {
                address = line
                    .rsplit_once("address=")
                    .map(|(_, address)| address.to_owned());
            }
            let is_ready = line.contains("ready to receive");
            log.push(line);
            if is_ready {
                break;
            }
        }
        let address = address.unwrap_or_else(|| panic!("not ready: {}", log.join("\n")));
        // Whatever it says later: nobody is to wait for us to read it.
        std::thread::spawn(move || said.for_each(drop));
        Self {
            process,
            url: format!("http://{address}/api/v1"),
            _directory: directory,
        }
    }

    /// What it answers to `expression`, once that is anything; nothing if that takes too long.
    pub async fn once(&self, expression: &str) -> Vec<Value> {
        let begin = Instant::now();
        loop {
            let found = self.ask(expression).await;
            if !found.is_empty() || begin.elapsed() > PATIENCE {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What it answers to `expression`, which is a list of samples.
    pub async fn ask(&self, expression: &str) -> Vec<Value> {
        let url =
            url::Url::parse_with_params(&format!("{}/query", self.url), [("query", expression)]);
        let answer = self.get(url.unwrap().as_str()).await;
        answer["result"].as_array().unwrap().clone()
    }

    /// All of its rules, each evaluated at least once.
    pub async fn rules(&self) -> Vec<Value> {
        let url = format!("{}/rules", self.url);
        let begin = Instant::now();
        loop {
            let data = self.get(&url).await;
            let groups = data["groups"].as_array().unwrap().iter();
            let rules: Vec<_> = groups
                .flat_map(|group| group["rules"].as_array().unwrap().clone())
                .collect();
            if rules.iter().all(|rule| rule["health"] != "unknown") {
                return rules;
            }
            assert!(begin.elapsed() < PATIENCE, "{rules:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn get(&self, url: &str) -> Value {
        let answer = http::client().get(url).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{url}: {answer}");
        answer["data"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
