//! Somebody who is told of things by HTTP, as `acme.webhook` does it.

use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::exchange::{Answer, Request};
use super::pebble::Pebble;
use super::server::PATIENCE;

/// A receiver of messages. It lives as long as the runtime of its test.
pub struct Told {
    /// Where it is told.
    pub url: String,
    messages: Receiver<Value>,
}

impl Told {
    /// Somebody who is told over plain HTTP.
    pub async fn plainly() -> Self {
        Self::listen("http", "127.0.0.1", None).await
    }

    /// Somebody who is told over HTTPS, with a certificate of the authority in `acme.ca_file`.
    pub async fn securely(ca: &Pebble) -> Self {
        let address = ca.address.to_string();
        Self::listen("https", &address, Some(ca.certified())).await
    }

    async fn listen(scheme: &str, host: &str, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let url = format!("{scheme}://{}/hook", listener.local_addr().unwrap());
        let (sender, messages) = channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let message = match &tls {
                    Some(tls) => match tls.accept(socket).await {
                        Ok(stream) => read_message(stream).await,
                        Err(_) => None,
                    },
                    None => read_message(socket).await,
                };
                if let Some(message) = message {
                    // The test may have ended.
                    let _ = sender.send(message);
                }
            }
        });
        Self { url, messages }
    }

    /// The next message.
    pub fn next(&self) -> Value {
        self.messages.recv_timeout(PATIENCE).unwrap()
    }

    /// Whether nothing was said that was not taken.
    pub fn is_silent(&self) -> bool {
        self.messages.try_recv().is_err()
    }
}

/// Reads one request's JSON and answers it.
async fn read_message(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<Value> {
    let request = Request::read(&mut stream).await?;
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/hook");
    assert_eq!(request.content_type.as_deref(), Some("application/json"));
    let answer = Answer {
        status: 204,
        headers: vec![("Connection".into(), "close".into())],
        body: Vec::new(),
    };
    let _ = stream.write_all(&answer.to_bytes()).await;
    Some(serde_json::from_slice(&request.body).unwrap())
}
