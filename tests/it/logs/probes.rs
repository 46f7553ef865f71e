//! Whoever is outside can't fill the log.

use crate::support::metrics::Metrics;
use crate::support::raw::Raw;
use crate::support::server::Setup;

/// Many times what has a line of its own in a minute.
const MANY: u16 = 60;

#[test]
fn probes_have_no_line_each() {
    let mut server = Setup::new()
        .server("max_connections_per_ip = 200")
        .config(
            "[[upstream]]\nname = \"dead\"\nservers = [\"127.0.0.1:1\", \"127.0.0.2:1\"]\neject_after = 0\n\
             [[route]]\npath = \"/dead/\"\nupstream = \"dead\"\n[tls]\nredirect = false\n[log]\naccess = \"off\"",
        )
        .start();
    let (http, https) = (server.http.unwrap(), server.https.unwrap());
    let started = server.log().lines().count();
    let probes: [(&str, bool, &[u8], usize); 6] = [
        ("no handshake", true, b"GET / HTTP/1.1\r\n\r\n", 0),
        (
            "half a handshake",
            true,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
            0,
        ),
        ("no request", false, b"\x00\x01\x02\r\n\r\n", 0),
        (
            "another host",
            false,
            b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            0,
        ),
        (
            "nothing there",
            false,
            b"GET /wp-login.php HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            0,
        ),
        // The first server's failure, and that of both.
        (
            "a dead upstream",
            false,
            b"GET /dead/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            20,
        ),
    ];
    let mut most = started;
    for (what, tls, bytes, lines) in probes {
        for _ in 0..MANY {
            let mut raw = Raw::connect(if tls { https } else { http });
            raw.send(bytes);
            raw.0.shutdown(std::net::Shutdown::Write).unwrap();
            raw.read_to_end();
        }
        most += lines;
        let said = server.log();
        let count = said.lines().count();
        assert!(count <= most, "{what}: {count} lines\n{said}");
    }
    // What was counted is told, at the latest when the minute is over.
    let line = server.wait_longer_for_line(
        "in the last minute 50 more requests failed",
        std::time::Duration::from_secs(90),
    );
    assert!(line.contains("127.0.0."), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_a_few_lines_of_what_comes_to_no_route() {
    let mut server = Setup::new()
        .admin()
        .config(
            "[[route]]\npath = \"/here/\"\nrespond = { status = 404, body = \"no\" }\n[tls]\nredirect = false",
        )
        .start();
    let table = [
        (
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            421,
            "misdirected",
        ),
        (
            "GET /wp-login.php HTTP/1.1\r\nHost: localhost\r\n\r\n",
            404,
            "not_found",
        ),
    ];
    for (request, status, _) in table {
        for _ in 0..MANY {
            let answer = Raw::connect(server.http.unwrap()).send(request).answer();
            assert_eq!(answer.status, status);
        }
    }
    // A route's own 404 is told: somebody may want to bar who asks for that.
    let mut raw = Raw::connect(server.http.unwrap());
    for _ in 0..MANY {
        let request = "GET /here/it HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(raw.send(request).answer().status, 404);
    }
    let all = "unibody_requests_total{route=\"/here/\",method=\"GET\",status=\"4xx\"}";
    let metrics = Metrics::once(&server, all, f64::from(MANY)).await;
    for (.., reason) in table {
        let count = format!("unibody_requests_unrouted_total{{reason=\"{reason}\"}} {MANY}\n");
        assert!(metrics.text.contains(&count), "{}", metrics.text);
    }
    assert_eq!(
        raw.send("GET /here/last HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .answer()
            .status,
        404
    );
    server.wait_for_line("GET /here/last");
    let log = server.log();
    let (of_route, others): (Vec<_>, Vec<_>) = log
        .lines()
        .filter(|line| line.contains(" rt="))
        .partition(|line| line.contains("GET /here/"));
    assert_eq!(
        (of_route.len(), others.len()),
        (usize::from(MANY) + 1, 10),
        "{log}"
    );
}
