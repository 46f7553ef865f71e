//! A panic costs the request that met it: that one is answered if it can be, counted, and named in the
//! log; its neighbours on the connection don't notice.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use crate::support::edge::Edge;
use crate::support::events;
use crate::support::http2::{Http2, read_to_end};
use crate::support::raw::Raw;

/// Where a body panics.
#[derive(Clone, Copy, PartialEq)]
enum At {
    /// When the edge asks how long it is, after the handler has returned: in none of the app's calls.
    Length,
    /// After its first piece.
    Middle,
    /// When it is dropped, after its end.
    Drop,
}

struct Faulty {
    at: At,
    /// How often its length was asked for. axum does so once, within the handler.
    asked: AtomicUsize,
    pieces: usize,
}

impl Faulty {
    fn answer(at: At) -> Response {
        Response::new(Body::new(Self {
            at,
            asked: AtomicUsize::new(0),
            pieces: 0,
        }))
    }
}

impl http_body::Body for Faulty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces += 1;
        match self.pieces {
            1 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"part"))))),
            _ if self.at == At::Middle => panic!("in the middle"),
            _ => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(self.at != At::Length || asked == 0, "asked again");
        SizeHint::default()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        assert!(self.at != At::Drop || std::thread::panicking(), "dropped");
    }
}

fn edge(go_on: &Arc<Notify>) -> Edge {
    let go_on = go_on.clone();
    Edge::serve(
        Router::new()
            .route("/handler", get(async || -> String { panic!("at once") }))
            .route("/length", get(async || Faulty::answer(At::Length)))
            .route("/middle", get(async || Faulty::answer(At::Middle)))
            .route("/drop", get(async || Faulty::answer(At::Drop)))
            .route("/fine", get("fine"))
            .route(
                "/slow",
                get(async move || {
                    go_on.notified().await;
                    "slow"
                }),
            ),
    )
}

/// What a request gets over HTTP/1.1.
#[derive(Debug, PartialEq)]
enum Got {
    /// 500 with the page, and the connection goes on.
    Page,
    /// The same, and the connection ends.
    PageAndEnd,
    /// The head and the first part, and no end.
    Part,
    /// All of it, and then the end of the connection.
    All,
}

#[test]
fn each_is_counted_and_named_and_the_client_never_takes_a_part_for_the_whole() {
    events::listen();
    let edge = edge(&Arc::default());
    let table = [
        ("/handler", Got::Page, "nothing of the answer was begun"),
        ("/length", Got::PageAndEnd, "nobody knows what was begun"),
        ("/middle", Got::Part, "the head was sent"),
        ("/drop", Got::All, "everything was sent"),
    ];
    for (count, (path, expected, why)) in table.into_iter().enumerate() {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n"
        ));
        let head = raw.head();
        let id = head.header("x-request-id").unwrap().to_owned();
        let got = match head.status {
            500 => {
                let mut page = vec![0; head.header("content-length").unwrap().parse().unwrap()];
                std::io::Read::read_exact(&mut raw.0, &mut page).unwrap();
                let page = String::from_utf8(page).unwrap();
                assert!(page.contains("<h1>500") && page.contains(&id), "{page}");
                if head.header("connection") == Some("close") {
                    assert_eq!(raw.read_to_end(), b"");
                    Got::PageAndEnd
                } else {
                    raw.send("GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    assert_eq!(raw.answer().body, b"fine");
                    Got::Page
                }
            }
            200 => {
                assert_eq!(raw.chunk().unwrap(), b"part");
                match raw.chunk() {
                    Some(last) => {
                        assert_eq!(last, b"");
                        assert_eq!(raw.read_to_end(), b"");
                        Got::All
                    }
                    None => Got::Part,
                }
            }
            status => panic!("{status}"),
        };
        assert_eq!(got, expected, "{path}: {why}");
        // Said before it is counted, and counted before the connection ends; only the page may be faster.
        let lines = events::lines_with(&id);
        assert_eq!(lines.len(), 1, "{path}: {lines:?}");
        assert!(lines[0].contains("panicked"), "{path}: {lines:?}");
        assert_eq!(edge.figures().panics(), count as u64 + 1, "{path}");
    }
}

#[test]
fn of_many_the_log_names_the_first_few_and_all_are_counted() {
    events::listen();
    let edge = edge(&Arc::default());
    let mut raw = Raw::connect(edge.http);
    let ids = std::iter::repeat_with(|| {
        raw.send("GET /handler HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = raw.answer();
        assert_eq!(answer.status, 500);
        answer.header("x-request-id").unwrap().to_owned()
    });
    let ids: Vec<_> = ids.take(12).collect();
    let named = ids.iter().filter(|id| !events::lines_with(id).is_empty());
    assert_eq!(named.count(), 10);
    assert_eq!(edge.figures().panics(), 12);
}

#[tokio::test]
async fn other_streams_of_the_connection_go_on() {
    let go_on = Arc::new(Notify::new());
    let edge = edge(&go_on);
    let mut client = Http2::connect(edge.https).await;
    let (slow, _) = client.begin("GET", "/slow", &[], true).await;
    for (path, expected) in [
        ("/handler", Some(500)),
        ("/length", Some(500)),
        ("/middle", None),
    ] {
        let got = match client.try_get(path, &[]).await {
            Ok(answer) if answer.status() == 200 => {
                let broken = read_to_end(&mut answer.into_body()).await.unwrap_err();
                assert!(broken.is_reset(), "{path}: {broken}");
                None
            }
            Ok(answer) => Some(answer.status().as_u16()),
            // The reset may overtake the head.
            Err(error) => {
                assert!(error.is_reset(), "{path}: {error}");
                None
            }
        };
        assert_eq!(got, expected, "{path}");
    }
    go_on.notify_one();
    let mut slow = slow.await.unwrap().into_body();
    assert_eq!(read_to_end(&mut slow).await.unwrap(), b"slow");
    assert_eq!(edge.figures().panics(), 3);
}
