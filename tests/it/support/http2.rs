//! HTTP/2 stream by stream, for what a convenient client would hide.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::time::timeout;

use super::handshake::Handshakes;
use super::server::PATIENCE;

/// How long a stream must take nothing more to count as stalled.
const STALLED: Duration = Duration::from_secs(1);

/// One HTTP/2 connection over TLS.
pub struct Http2(SendRequest<Bytes>);

/// What the client sends on one stream.
pub struct Upload(pub SendStream<Bytes>);

impl Http2 {
    /// Connects to the TLS listener at `address`.
    pub async fn connect(address: SocketAddr) -> Self {
        let tls = Handshakes::new(&["h2"]);
        let tls = tls.connect(address, "localhost").await.unwrap();
        assert_eq!(tls.alpn(), Some("h2"));
        let (sender, connection) = h2::client::handshake(tls.stream).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Asks for `path`, without a body.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Response<RecvStream> {
        self.try_get(path, headers).await.unwrap()
    }

    /// The same, where the stream may be reset instead.
    pub async fn try_get(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<RecvStream>, h2::Error> {
        let (answer, _) = self.begin("GET", path, headers, true).await;
        timeout(PATIENCE, answer).await.unwrap()
    }

    /// Begins a request whose body is sent with the [`Upload`].
    pub async fn post(&mut self, path: &str) -> (ResponseFuture, Upload) {
        self.begin("POST", path, &[], false).await
    }

    /// Begins any request; `ends` says that it has no body.
    pub async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) -> (ResponseFuture, Upload) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let mut sender = self.0.clone().ready().await.unwrap();
        let (answer, upload) = sender.send_request(request, ends).unwrap();
        (answer, Upload(upload))
    }
}

impl Upload {
    /// Sends all of `bytes`, as fast as the peer takes them.
    pub async fn send(&mut self, bytes: &[u8], ends: bool) {
        let mut sent = 0;
        while sent < bytes.len() {
            let room = self.room(bytes.len() - sent).await;
            let piece = Bytes::copy_from_slice(&bytes[sent..sent + room]);
            sent += room;
            let last = ends && sent == bytes.len();
            self.0.send_data(piece, last).unwrap();
        }
    }

    /// Sends up to `most` bytes until the peer takes no more; returns how many it took.
    pub async fn send_until_stalled(&mut self, most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            let Ok(room) = timeout(STALLED, self.room(most - sent)).await else {
                break;
            };
            let piece = Bytes::from(vec![b'x'; room]);
            self.0.send_data(piece, false).unwrap();
            sent += room;
        }
        sent
    }

    async fn room(&mut self, wanted: usize) -> usize {
        self.0.reserve_capacity(wanted);
        loop {
            let room = std::future::poll_fn(|context| self.0.poll_capacity(context)).await;
            match room.expect("the stream is open").unwrap() {
                0 => {}
                room => return room.min(wanted),
            }
        }
    }
}

/// Reads one piece and lets the peer send as much again; `None` is the proper end.
pub async fn piece(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    loop {
        let piece = timeout(PATIENCE, body.data()).await.unwrap()?;
        if let Ok(piece) = &piece {
            body.flow_control().release_capacity(piece.len()).unwrap();
            // The frame that only says that this is the end.
            if piece.is_empty() {
                continue;
            }
        }
        return Some(piece);
    }
}

/// Reads to the end; an error where the stream was reset before it.
pub async fn read_to_end(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = piece(body).await {
        whole.extend_from_slice(&piece?);
    }
    Ok(whole)
}
