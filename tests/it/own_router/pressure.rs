//! Back-pressure: nobody's slowness fills our memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::support::edge::Edge;
use crate::support::http2::{Http2, piece};
use crate::support::raw::Raw;
use crate::support::server::PATIENCE;

const MIB: usize = 1024 * 1024;
/// What the kernel's buffers of both ends may take on loopback, with room to spare.
const KERNEL: usize = 24 * MIB;
/// More than everything between client and handler may hold.
const UPLOAD: usize = 64 * MIB;

#[derive(Default)]
struct Progress {
    /// Pieces the handler was asked for.
    made: AtomicUsize,
    go_on: Notify,
}

/// `/slow` reads one piece, waits for `go_on`, then counts the rest; `/endless` makes pieces of
/// 16 KiB as fast as it is asked.
fn router(progress: &Arc<Progress>) -> Router {
    let (slow, endless) = (progress.clone(), progress.clone());
    Router::new()
        .route(
            "/slow",
            post(async move |body: Body| {
                let mut pieces = body.into_data_stream();
                let mut count = pieces.next().await.unwrap().unwrap().len();
                slow.go_on.notified().await;
                while let Some(piece) = pieces.next().await {
                    count += piece.unwrap().len();
                }
                count.to_string()
            }),
        )
        .route(
            "/endless",
            get(async move || {
                let pieces = stream::repeat_with(move || {
                    endless.made.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, std::io::Error>(vec![b'x'; PIECE])
                });
                Body::from_stream(pieces)
            }),
        )
}

const PIECE: usize = 16 * 1024;

impl Progress {
    /// Bytes made, once no more are being made.
    async fn made_at_standstill(&self) -> usize {
        let settled = async {
            let mut before = 0;
            loop {
                // Nothing announces that nothing happens: a second without progress is the event.
                sleep(Duration::from_secs(1)).await;
                let made = self.made.load(Ordering::SeqCst);
                if made > 0 && made == before {
                    return made * PIECE;
                }
                before = made;
            }
        };
        timeout(PATIENCE, settled).await.expect("a standstill")
    }
}

fn edge(progress: &Arc<Progress>) -> Edge {
    Edge::with_server(r#"max_body = "1GiB""#, "", router(progress))
}

#[test]
fn a_handler_that_stops_reading_stops_the_upload() {
    let progress = Arc::new(Progress::default());
    let edge = edge(&progress);
    let mut raw = Raw::connect(edge.http);
    raw.send(format!(
        "POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: {UPLOAD}\r\n\r\n"
    ));
    let taken = raw.send_until_stalled(UPLOAD);
    assert!(taken < KERNEL, "{taken} bytes were taken");
    progress.go_on.notify_one();
    let rest = raw.send_until_stalled(UPLOAD - taken);
    assert_eq!(taken + rest, UPLOAD);
    assert_eq!(raw.answer().body, UPLOAD.to_string().as_bytes());
}

#[tokio::test]
async fn a_handler_that_stops_reading_stops_the_upload_over_http_2() {
    let progress = Arc::new(Progress::default());
    let edge = edge(&progress);
    let mut client = Http2::connect(edge.https).await;
    let (answer, mut upload) = client.post("/slow").await;
    let taken = upload.send_until_stalled(UPLOAD).await;
    assert!(taken <= MIB, "{taken} bytes were taken");
    progress.go_on.notify_one();
    upload.send(&vec![b'x'; 4 * MIB - taken], true).await;
    let mut body = answer.await.unwrap().into_body();
    let count = piece(&mut body).await.unwrap().unwrap();
    assert_eq!(count, (4 * MIB).to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_stops_the_handlers_stream() {
    let progress = Arc::new(Progress::default());
    let edge = edge(&progress);
    let mut raw = Raw::connect(edge.http);
    raw.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let made = progress.made_at_standstill().await;
    assert!(made < KERNEL, "{made} bytes were made");
    assert_eq!(raw.head().status, 200);
    let mut read = 0;
    while read <= made {
        read += raw.chunk().unwrap().len();
    }
    assert!(progress.made.load(Ordering::SeqCst) * PIECE > made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_stops_the_handlers_stream_over_http_2() {
    let progress = Arc::new(Progress::default());
    let edge = edge(&progress);
    let mut client = Http2::connect(edge.https).await;
    let mut body = client.get("/endless", &[]).await.into_body();
    let made = progress.made_at_standstill().await;
    assert!(made <= MIB, "{made} bytes were made");
    let mut read = 0;
    while read <= made {
        read += piece(&mut body).await.unwrap().unwrap().len();
    }
}
