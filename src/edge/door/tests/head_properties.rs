//! What holds for every head, however it was put together and however it arrives.

use proptest::prelude::*;

use super::super::head::{Framing, Reading, read};

/// Parts of heads, right and wrong ones, so that chance finds both.
const STARTS: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a?b HTTP/1.1",
    "GET http://a.test/ HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET / HTTP/1.0",
    "TRACE / HTTP/1.1",
    "GET /a b HTTP/1.1",
    "get / HTTP/1.1",
    "PRI * HTTP/2.0",
];
const FIELDS: &[&str] = &[
    "Host: a.test",
    "Host: b.test",
    "X: y",
    "Content-Length: 3",
    "Content-Length: 4",
    "Content-Length: +3",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Upgrade: websocket",
    "Expect: 100-continue",
    " folded",
    "X : y",
    ": y",
];
const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"];

/// A head of such parts, now and then with a byte put in anywhere.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let line = (prop::sample::select(FIELDS), prop::sample::select(ENDS));
    let lines = prop::collection::vec(line, 0..4);
    let stray = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (prop::sample::select(STARTS), lines, stray).prop_map(|(start, lines, stray)| {
        let mut head = format!("{start}\r\nHost: a.test\r\n").into_bytes();
        for (field, end) in lines {
            head.extend_from_slice(field.as_bytes());
            head.extend_from_slice(end.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        if let Some((at, byte)) = stray {
            head.insert(at.index(head.len()), byte);
        }
        head
    })
}

/// The verdict when `bytes` come in pieces of these sizes.
fn read_in_pieces(bytes: &[u8], sizes: &[usize]) -> Reading {
    let (mut seen, mut had) = (0, 0);
    for size in sizes.iter().copied().chain([bytes.len()]) {
        seen = bytes.len().min(seen + size);
        match read(&bytes[..seen], had) {
            Reading::Incomplete => had = seen,
            verdict => return verdict,
        }
    }
    Reading::Incomplete
}

/// Which of the three verdicts it is; two faults in one head may be named in either order.
fn kind(reading: &Reading) -> Option<(usize, Framing)> {
    match reading {
        Reading::Complete(head) => Some((head.length, head.body)),
        Reading::Incomplete | Reading::Refused(_) => None,
    }
}

proptest! {
    #[test]
    fn any_bytes_get_a_verdict(bytes: Vec<u8>, from: usize) {
        read(&bytes, from.min(bytes.len()));
    }

    #[test]
    fn pieces_mean_what_the_whole_means(
        bytes in heads(),
        sizes in prop::collection::vec(1_usize..40, 0..20),
    ) {
        let (whole, pieces) = (read(&bytes, 0), read_in_pieces(&bytes, &sizes));
        prop_assert_eq!(kind(&whole), kind(&pieces));
        prop_assert_eq!(whole == Reading::Incomplete, pieces == Reading::Incomplete);
    }

    #[test]
    fn what_is_let_in_is_clean_and_framed_once(bytes in heads()) {
        let Reading::Complete(head) = read(&bytes, 0) else { return Ok(()) };
        let head_bytes = &bytes[..head.length];
        let text = String::from_utf8_lossy(head_bytes).replace("\r\n", "\n");
        prop_assert!(!text.contains(['\r', '\0']));
        prop_assert_eq!(text.matches('\n').count(), head_bytes.windows(2).filter(|two| two == b"\r\n").count());

        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut other = httparse::Request::new(&mut fields);
        prop_assert_eq!(other.parse(&bytes), Ok(httparse::Status::Complete(head.length)));
        let all = |name: &str| -> Vec<&[u8]> {
            let same = |field: &&httparse::Header| field.name.eq_ignore_ascii_case(name);
            other.headers.iter().filter(same).map(|field| field.value).collect()
        };
        // HTTP/1.0 may come without.
        let least = usize::from(other.version == Some(1));
        prop_assert!((least..=1).contains(&all("host").len()));
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        match head.body {
            Framing::Chunked => prop_assert!(lengths.is_empty() && codings == [b"chunked"]),
            Framing::Upgrade => prop_assert!(lengths.is_empty() && codings.is_empty()),
            Framing::Length(0) => prop_assert!(lengths.is_empty() && codings.is_empty()),
            Framing::Length(length) => {
                prop_assert!(codings.is_empty());
                prop_assert_eq!(lengths.concat(), length.to_string().into_bytes());
            }
        }
    }
}
