//! A well-behaved client.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::handshake::Handshakes;
use crate::support::server::{PATIENCE, Server};

/// One connection.
pub struct Client {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// An answer that has come whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A request whose body is still being sent.
pub struct Upload {
    answer: ResponseFuture,
    pub body: SendStream<Bytes>,
}

impl Client {
    pub async fn connect(server: &Server) -> Self {
        let tls = Handshakes::new(&["h2", "http/1.1"]);
        let tls = tls.connect(server.https.unwrap(), "localhost").await;
        let tls = tls.unwrap();
        assert_eq!(tls.alpn(), Some("h2"));
        let (sender, connection) = h2::client::handshake(tls.stream).await.unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request without a body.
    pub async fn send(&mut self, request: http::request::Builder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// The same, where the stream may be reset instead.
    pub async fn try_send(&mut self, request: http::request::Builder) -> Result<Answer, h2::Error> {
        whole(self.begin(request, true).await.answer).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(to(path)).await
    }

    /// Begins to send a JSON document to the notes.
    pub async fn post(&mut self) -> Upload {
        self.begin(post(), false).await
    }

    /// Begins a request; `ends` says that it has no body.
    pub async fn begin(&mut self, request: http::request::Builder, ends: bool) -> Upload {
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (answer, body) = sender
            .send_request(request.body(()).unwrap(), ends)
            .unwrap();
        Upload { answer, body }
    }

    /// How the connection ended, when the server ends it.
    pub async fn end(self) -> Result<(), h2::Error> {
        let Self { sender, connection } = self;
        let end = timeout(PATIENCE, connection).await.unwrap().unwrap();
        drop(sender);
        end
    }
}

impl Upload {
    /// Sends `text`; `ends` says that it is the last.
    pub fn send(&mut self, text: &str, ends: bool) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.body.send_data(bytes, ends).unwrap();
    }

    /// Waits for the head of the answer; its body is there to be read.
    pub async fn head(&mut self) -> Result<RecvStream, h2::Error> {
        let head = timeout(PATIENCE, &mut self.answer).await.unwrap()?;
        Ok(head.into_body())
    }

    /// Waits for the answer.
    pub async fn answer(self) -> Result<Answer, h2::Error> {
        whole(self.answer).await
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A GET.
pub fn to(path: &str) -> http::request::Builder {
    Request::get(format!("https://localhost{path}"))
}

/// A POST to the notes.
pub fn post() -> http::request::Builder {
    Request::post("https://localhost/api/notes").header("content-type", "application/json")
}

async fn whole(answer: ResponseFuture) -> Result<Answer, h2::Error> {
    timeout(PATIENCE, async {
        let (head, mut body) = answer.await?.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: read(&mut body).await?,
        })
    })
    .await
    .unwrap()
}

/// All that is left of a body.
pub async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        bytes.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok(bytes)
}
