//! Connections and what was agreed on at their beginning; the process that holds them.

use std::net::TcpStream;

use tokio::io::AsyncReadExt;

use crate::support::handshake::{Handshake, Handshakes};
use crate::support::metrics::Metrics;
use crate::support::raw::Raw;
use crate::support::server::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_for_each_kind_of_listener() {
    let server = Setup::new()
        .admin()
        .server("max_connections_per_ip = 2")
        .start();
    let http = server.http.unwrap();
    let open = "unibody_connections_open{listener=\"http\"}";
    let accepted = "unibody_connections_accepted_total{listener=\"http\"}";
    let refused =
        "unibody_connections_refused_total{listener=\"http\",reason=\"max_connections_per_ip\"}";
    assert_eq!(Metrics::of(&server).await.value(accepted), 0.0);

    let kept = [Raw::connect(http), Raw::connect(http)];
    Metrics::once(&server, open, 2.0).await;
    assert_eq!(Raw::connect(http).read_to_end(), b"", "there is no room");
    let metrics = Metrics::once(&server, refused, 1.0).await;
    assert_eq!(metrics.value(accepted), 3.0);
    drop(kept);
    let metrics = Metrics::once(&server, open, 0.0).await;
    assert_eq!(metrics.value(accepted), 3.0);
}

fn handshakes(kind: &str, version: &str) -> String {
    format!("unibody_tls_handshakes_total{{kind=\"{kind}\",version=\"{version}\"}}")
}

/// Reads what comes first, and with it the tickets.
async fn say_hello(handshake: &mut Handshake) {
    use tokio::io::AsyncWriteExt;
    let request = b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n";
    handshake.stream.write_all(request).await.unwrap();
    handshake.stream.read_u8().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_are_full_resumed_or_failed() {
    let server = Setup::new()
        .admin()
        .config("[server.timeouts]\ntls_handshake = \"300ms\"")
        .start();
    let https = server.https.unwrap();
    // The server has looked at what it serves once, or is about to.
    let own = Metrics::once(&server, &handshakes("full", "1.3"), 1.0).await;
    assert_eq!(
        own.value("unibody_tls_handshake_duration_seconds_count"),
        1.0
    );

    for (client, version, before) in [
        (Handshakes::new(&["http/1.1"]), "1.3", 1.0),
        (Handshakes::tls12(), "1.2", 0.0),
    ] {
        for resumed in [false, true, true] {
            let mut handshake = client.connect(https, "localhost").await.unwrap();
            say_hello(&mut handshake).await;
            assert_eq!(handshake.is_resumed(), resumed);
        }
        let metrics = Metrics::once(&server, &handshakes("resumed", version), 2.0).await;
        assert_eq!(metrics.value(&handshakes("full", version)), before + 1.0);
    }
    let failed =
        |reason: &str| format!("unibody_tls_handshakes_failed_total{{reason=\"{reason}\"}}");
    Raw::connect(https)
        .send("GET / HTTP/1.1\r\n\r\n")
        .read_to_end();
    Metrics::once(&server, &failed("failed"), 1.0).await;
    let silent = TcpStream::connect(https).unwrap();
    let metrics = Metrics::once(&server, &failed("slow"), 1.0).await;
    drop(silent);
    assert_eq!(
        metrics.value("unibody_tls_handshake_duration_seconds_count"),
        7.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_tells_what_the_system_knows_of_it() {
    let server = Setup::new().admin().start();
    let pid = server.pid();
    let before = Metrics::of(&server).await;
    let held: Vec<_> = (0..20)
        .map(|_| Raw::connect(server.http.unwrap()))
        .collect();
    let open = "unibody_connections_open{listener=\"http\"}";
    let metrics = Metrics::once(&server, open, 20.0).await;
    let more = metrics.value("process_open_fds") - before.value("process_open_fds");
    assert!((18.0..=22.0).contains(&more), "{more} for 20 connections");
    let tasks = metrics.value("unibody_runtime_tasks") - before.value("unibody_runtime_tasks");
    assert!((18.0..=22.0).contains(&tasks), "{tasks} for 20 connections");
    drop(held);

    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .trim_start_matches(':')
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let rss = metrics.value("process_resident_memory_bytes") / 1024.0;
    assert!((rss / field("VmRSS") - 1.0).abs() < 0.25, "{rss} KiB");
    assert!((metrics.value("process_threads") - field("Threads")).abs() <= 4.0);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let limit: f64 = limit
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(metrics.value("process_max_fds"), limit);
    let cpu = metrics.value("process_cpu_seconds_total");
    assert!(cpu > 0.0 && cpu < 60.0, "{cpu} s");
    let workers = metrics.value("unibody_runtime_workers");
    let busy = metrics.all("unibody_runtime_busy_seconds_total");
    assert_eq!(busy.count() as f64, workers);
}
