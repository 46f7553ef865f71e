//! A page that talks to an upstream over a WebSocket, through us.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::server::Setup;
use crate::support::upstream::{Connection, Upstream};

/// RFC 6455, section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const TALK: &str = "new Promise((resolve) => {
    const socket = new WebSocket(new URL('/chat', location.href.replace('http', 'ws')));
    const heard = [];
    socket.onopen = () => ['one', 'ü'.repeat(200), 'x'.repeat(70000)].forEach((text) => socket.send(text));
    socket.onmessage = ({ data }) => {
        heard.push([data.length, data[0]]);
        if (heard.length === 3) socket.close(1000, 'bye');
    };
    socket.onclose = ({ code, reason, wasClean }) => resolve({ heard, code, reason, wasClean });
})";

#[test]
fn a_page_and_an_upstream_talk_and_part_in_order() {
    let upstream = Upstream::scripted(|connection| {
        // The proxy may have looked and gone.
        if let Some(head) = connection.head() {
            agree(connection, &head);
            while echo(connection) == Some(true) {}
        }
    });
    let server = Setup::new()
        .config(&format!(
            "{}[[route]]\npath = \"/chat\"\nupstream = \"backend\"\n[[route]]\npath = \"/\"\nrespond = {{ body = \"\" }}",
            upstream.table("")
        ))
        .start();
    let page = Browser::start();
    page.open(&server.url("/"));
    let talked = page.evaluate(TALK);
    let expected = json!({
        "heard": [[3, "o"], [200, "ü"], [70000, "x"]],
        "code": 1000, "reason": "bye", "wasClean": true,
    });
    assert_eq!(talked, expected);
}

fn agree(connection: &mut Connection, head: &str) {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then_some(value)
    });
    let accepted = format!("{}{GUID}", key.expect("a key"));
    let accepted = BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, accepted.as_bytes()));
    connection.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accepted}\r\n\r\n"
    ));
}

/// Sends the next frame back; whether more may come. `None` where the connection has ended.
fn echo(connection: &mut Connection) -> Option<bool> {
    let head = connection.read(2)?;
    let more = match head[1] & 0x7f {
        126 => connection.read(2)?,
        127 => connection.read(8)?,
        _ => vec![head[1] & 0x7f],
    };
    let length = more
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    let mask = connection.read(4)?;
    let mut content = connection.read(length)?;
    for (byte, mask) in content.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    let mut frame = vec![head[0], head[1] & 0x7f];
    if head[1] & 0x7f >= 126 {
        frame.extend(more);
    }
    frame.extend(content);
    connection.send(frame);
    Some(head[0] & 0x0f != 8)
}
