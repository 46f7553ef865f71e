//! HTTPS to the CA: which roots it is trusted by, how long it may take, and what `Retry-After` it sent.
//!
//! The ACME library makes the requests; this client carries them. It sees every answer, and so
//! knows what the library does not tell: how long to wait, and what an error page without a problem
//! document in it means.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::header::{RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use parking_lot::Mutex;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

/// For one request and its answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Answers are chains of certificates at most.
const MAX_ANSWER: usize = 1024 * 1024;
pub(super) const NAME: HeaderValue =
    HeaderValue::from_static(concat!("unibody/", env!("CARGO_PKG_VERSION")));

/// A client for one CA. Clones share what they saw, and connections.
#[derive(Clone)]
pub(super) struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    host: Arc<str>,
    /// Of the last answer.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// Trusts the system's roots, and those in `ca_file`.
    pub(super) fn new(directory: &str, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca_file)?)
            .https_only()
            .enable_http1()
            .build();
        let host = Url::parse(directory)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
            .unwrap_or_else(|| directory.to_owned());
        Ok(Self {
            http: HyperClient::builder(TokioExecutor::new()).build(connector),
            host: host.into(),
            retry_after: Arc::default(),
        })
    }

    /// The same client for another errand: what the CA asks of this one is not meant for that.
    pub(super) fn apart(&self) -> Self {
        Self {
            retry_after: Arc::default(),
            ..self.clone()
        }
    }

    /// The CA, for people.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// How long the last answer asked to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock()
    }

    /// Reads JSON from `url`, as anybody may.
    pub(super) async fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, Error> {
        Ok(self.json_with_headers(url).await?.1)
    }

    /// The same, with the headers of the answer.
    pub(super) async fn json_with_headers<T: DeserializeOwned>(
        &self,
        url: &str,
    ) -> Result<(HeaderMap, T), Error> {
        let request = Request::get(url).body(BodyWrapper::default())?;
        let (parts, body) = self.exchange(request).await?;
        Ok((parts.headers, serde_json::from_slice(&body)?))
    }

    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<(http::response::Parts, Bytes), Error> {
        request.headers_mut().insert(USER_AGENT, NAME);
        let answer = async {
            let (parts, body) = self
                .http
                .request(request)
                .await
                .map_err(other)?
                .into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            Ok::<_, Error>((parts, body.map_err(Error::Other)?.to_bytes()))
        };
        let (parts, body) = timeout(DEADLINE, answer)
            .await
            .map_err(|_| Error::Other("no answer within 30 seconds".into()))??;
        *self.retry_after.lock() = retry_after(&parts.headers, SystemTime::now());
        refuse_errors(parts.status, &body)?;
        Ok((parts, body))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let (parts, body) = this.exchange(request).await?;
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

/// An error status becomes a problem, even from a proxy that sends a page instead of a problem
/// document. A problem document with status 400 passes: the library repeats what failed for a nonce.
fn refuse_errors(status: StatusCode, body: &[u8]) -> Result<(), Error> {
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(());
    }
    let problem = serde_json::from_slice::<Problem>(body).ok();
    if status == StatusCode::BAD_REQUEST && problem.is_some() {
        return Ok(());
    }
    let mut problem = problem.unwrap_or_else(|| Problem {
        r#type: None,
        detail: Some(format!("HTTP status {status}")),
        status: None,
        subproblems: Vec::new(),
    });
    problem.status = Some(status.as_u16());
    Err(Error::Api(problem))
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What verifies servers by the system's roots, and those in `ca_file`.
pub(super) fn tls(ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("no version of TLS is available")?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    Ok(tls)
}

fn roots(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let wrong = |why: &str| {
            let shown = file.display();
            anyhow!(
                "acme.ca_file {shown} {why}; it must be the root certificate of the CA's own server, as PEM"
            )
        };
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&format!("cannot be read ({error})")))?;
        let (added, unreadable) = roots.add_parsable_certificates(certificates);
        if unreadable > 0 {
            return Err(wrong("holds something that is no certificate"));
        }
        if added == 0 {
            return Err(wrong("holds no certificate"));
        }
    }
    anyhow::ensure!(
        !roots.is_empty(),
        "the system knows no root certificates: install ca-certificates, or set acme.ca_file"
    );
    Ok(roots)
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::testing::{Authority, leaf};

    #[test]
    fn a_ca_file_is_one_of_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let authority = Authority::new();
        let not_one = authority.pem.replace("MII", "MIJ");
        let (good, key) = (&authority.pem, leaf(&["a.test"]).key);
        let cut = &good[..good.len() / 2];
        let table = [
            (good.clone(), None, "one"),
            (format!("{good}{good}"), None, "several"),
            (format!("# ours\n{good}"), None, "with a comment"),
            (String::new(), Some("holds no certificate"), "empty"),
            (key, Some("holds no certificate"), "a key"),
            ("\0\u{1}".to_owned(), Some("holds no certificate"), "DER"),
            (cut.to_owned(), Some("cannot be read"), "cut off"),
            (not_one, Some("something that is no certificate"), "damaged"),
        ];
        for (text, expected, why) in table {
            std::fs::write(&file, text).unwrap();
            let found = roots(Some(&file)).err().map(|error| error.to_string());
            match (expected, found) {
                (None, found) => assert_eq!(found, None, "{why}"),
                (Some(expected), found) => {
                    let found = found.expect(why);
                    assert!(found.contains(expected), "{why}: {found}");
                    assert!(found.contains("ca.pem") && found.contains("; it must"));
                }
            }
        }
        let missing = directory.path().join("missing.pem");
        assert!(roots(Some(&missing)).is_err());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Fri, 01 Jan 2027 00:00:00 GMT").unwrap();
        let table = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Fri, 01 Jan 2027 00:01:00 GMT", Some(60)),
            ("Thu, 31 Dec 2026 00:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ];
        for (text, expected) in table {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn error_pages_become_problems_and_bad_nonces_pass() {
        let page = b"<html>Bad gateway</html>".as_slice();
        let problem = br#"{"type":"urn:ietf:params:acme:error:badNonce"}"#.as_slice();
        let table = [
            (200, page, None, "a chain of certificates is no JSON either"),
            (502, page, Some(502), "a proxy's page"),
            (
                500,
                problem,
                Some(500),
                "a problem that the library would not look at",
            ),
            (400, problem, None, "the library repeats it"),
            (400, page, Some(400), "nothing for the library to read"),
        ];
        for (status, body, expected, why) in table {
            let found = refuse_errors(StatusCode::from_u16(status).unwrap(), body);
            let found = match found {
                Err(Error::Api(problem)) => problem.status,
                _ => None,
            };
            assert_eq!(found, expected, "{why}");
        }
    }
}
