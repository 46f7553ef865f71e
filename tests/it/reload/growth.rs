//! What a configuration needs ends with it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::runtime::Runtime;
use unibody::config::{self, Config, Environment};
use unibody::edge::bound::AtHand;
use unibody::edge::{self, Sockets};
use unibody::telemetry::Output;

use super::{says, site};
use crate::support::metrics::Metrics;
use crate::support::server::{PATIENCE, Server};

const RELOADS: usize = 50;

/// A configuration in which everything that has a task or a thread is another one each time.
fn another(number: usize, directory: &Path) -> Arc<Config> {
    let text = format!(
        r#"
        [server]
        http = ["127.0.0.1:0"]
        drain = "1s"
        [tls]
        mode = "off"
        [[upstream]]
        name = "named-{number}"
        servers = ["localhost:1"]
        [upstream.health]
        path = "/{number}"
        interval = "1h"
        [[upstream]]
        name = "changed"
        servers = ["localhost:1"]
        read_timeout = "{}s"
        [upstream.health]
        path = "/"
        interval = "1h"
        [[route]]
        path = "/{number}"
        files = "{}"
        [[route]]
        path = "/"
        upstream = "changed"
        "#,
        number + 1,
        directory.display(),
    );
    Arc::new(config::parse(&text, directory, &Environment::empty()).unwrap())
}

/// The number that `count` comes down to, or what it still is after a while.
fn settled(wanted: usize, count: impl Fn() -> usize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = count();
        if now <= wanted || Instant::now() > deadline {
            return now;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn tasks_of_configurations_that_are_gone_end() {
    unibody::certificates::install_crypto_provider();
    let directory = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let config = another(0, directory.path());
    let sockets = Sockets::bind(&config, &mut AtHand::nothing()).unwrap();
    let output = Output::stdout().unwrap();
    let edge = edge::prepare(&config, sockets, None, Router::new(), &output).unwrap();
    let mut running = edge.serve();
    let tasks = || runtime.metrics().num_alive_tasks();
    let before = tasks();
    for number in 1..=RELOADS {
        let view = running.view().unwrap();
        let next = view.prepare(&another(number, directory.path())).unwrap();
        running.go_on_with(next);
    }
    // The listener's own task may not have been started yet when the first were counted.
    let after = settled(before + 1, tasks);
    assert!(after <= before + 1, "{after} tasks, {before} at the start");
    runtime.block_on(running.stop(Duration::from_secs(1)));
}

fn entries(server: &Server, of: &str) -> usize {
    let directory = format!("/proc/{}/{of}", server.pid());
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn threads_and_open_files_do_not_grow() {
    let text = |number: usize| {
        format!(
            "[[upstream]]\nname = \"a\"\nservers = [\"localhost:1\"]\nread_timeout = \"{}s\"\n\
             [upstream.health]\npath = \"/\"\ninterval = \"1h\"\n\
             [[rate_limit]]\nname = \"b\"\nrate = \"{}/s\"\n\
             [[route]]\npath = \"/files/\"\nfiles = \"public\"\ncache_control = \"max-age={number}\"\n{}",
            number + 1,
            number + 1,
            says("/", &number.to_string())
        )
    };
    let server = site("watch_config = false", &text(0));
    let whole = std::fs::read_to_string(server.path("config.toml")).unwrap();
    let head = &whole[..whole.find("[[upstream]]").unwrap()];
    let put = |number: usize| {
        // Something is known of each.
        assert_eq!(server.get("/files/index.html").status, 200);
        std::fs::write(
            server.path("config.toml"),
            format!("{head}{}", text(number)),
        )
        .unwrap();
        server.reload();
        assert_eq!(server.get("/").text(), number.to_string());
    };
    // The first ones start what is started once.
    (1..=3).for_each(put);
    let before = (entries(&server, "task"), entries(&server, "fd"));
    (4..=RELOADS).for_each(put);
    for (of, before) in [("task", before.0), ("fd", before.1)] {
        // One of tokio's threads, or a descriptor on its way, may be there at the moment.
        let after = settled(before, || entries(&server, of));
        assert!(after <= before + 2, "{after} in {of}, before {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_kept_earlier_certificates_ends() {
    const CHANGES: u32 = 20;
    let server = site("", &says("/", "here"));
    let tasks = async || Metrics::of(&server).await.value("unibody_runtime_tasks");
    let before = tasks().await;
    let mut hosts = "hosts = [\"localhost\"]".to_owned();
    for number in 0..CHANGES {
        let others = format!("hosts = [\"localhost\", \"{number}.test\"]");
        server.rewrite(&hosts, &others);
        server.reload();
        hosts = others;
    }
    let begin = Instant::now();
    loop {
        let after = tasks().await;
        // Some of connections come and go.
        if after < before + f64::from(CHANGES / 2) {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{after} tasks, before {before}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
