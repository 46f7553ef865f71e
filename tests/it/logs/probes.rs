//! Whoever is outside can't fill the log.

use crate::support::raw::Raw;
use crate::support::server::Setup;

/// Many times what has a line of its own in a minute.
const MANY: usize = 60;

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
