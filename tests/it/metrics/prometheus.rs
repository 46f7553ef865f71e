//! Prometheus itself scrapes a server with some of everything.

use serde_json::Value;

use super::documents::{expressions, read};
use crate::support::api::Api;
use crate::support::metrics::Metrics;
use crate::support::prometheus::Prometheus;
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

/// What an idle, healthy server has no answer for, by a part of the question.
const NOTHING_TO_TELL: [&str; 5] = ["_backup_", "_rate_limit_", "_trace_", "== 0", "> 0"];

/// One request to whatever there is.
async fn visit(server: &Server) {
    let api = Api::http1(server);
    api.create_note("milk").await;
    assert_eq!(api.get("/api/notes").await.status, 200);
    assert_eq!(api.get("/").await.status, 200);
    assert_eq!(
        api.send(api.request("GET", "/b").header("accept-encoding", "zstd"))
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_has_an_answer_to_every_question_of_the_dashboard() {
    let upstream = Upstream::saying(&"the same again ".repeat(200));
    let routes = "[[route]]\npath = \"/api/\"\napp = true\n\
        [[route]]\npath = \"/b\"\nupstream = \"backend\"\n\
        [[route]]\npath = \"/\"\nfiles = \"public\"\n";
    let config = format!("{}{routes}", upstream.table(""));
    let server = Setup::new().admin().config(&config).start();
    visit(&server).await;
    Metrics::once(&server, "unibody_requests_running", 0.0).await;

    let prometheus = Prometheus::scraping(&server);
    assert_eq!(prometheus.once("up{job=\"unibody\"} == 1").await.len(), 1);
    visit(&server).await;
    // A rate needs a reading before and one after.
    let requests = "rate(unibody_requests_total{route=\"/b/\",status=\"2xx\"}[1m]) > 0";
    assert_ne!(prometheus.once(requests).await.len(), 0);

    let mut asked = Vec::new();
    let dashboard: Value = serde_json::from_str(&read("packaging/grafana/unibody.json")).unwrap();
    expressions(&dashboard["panels"], &mut asked);
    expressions(&dashboard["annotations"], &mut asked);
    for question in asked {
        let question = question
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".*")
            .replace("$route", ".*")
            .replace("$job", "unibody");
        let is_silent = NOTHING_TO_TELL.iter().any(|part| question.contains(part));
        let answer = prometheus.ask(&question).await;
        assert!(!answer.is_empty() || is_silent, "no answer to {question}");
    }

    for rule in prometheus.rules().await {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "a healthy server: {rule}");
    }
}
