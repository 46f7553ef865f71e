//! The wall clock jumps: what lasts for a while lasts as long as before, dates are those of the new time,
//! certificates are made anew when they must be, and nothing spins.

use std::time::Duration as StdDuration;

use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

use crate::support::api::Api;
use crate::support::clock::Clock;
use crate::support::process;
use crate::support::server::{Server, Setup};

const YEAR: Duration = Duration::days(365);

/// Two requests to `/limited` an hour.
const LIMITED: &str = r#"
[[rate_limit]]
name = "few"
rate = "2/h"
burst = 2
[[route]]
path = "/"
app = true
[[route]]
path = "/limited"
respond = { status = 200, body = "once more" }
rate_limit = ["few"]
"#;

fn made(server: &Server) -> usize {
    server
        .log()
        .matches("made a self-signed certificate")
        .count()
}

/// The `Date` of an answer, as an offset from what the clock shows.
async fn date_off(api: &Api, clock: &Clock) -> Duration {
    let answer = api.get("/healthz").await;
    assert_eq!(answer.status, 200);
    let date = answer.header("date").replace("GMT", "+0000");
    OffsetDateTime::parse(&date, &Rfc2822).unwrap() - clock.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_takes_any_jump() {
    let mut clock = Clock::new();
    let server = clock.for_server(Setup::new().config(LIMITED)).start();
    let kept = Api::http2(&server);
    for expected in [200, 200, 429] {
        assert_eq!(kept.get("/limited").await.status, expected);
    }
    let table = [
        (Duration::ZERO, "the right time"),
        (Duration::hours(2), "tokens would be back"),
        (2 * YEAR, "every certificate has expired"),
        (-10 * YEAR, "none is valid yet"),
        (Duration::ZERO, "put right"),
    ];
    for (ahead, why) in table {
        clock.set(ahead);
        let cpu = process::cpu(server.pid());
        for (api, how) in [(&kept, "kept"), (&Api::http1(&server), "new")] {
            let off = date_off(api, &clock).await;
            assert!(off.abs() <= Duration::seconds(2), "{why}, {how}: {off}");
            assert_eq!(api.get("/api/notes").await.status, 200, "{why}, {how}");
        }
        let limited = kept.get("/limited").await;
        assert_eq!(limited.status, 429, "{why}");
        let seconds: u64 = limited.header("retry-after").parse().unwrap();
        assert!((1700..=1800).contains(&seconds), "{why}: {seconds}");
        // Nothing announces that nothing happens.
        tokio::time::sleep(StdDuration::from_secs(1)).await;
        let used = process::cpu(server.pid()).saturating_sub(cpu);
        assert!(used < StdDuration::from_millis(700), "{why}: {used:?}");
    }
    assert_eq!(
        made(&server),
        1,
        "no renewal upon a jump alone: {}",
        server.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_wrong_clock_is_replaced_once_by_each_start() {
    let mut clock = Clock::new();
    let setup = Setup::new().server("drain = \"1s\"");
    let mut server = clock.for_server(setup).start();
    for (ahead, reason) in [
        (2 * YEAR, "about to expire"),
        (Duration::ZERO, "not valid yet"),
    ] {
        clock.set(ahead);
        server = server.restart();
        server.line_with(reason);
        assert_eq!(made(&server), 1, "{reason}");
        assert_eq!(Api::http2(&server).get("/api/notes").await.status, 200);
    }
    server = server.restart();
    assert_eq!(made(&server), 0, "the right one stays");
}
