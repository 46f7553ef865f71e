//! `acme.webhook`: somebody is told, by HTTP, of what happens to certificates.
//!
//! Telling never delays a certificate: events wait in a bounded queue for one task that sends them, in
//! their order, each tried a few times and then given up with a line in the log.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::client;
use crate::config::Secret;

/// Events that wait at most; further ones are dropped, with a line in the log.
const QUEUE: usize = 256;
/// For one attempt, the answer's head included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// What is sent (by POST), as one JSON object. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    /// What happened.
    #[serde(flatten)]
    event: Event,
    /// The name whose certificate it is.
    pub name: String,
    /// When it happened.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// There is a new certificate.
    Issued {
        /// Its serial number in upper-case hexadecimal.
        serial: String,
        /// Who issued it.
        issuer: String,
        /// End of its validity.
        #[serde(with = "time::serde::rfc3339")]
        not_after: OffsetDateTime,
    },
    /// An order failed, or was not made because of a limit.
    Failed {
        /// Why, in words.
        error: String,
        /// When it is tried again.
        #[serde(with = "time::serde::rfc3339")]
        next_attempt: OffsetDateTime,
        /// Until when the certificate in service is valid, if there is one.
        #[serde(with = "time::serde::rfc3339::option")]
        not_after: Option<OffsetDateTime>,
    },
    /// Less than a third of a certificate's lifetime is left, and it has not been renewed. Said once
    /// of each certificate.
    Expiring {
        /// Its serial number in upper-case hexadecimal.
        serial: String,
        /// End of its validity.
        #[serde(with = "time::serde::rfc3339")]
        not_after: OffsetDateTime,
        /// Why it has not been renewed, if that failed.
        error: Option<String>,
    },
}

/// The way to whoever is told.
pub(super) struct Webhook {
    url: Uri,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    queue: mpsc::Sender<Message>,
    /// Held by [`run`](Self::run).
    waiting: Mutex<mpsc::Receiver<Message>>,
    closing: Notify,
}

impl Webhook {
    /// Trusts the system's roots, and those in `ca_file`.
    pub(super) fn new(url: &Secret, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(client::tls(ca_file)?)
            .https_or_http()
            .enable_http1()
            .build();
        let (queue, waiting) = mpsc::channel(QUEUE);
        Ok(Self {
            // SECURITY: the URL may hold a token, so no message shows it.
            url: url
                .reveal()
                .parse()
                .context("acme.webhook cannot be used as a URL")?,
            http: Client::builder(TokioExecutor::new()).build(connector),
            queue,
            waiting: Mutex::new(waiting),
            closing: Notify::new(),
        })
    }

    /// Tells of something soon. Never waits.
    pub(super) fn tell(&self, name: &str, event: Event) {
        let message = Message {
            event,
            name: name.to_owned(),
            at: OffsetDateTime::now_utc(),
        };
        if self.queue.try_send(message).is_err() {
            warn!("{name}: acme.webhook is not told: too much waits for it already");
        }
    }

    /// Sends what there is to tell until it is [closed](Self::close) and everything is told. What is
    /// still to be told when this is dropped before gets a line in the log.
    pub(super) async fn run(&self) {
        let mut untold = Untold {
            waiting: self.waiting.lock().await,
            sending: 0,
        };
        loop {
            let message = tokio::select! {
                message = untold.waiting.recv() => message,
                () = self.closing.notified() => {
                    untold.waiting.close();
                    continue;
                }
            };
            let Some(message) = message else {
                return;
            };
            untold.sending = 1;
            self.send(&message).await;
            untold.sending = 0;
        }
    }

    /// Nothing more comes to be told.
    pub(super) fn close(&self) {
        self.closing.notify_one();
    }

    async fn send(&self, message: &Message) {
        // Nothing in it can fail to be JSON: strings, and times of four-digit years.
        let body = Bytes::from(serde_json::to_vec(message).unwrap_or_default());
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(why) = self.attempt(body.clone()).await else {
                return;
            };
            let Some(pause) = pauses.next() else {
                warn!(
                    "{}: {} could not be told (acme.webhook): {why}",
                    message.name,
                    self.url.host().unwrap_or_default()
                );
                return;
            };
            sleep(pause).await;
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<(), String> {
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, client::NAME)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        match timeout(DEADLINE, self.http.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(refused(answer.status())),
            Ok(Err(error)) => Err(format!("{:#}", anyhow::Error::from(error))),
            Err(_) => Err(format!("no answer within {} seconds", DEADLINE.as_secs())),
        }
    }
}

/// What waits, and says so if it is lost.
struct Untold<'a> {
    waiting: MutexGuard<'a, mpsc::Receiver<Message>>,
    sending: usize,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        let lost = self.waiting.len() + self.sending;
        if lost > 0 {
            warn!("acme.webhook is not told of {lost} events: there was no time left at the stop");
        }
    }
}

fn refused(status: StatusCode) -> String {
    let hint = if status.is_redirection() {
        "; redirects are not followed, write the final URL"
    } else {
        ""
    };
    format!("it answered {status}{hint}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use time::macros::datetime;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::certificates::testing::{Authority, logged_while};

    fn expiring() -> Event {
        Event::Expiring {
            serial: "0A".to_owned(),
            not_after: datetime!(2027-01-01 00:00 UTC),
            error: Some("no way".to_owned()),
        }
    }

    /// Reads one request, answers it with `status`, and gives back its body.
    async fn receive(
        mut socket: impl AsyncRead + AsyncWrite + Unpin,
        status: &str,
    ) -> serde_json::Value {
        let mut request = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Ok(json) = serde_json::from_str(body)
            {
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
                return json;
            }
            assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0, "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_refused_once_is_told_again() {
        crate::certificates::install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let webhook = Webhook::new(&Secret::new(url), None).unwrap();
        webhook.tell("a.test", expiring());
        let received = async {
            let mut received = Vec::new();
            for status in ["503 Service Unavailable", "204 No Content"] {
                let (socket, _) = listener.accept().await.unwrap();
                received.push(receive(socket, status).await);
            }
            received
        };
        let received = tokio::select! {
            received = received => received,
            () = webhook.run() => unreachable!("it is not closed"),
        };
        assert_eq!(received[0], received[1]);
        let mut message = received[0].clone();
        assert!(message.as_object_mut().unwrap().remove("at").is_some());
        let expected = json!({
            "event": "expiring", "name": "a.test", "serial": "0A",
            "not_after": "2027-01-01T00:00:00Z", "error": "no way",
        });
        assert_eq!(message, expected);
    }

    #[tokio::test]
    async fn telling_never_waits_however_much_there_is_to_tell() {
        crate::certificates::install_crypto_provider();
        let url = Secret::new("http://127.0.0.1:1/".to_owned());
        let webhook = Webhook::new(&url, None).unwrap();
        for _ in 0..QUEUE + 10 {
            webhook.tell("a.test", expiring());
        }
        assert_eq!(webhook.waiting.lock().await.len(), QUEUE);
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_told_over_tls() {
        crate::certificates::install_crypto_provider();
        let directory = tempfile::tempdir().unwrap();
        let (authority, stranger) = (Authority::new(), Authority::named("Stranger"));
        let leaf = authority.leaf(&["localhost"]);
        let root = directory.path().join("root.pem");
        std::fs::write(&root, &authority.pem).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(leaf.server_config()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = Secret::new(format!("https://localhost:{port}/hook"));
        let webhook = Webhook::new(&url, Some(&root)).unwrap();
        for name in ["a.test", "b.test"] {
            webhook.tell(name, expiring());
        }
        webhook.close();
        let received = async {
            let mut names = Vec::new();
            while names.len() < 2 {
                let (socket, _) = listener.accept().await.unwrap();
                let socket = acceptor.accept(socket).await.unwrap();
                let message = receive(socket, "204 No Content").await;
                names.push(message["name"].as_str().unwrap().to_owned());
            }
            names
        };
        let (received, ()) = tokio::join!(received, webhook.run());
        assert_eq!(received, ["a.test", "b.test"]);

        // A server that somebody else vouches for is told nothing.
        std::fs::write(&root, &stranger.pem).unwrap();
        let webhook = Webhook::new(&url, Some(&root)).unwrap();
        let refused = async {
            let (socket, _) = listener.accept().await.unwrap();
            acceptor.accept(socket).await.is_err()
        };
        let (refused, attempt) = tokio::join!(refused, webhook.attempt(Bytes::new()));
        assert!(refused && attempt.is_err());
    }

    #[tokio::test]
    async fn what_is_lost_at_the_end_is_not_lost_in_silence() {
        crate::certificates::install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Secret::new(format!("http://{}/", listener.local_addr().unwrap()));
        let webhook = Webhook::new(&url, None).unwrap();
        for _ in 0..3 {
            webhook.tell("a.test", expiring());
        }
        let log = logged_while(async {
            // Nobody ever answers.
            tokio::select! {
                () = webhook.run() => unreachable!("it is not closed"),
                connection = listener.accept() => drop(connection.unwrap()),
            }
        });
        let log = log.await;
        assert!(log.contains("not told of 3 events"), "{log}");
    }
}
