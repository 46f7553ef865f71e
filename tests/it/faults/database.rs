//! PostgreSQL restarts, stalls, turns read-only, has no connection to spare: what needs it says so in bounded
//! time, what doesn't goes on as before, and nobody has to do anything for it to be over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::api::Api;
use crate::support::database::TestDatabase;
use crate::support::server::{PATIENCE, Server, Setup};

/// `acquire_timeout` and `statement_timeout` of these tests, and three seconds for what is on its way: the
/// longest that any request may take (docs/operations.md).
const BOUND: Duration = Duration::from_secs(2 + 1 + 3);
const TIMEOUTS: &str = "[database]\nacquire_timeout = \"2s\"\nstatement_timeout = \"1s\"";

/// What came of the requests of one client that goes on and on.
#[derive(Default)]
struct Tally {
    of_status: BTreeMap<u16, usize>,
    acknowledged: Vec<String>,
    slowest: Duration,
}

impl Tally {
    /// Writes and reads notes until `stop`.
    async fn of(api: Api, name: usize, written: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Self {
        let mut tally = Self::default();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let title = format!("client {name} note {number}");
            let document = json!({ "title": title });
            let created = api.send_json("POST", "/api/notes", &document).await;
            if created.status == 201 {
                written.fetch_add(1, Ordering::Relaxed);
                tally.acknowledged.push(title);
            }
            for answer in [created, api.get("/api/notes?limit=1").await] {
                if answer.status == 503 {
                    answer.assert_unavailable();
                }
                *tally.of_status.entry(answer.status).or_default() += 1;
                tally.slowest = tally.slowest.max(answer.took);
            }
        }
        tally
    }
}

/// Ends the server's own PostgreSQL as `pg_ctl stop -m immediate` would.
fn stop_immediately(server: &Server) {
    let file = std::fs::read_to_string(server.path("data/postgres/postmaster.pid")).unwrap();
    let postmaster = Pid::from_raw(file.lines().next().unwrap().parse().unwrap());
    kill(postmaster, Signal::SIGQUIT).unwrap();
}

async fn until_ready(api: &Api) {
    let begin = Instant::now();
    while api.get("/readyz").await.status != 200 {
        assert!(begin.elapsed() < PATIENCE, "never ready again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_costs_503_and_nothing_that_was_acknowledged() {
    let mut server = Setup::new().embedded().config(TIMEOUTS).start();
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicUsize::new(0));
    let clients = (0..8).map(|name| {
        let api = match name % 2 {
            0 => Api::http1(&server),
            _ => Api::http2(&server),
        };
        tokio::spawn(Tally::of(api, name, written.clone(), stop.clone()))
    });
    let clients: Vec<_> = clients.collect();
    let api = Api::http2(&server);
    for round in 1..=2 {
        until_ready(&api).await;
        // Everybody is at work.
        while written.load(Ordering::Relaxed) < round * 20 {
            tokio::task::yield_now().await;
        }
        stop_immediately(&server);
        // "restarting it", or "can't be restarted" of one that was about to be ready.
        server.wait_for_line("restart");
        assert_eq!(api.get("/").await.status, 200);
    }
    until_ready(&api).await;
    // From here on nothing fails any more.
    for answer in join_all((0..50).map(|_| api.get("/api/notes?limit=1"))).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    stop.store(true, Ordering::Relaxed);

    let mut failed = 0;
    let there = all_titles(&api).await;
    for client in join_all(clients).await {
        let tally = client.unwrap();
        let statuses: Vec<_> = tally.of_status.keys().copied().collect();
        assert!(
            statuses
                .iter()
                .all(|status| [200, 201, 503].contains(status)),
            "{:?}",
            tally.of_status
        );
        assert!(tally.slowest < BOUND, "{:?}", tally.slowest);
        failed += tally.of_status.get(&503).copied().unwrap_or_default();
        for title in tally.acknowledged {
            let copies = there.iter().filter(|found| **found == title).count();
            // The last ones came after the look.
            assert!(copies <= 1, "{title}: {copies}");
            assert!(
                copies == 1 || is_there_now(&api, &title).await,
                "{title} is lost"
            );
        }
    }
    assert!(failed > 0, "nothing was under way");
}

async fn all_titles(api: &Api) -> Vec<String> {
    let mut titles = Vec::new();
    let mut path = "/api/notes?limit=200".to_owned();
    loop {
        let page = api.get(&path).await;
        assert_eq!(page.status, 200, "{page:?}");
        let notes = page.json();
        let each = notes.as_array().unwrap().iter();
        titles.extend(each.map(|note| note["title"].as_str().unwrap().to_owned()));
        let link = page.header("link");
        match link.strip_prefix('<').and_then(|link| link.split_once('>')) {
            Some((next, _)) => next.clone_into(&mut path),
            None => return titles,
        }
    }
}

async fn is_there_now(api: &Api, title: &str) -> bool {
    api.titles().await.iter().any(|found| found == title)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_database_slows_no_static_file_down() {
    const REQUESTS: usize = 400;
    let database = TestDatabase::new();
    let (proxy, url) = database.behind_a_proxy();
    let server = Setup::new().config(TIMEOUTS).database(&url).start();
    let (api, pages) = (Api::http2(&server), Api::http1(&server));
    api.create_note("before").await;
    let before = percentile_99(&pages, REQUESTS).await;

    proxy.stall();
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicUsize::new(0));
    let hanging = (0..32).map(|name| {
        let api = if name % 2 == 0 {
            Api::http1(&server)
        } else {
            api.clone()
        };
        tokio::spawn(Tally::of(api, name, written.clone(), stop.clone()))
    });
    let hanging: Vec<_> = hanging.collect();
    let during = percentile_99(&pages, REQUESTS).await;
    stop.store(true, Ordering::Relaxed);
    for client in join_all(hanging).await {
        let tally = client.unwrap();
        let statuses: Vec<_> = tally.of_status.keys().copied().collect();
        assert_eq!(statuses, [503], "{:?}", tally.of_status);
        assert!(tally.slowest < BOUND, "{:?}", tally.slowest);
    }
    // A page that waited for the database would take a hundred times as long. The rest is the machine.
    let most = (before * 10).max(Duration::from_millis(50));
    assert!(during < most, "p99 was {before:?}, and is {during:?}");

    proxy.forward();
    until_ready(&api).await;
    for answer in join_all((0..20).map(|_| api.get("/api/notes"))).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// What 99 of 100 requests for the page take at the most, one after the other.
async fn percentile_99(api: &Api, requests: usize) -> Duration {
    let mut took = Vec::with_capacity(requests);
    for _ in 0..requests {
        let answer = api.get("/").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        took.push(answer.took);
    }
    took.sort_unstable();
    took[requests * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_read_and_says_why_it_is_not_written() {
    let database = TestDatabase::new();
    let mut server = Setup::new()
        .config(TIMEOUTS)
        .database(&database.url)
        .start();
    let api = Api::http2(&server);
    api.create_note("before").await;
    database.turn_read_only(true);
    until_ready(&api).await;
    for number in 0..5 {
        let document = json!({ "title": number.to_string() });
        let refused = api.send_json("POST", "/api/notes", &document).await;
        refused.assert_unavailable();
        assert!(refused.took < BOUND, "{:?}", refused.took);
        assert_eq!(api.titles().await, ["before"], "reads go on");
    }
    server.line_with("read-only transaction (SQLSTATE 25006)");
    database.turn_read_only(false);
    until_ready(&api).await;
    api.create_note("after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_connections_to_spare_is_shared_by_those_there_are() {
    let database = TestDatabase::new();
    // The limit of one role answers as `max_connections` does (53300); the other tests need theirs.
    let role = database.url.rsplit_once('/').unwrap().1.to_owned() + "_guest";
    database.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'guest' CONNECTION LIMIT 3;
         GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("guest")).unwrap();
    let mut server = Setup::new()
        .config(&format!("{TIMEOUTS}\nmigrate = false"))
        .database(url.as_str())
        .start();
    let api = Api::http2(&server);
    let lock = database.hold("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE");
    for answer in join_all((0..20).map(|_| api.get("/api/notes"))).await {
        answer.assert_unavailable();
        assert!(answer.took < BOUND, "{:?}", answer.took);
    }
    assert_eq!(api.get("/").await.status, 200);
    server.line_with("too many connections for role");
    drop(lock);
    // More at once than there are connections: they take turns.
    for _ in 0..3 {
        for answer in join_all((0..3).map(|_| api.get("/api/notes"))).await {
            assert!([200, 503].contains(&answer.status), "{answer:?}");
        }
    }
    assert_eq!(api.get("/api/notes").await.status, 200, "without any help");
}
