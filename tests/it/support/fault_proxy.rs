//! Between the server and its CA: passes requests on, counts them, and breaks what it is told to.
//!
//! It also adds what this Pebble lacks: `renewalInfo` (RFC 9773) and profiles
//! (draft-ietf-acme-profiles).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::exchange::{Answer, Request};

/// The proxy. It lives as long as the runtime of its test.
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    upstream: SocketAddr,
    client: reqwest::Client,
    passed: watch::Sender<Vec<Passed>>,
    faults: Mutex<Vec<Fault>>,
    /// Requests to paths that begin so wait.
    held: watch::Sender<Option<String>>,
    renewal_info: Mutex<Option<Value>>,
    /// Of the directory's `meta`.
    profiles: Mutex<Option<Value>>,
    /// Whether anybody is listening.
    open: watch::Sender<bool>,
}

/// A request that got an answer below 400.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Its path.
    pub path: String,
    /// When.
    pub at: Instant,
    /// What was signed in it.
    pub payload: Value,
}

/// What is answered in the CA's place.
struct Fault {
    path: String,
    status: u16,
    retry_after: Option<u64>,
    times: usize,
    /// Never answered at all.
    hang: bool,
}

impl FaultProxy {
    /// Serves `upstream` on a port of `address`.
    pub async fn start(address: Ipv4Addr, upstream: SocketAddr, chain: &str, key: &str) -> Self {
        let acceptor = acceptor(chain.as_bytes(), key.as_bytes());
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream,
            client: super::http::builder().http1_only().build().unwrap(),
            passed: watch::Sender::new(Vec::new()),
            faults: Mutex::default(),
            held: watch::Sender::new(None),
            renewal_info: Mutex::default(),
            profiles: Mutex::default(),
            open: watch::Sender::new(true),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            let mut listener = Some(listener);
            let mut open = shared.open.subscribe();
            while open.wait_for(|open| *open).await.is_ok() {
                let listener = match listener.take() {
                    Some(listener) => listener,
                    None => TcpListener::bind(address).await.unwrap(),
                };
                tokio::select! {
                    () = shared.serve(&listener, &acceptor) => {}
                    _ = open.wait_for(|open| !*open) => {}
                }
            }
        });
        Self { address, state }
    }

    /// The URL of the directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Answers the next `times` requests to paths that begin with `path` with `status`.
    pub fn refuse(&self, path: &str, status: u16, retry_after: Option<u64>, times: usize) {
        self.state.faults.lock().unwrap().push(Fault {
            path: path.to_owned(),
            status,
            retry_after,
            times,
            hang: false,
        });
    }

    /// Never answers requests to paths that begin with `path`, until [`heal`](Self::heal).
    pub fn hang(&self, path: &str) {
        self.state.faults.lock().unwrap().push(Fault {
            path: path.to_owned(),
            status: 0,
            retry_after: None,
            times: usize::MAX,
            hang: true,
        });
    }

    /// Lets requests to paths that begin with `path` through only after [`heal`](Self::heal).
    pub fn hold(&self, path: &str) {
        self.state.held.send_replace(Some(path.to_owned()));
    }

    /// Refuses connections, until [`open`](Self::open).
    pub async fn close(&self) {
        self.state.open.send_replace(false);
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.state.open.send_replace(true);
    }

    /// Offers these profiles, with a description each.
    pub fn offer_profiles(&self, profiles: &[(&str, &str)]) {
        let profiles = profiles.iter().copied().collect();
        *self.state.profiles.lock().unwrap() = Some(profiles);
    }

    /// Breaks nothing any more.
    pub fn heal(&self) {
        self.state.faults.lock().unwrap().clear();
        self.state.held.send_replace(None);
    }

    /// Suggests a window for the renewal of every certificate, and why.
    pub fn suggest(&self, start: &str, end: &str, explanation: &str) {
        *self.state.renewal_info.lock().unwrap() = Some(json!({
            "suggestedWindow": {"start": start, "end": end},
            "explanationURL": explanation,
        }));
    }

    /// What [`suggest`](Self::suggest) said last.
    pub fn suggestion(&self) -> Value {
        self.state
            .renewal_info
            .lock()
            .unwrap()
            .clone()
            .unwrap_or_default()
    }

    /// How many requests to paths that begin with `path` were answered below 400.
    pub fn count(&self, path: &str) -> usize {
        self.passed(path).len()
    }

    /// Those requests.
    pub fn passed(&self, path: &str) -> Vec<Passed> {
        let passed = self.state.passed.borrow();
        let matching = passed.iter().filter(|passed| passed.path.starts_with(path));
        matching.cloned().collect()
    }

    /// Waits until `count` requests to paths that begin with `path` were seen, broken ones included.
    pub async fn seen(&self, path: &str, count: usize) {
        let mut passed = self.state.passed.subscribe();
        let enough = |all: &Vec<Passed>| {
            all.iter()
                .filter(|passed| passed.path.starts_with(path))
                .count()
                >= count
        };
        let waiting = passed.wait_for(enough);
        tokio::time::timeout(super::server::PATIENCE, waiting)
            .await
            .expect("the server never asked")
            .unwrap();
    }
}

impl State {
    async fn serve(self: &Arc<Self>, listener: &TcpListener, acceptor: &TlsAcceptor) {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, state) = (acceptor.clone(), self.clone());
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(socket).await {
                    while let Some(request) = Request::read(&mut stream).await {
                        let answer = state.answer(request).await;
                        if stream.write_all(&answer.to_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    }

    async fn answer(&self, request: Request) -> Answer {
        if let Some(fault) = self.fault(&request.path) {
            if fault.hang {
                self.note(&request);
                std::future::pending::<()>().await;
            }
            return fault.answer();
        }
        let is_through = |held: &Option<String>| {
            let path = held.as_deref();
            path.is_none_or(|path| !request.path.starts_with(path))
        };
        let mut held = self.held.subscribe();
        if !is_through(&held.borrow_and_update()) {
            self.note(&request);
            // The sender is ours.
            let _ = held.wait_for(is_through).await;
        }
        if let Some(info) = self.renewal_info(&request) {
            return info;
        }
        let answer = self.forward(&request).await;
        if answer.status < 400 {
            self.note(&request);
        }
        answer
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let fault = faults
            .iter_mut()
            .find(|fault| fault.times > 0 && path.starts_with(&fault.path))?;
        fault.times -= 1;
        Some(Fault {
            path: fault.path.clone(),
            ..*fault
        })
    }

    fn renewal_info(&self, request: &Request) -> Option<Answer> {
        let info = self.renewal_info.lock().unwrap().clone()?;
        request.path.starts_with("/renewal-info/").then(|| Answer {
            status: 200,
            headers: vec![("Retry-After".into(), "60".into())],
            body: info.to_string().into_bytes(),
        })
    }

    async fn forward(&self, request: &Request) -> Answer {
        let url = format!("https://{}{}", self.upstream, request.path);
        let mut forwarded = self
            .client
            .request(request.method.parse().unwrap(), url)
            .header("Host", &request.host)
            .body(request.body.clone());
        if let Some(content_type) = &request.content_type {
            forwarded = forwarded.header("Content-Type", content_type);
        }
        let answer = forwarded.send().await.unwrap();
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .filter(|(name, _)| {
                !["content-length", "transfer-encoding", "connection"].contains(&name.as_str())
            })
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let mut body = answer.bytes().await.unwrap().to_vec();
        if request.path == "/dir" {
            body = self.completed(&body, &request.host);
        }
        // A CA with renewalInfo says which certificate an order replaces (RFC 9773, section 5).
        if request.path == "/order-plz" && status == 201 {
            let replaces = payload(&request.body)["replaces"].clone();
            if !replaces.is_null() {
                let mut order: Value = serde_json::from_slice(&body).unwrap();
                order["replaces"] = replaces;
                body = order.to_string().into_bytes();
            }
        }
        Answer {
            status,
            headers,
            body,
        }
    }

    /// The directory with what Pebble does not say in it.
    fn completed(&self, directory: &[u8], host: &str) -> Vec<u8> {
        let mut directory: Value = serde_json::from_slice(directory).unwrap();
        if self.renewal_info.lock().unwrap().is_some() {
            directory["renewalInfo"] = format!("https://{host}/renewal-info").into();
        }
        if let Some(profiles) = self.profiles.lock().unwrap().clone() {
            directory["meta"]["profiles"] = profiles;
        }
        directory.to_string().into_bytes()
    }

    fn note(&self, request: &Request) {
        let passed = Passed {
            path: request.path.clone(),
            at: Instant::now(),
            payload: payload(&request.body),
        };
        self.passed.send_modify(|all| all.push(passed));
    }
}

impl Fault {
    fn answer(&self) -> Answer {
        let kind = if self.status == 429 {
            "rateLimited"
        } else {
            "serverInternal"
        };
        let mut headers = vec![("Content-Type".into(), "application/problem+json".into())];
        headers.extend(
            self.retry_after
                .map(|after| ("Retry-After".into(), after.to_string())),
        );
        let problem = json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"),
            "detail": "broken on purpose",
        });
        Answer {
            status: self.status,
            headers,
            body: problem.to_string().into_bytes(),
        }
    }
}

/// TLS with this chain and key (PEM).
pub fn acceptor(chain: &[u8], key: &[u8]) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(tls))
}

/// What is signed in a JWS (RFC 8555, section 6.2).
fn payload(body: &[u8]) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap_or_default();
    let payload = signed["payload"].as_str().unwrap_or_default();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
    serde_json::from_slice(&payload).unwrap_or_default()
}
