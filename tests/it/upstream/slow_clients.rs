//! Clients that pause while they send: no server is to blame for what it could not answer yet.

use super::{access_line, forwarding_to};
use crate::support::grpc::Grpc;
use crate::support::raw::Raw;
use crate::support::upstream::Upstream;

const KEYS: &str = "read_timeout = \"500ms\"\neject_after = 1\neject_for = \"1h\"";

/// A server that says `said` to each head, and nothing more whatever comes.
fn saying(said: &'static str) -> Upstream {
    Upstream::scripted(move |connection| {
        connection.head();
        connection.send(said);
        // What has come of the body, and then the end.
        while !connection.is_closed() {}
    })
}

#[test]
fn a_pause_in_a_body_ejects_no_server_whatever_it_is_asked_in() {
    let silent = saying("");
    let begun = saying("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf");
    let grpc = Grpc::start();
    let h2c = format!("h2c://{}", grpc.address);
    let events = "Accept: text/event-stream\r\n";
    let mut wrong = Vec::new();
    for (address, path, fields, status, why) in [
        (&silent.address, "/", "", 504, "an answer"),
        (&silent.address, "/", events, 504, "perhaps a stream"),
        (&begun.address, "/", "", 200, "it has begun to answer"),
        (&h2c, "/wait", "", 504, "an answer, HTTP/2"),
        (&h2c, "/wait", events, 504, "perhaps a stream, HTTP/2"),
        (&h2c, "/echo", "", 200, "it has begun to answer, HTTP/2"),
    ] {
        let table =
            format!("[[upstream]]\nname = \"backend\"\nservers = [\"{address}\"]\n{KEYS}\n");
        let mut server = forwarding_to(&table);
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: 10\r\n\r\nhalf"
        ));
        let answer = raw.head();
        if answer.status == 200 {
            raw.read_to_end();
        }
        access_line(&mut server, &answer);
        if answer.status != status || server.log().contains("ejected") {
            wrong.push(format!("{why}: {}\n{}", answer.status, server.log()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
