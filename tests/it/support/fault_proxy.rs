//! Between the server and its CA: passes requests on, counts them, and breaks what it is told to.
//!
//! It also adds what Pebble lacks: `renewalInfo` (RFC 9773).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

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
    renewal_info: Mutex<Option<Value>>,
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

struct Request {
    method: String,
    path: String,
    host: String,
    content_type: Option<String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl FaultProxy {
    /// Serves `upstream` on a port of `address`.
    pub async fn start(address: Ipv4Addr, upstream: SocketAddr, chain: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream,
            client: super::http::builder().http1_only().build().unwrap(),
            passed: watch::Sender::new(Vec::new()),
            faults: Mutex::default(),
            renewal_info: Mutex::default(),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, state) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(socket).await {
                        while let Some(request) = read_request(&mut stream).await {
                            let answer = state.answer(request).await;
                            if stream.write_all(&answer.to_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
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

    /// Breaks nothing any more.
    pub fn heal(&self) {
        self.state.faults.lock().unwrap().clear();
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
    async fn answer(&self, request: Request) -> Answer {
        if let Some(fault) = self.fault(&request.path) {
            if fault.hang {
                self.note(&request);
                std::future::pending::<()>().await;
            }
            return fault.answer();
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
        if request.path == "/dir" && self.renewal_info.lock().unwrap().is_some() {
            let mut directory: Value = serde_json::from_slice(&body).unwrap();
            directory["renewalInfo"] = format!("https://{}/renewal-info", request.host).into();
            body = directory.to_string().into_bytes();
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

impl Answer {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} x\r\n", self.status);
        for (name, value) in &self.headers {
            bytes.extend([name, ": ", value, "\r\n"]);
        }
        bytes.extend(["Content-Length: ", &self.body.len().to_string(), "\r\n\r\n"]);
        let mut bytes = bytes.into_bytes();
        bytes.extend(&self.body);
        bytes
    }
}

/// What is signed in a JWS (RFC 8555, section 6.2).
fn payload(body: &[u8]) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap_or_default();
    let payload = signed["payload"].as_str().unwrap_or_default();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
    serde_json::from_slice(&payload).unwrap_or_default()
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let header = |name: &str| {
        text.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request {
        method: first.next()?.to_owned(),
        path: first.next()?.to_owned(),
        host: header("host")?,
        content_type: header("content-type"),
        body: bytes[head..].to_vec(),
    })
}
