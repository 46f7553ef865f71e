//! What of an answer is said again, and which answers are not.

use super::{ID, answer, recorded};
use crate::edge::freshness::Freshness;
use crate::edge::ready::Patches;

fn make(bytes: &str) -> Option<crate::edge::ready::Recording> {
    recorded(0, "/", bytes, &Freshness::until_ended())
}

#[test]
fn only_what_belongs_to_one_request_is_put_in_anew() {
    let bytes = answer(&format!(
        "X-One: Date: x\r\nx-request-id: {ID}\r\nX-Two:  {ID}\r\n"
    ));
    let recording = make(&bytes).unwrap();
    let mut output = b"before".to_vec();
    let rest = recording.write(
        &Patches {
            date: "Mon, 07 Nov 1994 08:49:37 GMT",
            connection: "close",
            request_id: "another",
        },
        &mut output,
    );
    assert!(rest.unwrap().is_empty());
    let expected = format!(
        "beforeHTTP/1.1 200 OK\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\nX-One: Date: x\r\n\
         x-request-id: another\r\nX-Two:  {ID}\r\nConnection: close\r\n\r\nhello"
    );
    assert_eq!(String::from_utf8(output).unwrap(), expected);
}

#[test]
fn a_large_body_is_not_copied() {
    let body = "x".repeat(100_000);
    let recording = make(&(answer("") + &body)).unwrap();
    let patches = Patches {
        date: "now",
        connection: "keep-alive",
        request_id: "",
    };
    let mut output = Vec::new();
    let rest = recording.write(&patches, &mut output).unwrap();
    assert!(output.ends_with(b"\r\n\r\n"));
    assert_eq!(rest.len(), "hello".len() + body.len());
    assert_eq!(
        rest.as_ptr(),
        recording.write(&patches, &mut output).unwrap().as_ptr()
    );
}

#[test]
fn what_is_not_for_everybody_is_not_recorded() {
    for (bytes, is_recorded, why) in [
        (answer(""), true, "an answer"),
        (
            answer("Vary: accept-encoding\r\n"),
            true,
            "a question has it",
        ),
        (
            answer("Vary: Accept-Encoding, Cookie\r\n"),
            false,
            "varies with more",
        ),
        (answer("vary: *\r\n"), false, "varies with anything"),
        (answer("Set-Cookie: a=b\r\n"), false, "somebody's cookie"),
        (
            answer("").replace("keep-alive", "close"),
            false,
            "the connection went on against its word",
        ),
        (
            answer("").replace("keep-alive", "Upgrade"),
            false,
            "another protocol",
        ),
        (
            answer("").replace("200 OK", "103 Early Hints"),
            false,
            "an interim answer",
        ),
        (
            answer("").replace("Date", "X"),
            false,
            "not as Pingora writes it",
        ),
        (
            answer("").replace("\r\n\r\n", "\r\n"),
            false,
            "the head has no end",
        ),
        (String::new(), false, "nothing was written"),
    ] {
        assert_eq!(make(&bytes).is_some(), is_recorded, "{why}");
    }
}
