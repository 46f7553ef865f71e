//! Where the time goes: the edge, the app, the database, an upstream.

use std::thread::sleep;
use std::time::Duration;

use crate::support::api::Api;
use crate::support::metrics::Metrics;
use crate::support::raw::Raw;
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

const POST: &str = "POST /b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345";
const ROUTE: &str = "[[route]]\npath = \"/b\"\nupstream = \"backend\"";

/// The count and the sum of a histogram, `labels` included.
fn times(metrics: &Metrics, name: &str, labels: &str) -> (f64, f64) {
    let of = |suffix: &str| metrics.value(&format!("{name}_{suffix}{labels}"));
    (of("count"), of("sum"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_time_ends_with_its_head_and_the_requests_with_its_body() {
    let upstream = Upstream::scripted(|connection| {
        connection.request();
        sleep(Duration::from_millis(150));
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        sleep(Duration::from_millis(300));
        connection.send("body");
    });
    let config = format!("{}{ROUTE}", upstream.table(""));
    let server = Setup::new().admin().plain().config(&config).start();
    Raw::connect(server.http.unwrap()).send(POST).answer();
    let count = "unibody_request_duration_seconds_count{route=\"/b/\"}";
    let metrics = Metrics::once(&server, count, 1.0).await;
    let bytes = |name: &str| metrics.value(&format!("unibody_{name}_bytes_total{{route=\"/b/\"}}"));
    assert_eq!((bytes("request"), bytes("response")), (5.0, 4.0));
    let (_, whole) = times(
        &metrics,
        "unibody_request_duration_seconds",
        "{route=\"/b/\"}",
    );
    let labels = "{route=\"/b/\",upstream=\"backend\"}";
    let (heads, head) = times(&metrics, "unibody_upstream_duration_seconds", labels);
    assert_eq!(heads, 1.0);
    assert!(head >= 0.15, "{head} s");
    assert!(whole >= head + 0.29, "{head} of {whole} s");
    let (answers, edge) = times(&metrics, "unibody_edge_duration_seconds", "{route=\"/b/\"}");
    assert_eq!(answers, 1.0);
    assert!(
        edge > 0.0 && edge + head + 0.29 <= whole,
        "{edge} s beside {head} of {whole} s"
    );
    let bucket = |bound: &str| {
        metrics.value(&format!(
            "unibody_upstream_duration_seconds_bucket{{route=\"/b/\",upstream=\"backend\",le=\"{bound}\"}}"
        ))
    };
    assert_eq!((bucket("0.1"), bucket("100")), (0.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lasts_as_long_as_it_likes_is_counted_and_not_timed() {
    let table = [
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 8\r\n\r\ndata: 1\n",
            "",
            "2xx",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            "1xx",
        ),
    ];
    for (answer, fields, class) in table {
        let upstream = Upstream::scripted(move |connection| {
            connection.request();
            connection.send(answer);
        });
        let config = format!("{}{ROUTE}", upstream.table(""));
        let server = Setup::new().admin().plain().config(&config).start();
        let request = format!("GET /b HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let mut raw = Raw::connect(server.http.unwrap());
        assert_eq!(raw.send(request).head().status.to_string()[..1], class[..1]);
        drop(raw);
        let sample =
            format!("unibody_requests_total{{route=\"/b/\",method=\"GET\",status=\"{class}\"}}");
        let metrics = Metrics::once(&server, &sample, 1.0).await;
        let whole = times(
            &metrics,
            "unibody_request_duration_seconds",
            "{route=\"/b/\"}",
        );
        assert_eq!(whole, (0.0, 0.0), "{class}");
        let labels = "{route=\"/b/\",upstream=\"backend\"}";
        let (heads, _) = times(&metrics, "unibody_upstream_duration_seconds", labels);
        assert_eq!(heads, 1.0, "{class}: the time to its head means something");
        let (heads, _) = times(&metrics, "unibody_edge_duration_seconds", "{route=\"/b/\"}");
        assert_eq!(heads, 1.0, "{class}: and so does that of the edge");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_pool_is_seen_and_so_is_how_long_it_keeps_people_waiting() {
    let server = Setup::new()
        .admin()
        .config("[database]\npool_size = 1\nacquire_timeout = \"1s\"")
        .start();
    let database = server.database.as_ref().unwrap();
    let api = Api::http1(&server);
    let locked = database.lock_notes();
    let first = tokio::spawn({
        let api = api.clone();
        async move { api.get("/api/notes").await.status }
    });
    database.waiting(1).await;
    let second = tokio::spawn({
        let api = api.clone();
        async move { api.get("/api/notes").await.status }
    });
    let metrics = Metrics::once(&server, "unibody_database_pool_waiting", 1.0).await;
    for (gauge, value) in [
        ("unibody_database_pool_max_connections", 1.0),
        ("unibody_database_pool_connections", 1.0),
        ("unibody_database_pool_in_use", 1.0),
        ("unibody_requests_running", 2.0),
    ] {
        assert_eq!(metrics.value(gauge), value, "{gauge}");
    }
    assert_eq!(second.await.unwrap(), 503);
    let exhausted = "unibody_database_pool_refused_total{reason=\"exhausted\"}";
    assert_eq!(Metrics::of(&server).await.value(exhausted), 1.0);
    drop(locked);
    assert_eq!(first.await.unwrap(), 200);

    let used = "unibody_database_use_duration_seconds_count";
    let metrics = Metrics::once(&server, used, 1.0).await;
    assert_eq!(metrics.value("unibody_database_pool_in_use"), 0.0);
    let (_, held) = times(&metrics, "unibody_database_use_duration_seconds", "");
    assert!(
        held >= 0.9,
        "{held} s: as long as the second has waited in vain"
    );
    let (lent, _) = times(&metrics, "unibody_database_acquire_duration_seconds", "");
    assert_eq!(lent, 1.0, "who gets none has no time");

    // Counted at the end of each; what else is asked for was then.
    let ended = "unibody_request_duration_seconds_count{route=\"/api/\"}";
    let metrics = Metrics::once(&server, ended, 2.0).await;
    let (_, app) = times(
        &metrics,
        "unibody_app_duration_seconds",
        "{route=\"/api/\"}",
    );
    assert!(app >= held + 0.9, "{app} s: of both");
    let labels = "{route=\"/api/\"}";
    let (_, whole) = times(&metrics, "unibody_request_duration_seconds", labels);
    let (answers, edge) = times(&metrics, "unibody_edge_duration_seconds", labels);
    assert_eq!(answers, 2.0);
    assert!(
        edge > 0.0 && edge + app <= whole,
        "{edge} s beside {app} of {whole} s"
    );
    let (requests, database) = times(&metrics, "unibody_app_database_duration_seconds", labels);
    assert_eq!(requests, 2.0, "who has waited in vain has waited");
    assert!(database >= held + 0.9, "{database} s: of both");
    assert!(database <= app, "{database} of {app} s");

    // What asks for no connection has no time.
    assert_eq!(api.get("/api").await.status, 200);
    let metrics = Metrics::once(&server, ended, 3.0).await;
    let (requests, _) = times(&metrics, "unibody_app_database_duration_seconds", labels);
    assert_eq!(requests, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_told_by_what_goes_in_and_comes_out() {
    let page = "the same again ".repeat(1000);
    let upstream = Upstream::saying(&page);
    let config = format!("{}{ROUTE}", upstream.table(""));
    let server = Setup::new().admin().plain().config(&config).start();
    let request =
        "GET /b HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    let answer = Raw::connect(server.http.unwrap())
        .send(request)
        .last_answer();
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let before = "unibody_compression_input_bytes_total{coding=\"gzip\"}";
    let metrics = Metrics::once(&server, before, page.len() as f64).await;
    let after = metrics.value("unibody_compression_output_bytes_total{coding=\"gzip\"}");
    // The rest are the chunks around it.
    assert!(after > 50.0 && after <= answer.body.len() as f64, "{after}");
    assert_eq!(
        metrics.value("unibody_compression_input_bytes_total{coding=\"br\"}"),
        0.0
    );
}
