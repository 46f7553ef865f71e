//! A client that leaves cancels its handler.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{any, get};
use futures_util::stream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::edge::Edge;
use crate::support::http2::{Http2, piece};
use crate::support::raw::Raw;
use crate::support::server::PATIENCE;

/// What a handler tells of its life.
#[derive(Default)]
struct Life {
    entered: Notify,
    dropped: Notify,
}

/// Tells when it is dropped.
struct Alive(Arc<Life>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

impl Life {
    async fn has_entered(&self) {
        timeout(PATIENCE, self.entered.notified()).await.unwrap();
    }

    async fn is_dropped(&self) {
        timeout(PATIENCE, self.dropped.notified())
            .await
            .expect("the handler is dropped");
    }
}

/// `/wait` never answers; `/wait-after-body` neither, once it has read the body; `/endless` begins
/// an answer that never ends.
fn router(life: &Arc<Life>) -> Router {
    let (wait, read, endless) = (life.clone(), life.clone(), life.clone());
    Router::new()
        .route(
            "/wait",
            any(async move || {
                let alive = Alive(wait);
                alive.0.entered.notify_one();
                std::future::pending::<()>().await;
            }),
        )
        .route(
            "/wait-after-body",
            any(async move |_: Bytes| {
                let alive = Alive(read);
                alive.0.entered.notify_one();
                std::future::pending::<()>().await;
            }),
        )
        .route(
            "/endless",
            get(async move || {
                // The stream owns `Alive`: it is dropped with it.
                let pieces = stream::unfold(Alive(endless), async |alive| {
                    Some((Ok::<_, std::io::Error>(vec![b'x'; 16 * 1024]), alive))
                });
                Body::from_stream(pieces)
            }),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_dropped_when_its_http_1_client_leaves() {
    let life = Arc::new(Life::default());
    let edge = Edge::serve(router(&life));
    for request in [
        "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab",
        "POST /wait HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nTrailer: x\r\n\r\n",
        // It waits for an invitation that never comes, or has not waited.
        "POST /wait HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        "POST /wait HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
        "POST /wait-after-body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab",
        "POST /wait-after-body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ] {
        let mut raw = Raw::connect(edge.http);
        raw.send(request);
        life.has_entered().await;
        drop(raw);
        life.is_dropped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_dropped_when_its_http_2_stream_is_reset_or_the_connection_lost() {
    let life = Arc::new(Life::default());
    let edge = Edge::serve(router(&life));

    let mut client = Http2::connect(edge.https).await;
    let expects = [("expect", "100-continue")];
    for (path, fields, body) in [
        ("/wait", &[][..], ""),
        ("/wait", &[], "ab"),
        ("/wait", &expects, ""),
        ("/wait-after-body", &[], "ab"),
    ] {
        let ends = body.is_empty() && fields.is_empty();
        let (answer, mut upload) = client.begin("POST", path, fields, ends).await;
        if !body.is_empty() {
            upload.send(body.as_bytes(), true).await;
        }
        life.has_entered().await;
        upload.0.send_reset(h2::Reason::CANCEL);
        life.is_dropped().await;
        drop(answer);
    }

    let lost = crate::support::http::client();
    let url = edge.url("/wait");
    let request = tokio::spawn(async move { lost.get(url).send().await.map(drop) });
    life.has_entered().await;
    request.abort();
    life.is_dropped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_dropped_when_its_client_leaves_in_the_middle() {
    let life = Arc::new(Life::default());
    let edge = Edge::serve(router(&life));

    let mut raw = Raw::connect(edge.http);
    raw.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.head().status, 200);
    raw.chunk().unwrap();
    drop(raw);
    life.is_dropped().await;

    let mut client = Http2::connect(edge.https).await;
    let mut body = client.get("/endless", &[]).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    drop(body);
    life.is_dropped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_an_error_to_the_handler() {
    let (sender, mut outcomes) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new().fallback(any(async move |body: Body| {
        let whole = axum::body::to_bytes(body, usize::MAX).await;
        sender.send(whole.map(|bytes| bytes.len())).unwrap();
    }));
    let edge = Edge::serve(router);
    for body in [
        "Content-Length: 5\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{body}"));
        drop(raw);
        // The handler may be cancelled before it sees the error; it must never see a whole body.
        drop(Raw::connect(edge.http));
    }
    let mut raw = Raw::connect(edge.http);
    raw.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd");
    assert_eq!(raw.answer().status, 200);
    loop {
        match timeout(PATIENCE, outcomes.recv()).await.unwrap().unwrap() {
            Err(_) => {}
            Ok(length) => break assert_eq!(length, 4, "only the whole body is one"),
        }
    }
}
