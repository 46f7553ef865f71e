//! A server that speaks HTTP/2 and answers as gRPC servers do: messages, and the status in trailers.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use super::http2::piece;
use super::server::PATIENCE;

/// It runs on a free port of 127.0.0.1, in the clear, for as long as the test does.
///
/// | path | answer |
/// |---|---|
/// | `/echo` | each message as it comes, then trailers |
/// | `/fail` | trailers only: the head is the end |
/// | `/break` | a message, then the stream is reset |
/// | `/events` | an event, and then nothing more |
/// | `/refuse` | the stream is refused: nothing was begun |
/// | `/wait` | none, for as long as the client waits |
pub struct Grpc {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Receiver<Received>,
}

/// A request as it came.
#[derive(Debug)]
pub struct Received {
    /// Its head.
    pub head: Request<()>,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Grpc {
    /// Starts it.
    pub fn start() -> Self {
        Self::answering(ToOwned::to_owned)
    }

    /// Starts one that refuses every call.
    pub fn refusing() -> Self {
        Self::answering(|_| "/refuse".to_owned())
    }

    /// `like` says by which path of the table a path is answered.
    fn answering(like: fn(&str) -> String) -> Self {
        let (told, address) = channel();
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                for number in 0.. {
                    let client = listener.accept().await.unwrap().0;
                    tokio::spawn(connection(client, number, sender.clone(), like));
                }
            });
        });
        Self {
            address: address.recv().unwrap(),
            requests,
        }
    }

    /// The next request it has got.
    pub fn request(&self) -> Received {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }
}

async fn connection(
    client: TcpStream,
    number: usize,
    requests: Sender<Received>,
    like: fn(&str) -> String,
) {
    client.set_nodelay(true).unwrap();
    let Ok(mut connection) = h2::server::handshake(client).await else {
        return;
    };
    while let Some(Ok((request, answer))) = connection.accept().await {
        let (head, body) = request.into_parts();
        let head = Request::from_parts(head, ());
        let path = like(head.uri().path());
        // The test may have seen enough.
        let _ = requests.send(Received {
            head,
            connection: number,
        });
        tokio::spawn(async move {
            // A client that goes away is none of our business.
            let _ = respond(&path, body, answer).await;
        });
    }
}

async fn respond(
    path: &str,
    mut body: RecvStream,
    mut answer: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc");
    match path {
        "/fail" => {
            let head = head.header("grpc-status", "12").body(()).unwrap();
            answer.send_response(head, true)?;
        }
        "/events" => {
            let head = Response::builder().header("content-type", "text/event-stream");
            let mut events = answer.send_response(head.body(()).unwrap(), false)?;
            events.send_data("id: 1\ndata: 1\n\n".into(), false)?;
            std::future::poll_fn(|context| events.poll_reset(context)).await?;
        }
        "/refuse" => answer.send_reset(Reason::REFUSED_STREAM),
        "/wait" => drop(std::future::poll_fn(|context| answer.poll_reset(context)).await),
        _ => {
            let mut upload = answer.send_response(head.body(()).unwrap(), false)?;
            while let Some(message) = piece(&mut body).await {
                upload.send_data(message?, false)?;
                if path == "/break" {
                    upload.send_reset(Reason::INTERNAL_ERROR);
                    return Ok(());
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            trailers.insert("grpc-message", HeaderValue::from_static("all well"));
            upload.send_trailers(trailers)?;
        }
    }
    Ok(())
}
