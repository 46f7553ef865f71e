//! The notes as a client of the API uses them.

use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Version};
use serde_json::{Value, json};

use super::http;
use super::server::{PATIENCE, Server};

/// A client of one server over one version of HTTP.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    version: Version,
}

/// An answer that has come whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// From the request's first byte to the answer's last.
    pub took: Duration,
}

impl Api {
    /// Over TLS and HTTP/1.1.
    pub fn http1(server: &Server) -> Self {
        Self {
            client: http::builder().http1_only().build().unwrap(),
            base: server.url(""),
            version: Version::HTTP_11,
        }
    }

    /// Over TLS and HTTP/2.
    pub fn http2(server: &Server) -> Self {
        Self {
            client: http::client(),
            base: server.url(""),
            version: Version::HTTP_2,
        }
    }

    /// A request to be sent with [`Self::send`].
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request and takes the whole answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let begin = Instant::now();
        let response = request.timeout(PATIENCE).send().await.unwrap();
        assert_eq!(response.version(), self.version);
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap().to_vec();
        Answer {
            status,
            headers,
            body,
            took: begin.elapsed(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    /// Sends a JSON document.
    pub async fn send_json(&self, method: &str, path: &str, document: &Value) -> Answer {
        self.send(self.request(method, path).json(document)).await
    }

    /// Creates a note, which succeeds, and returns it.
    pub async fn create_note(&self, title: &str) -> Value {
        let answer = self
            .send_json("POST", "/api/notes", &json!({ "title": title }))
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// The titles of the newest notes.
    pub async fn titles(&self) -> Vec<String> {
        let answer = self.get("/api/notes?limit=200").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let notes = answer.json();
        let titles = notes.as_array().unwrap().iter();
        titles
            .map(|note| note["title"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Answer {
    /// A header's value; empty when it isn't there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem document that this answer must be (RFC 9457), with the id of its request.
    pub fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        for member in ["type", "title", "detail"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{member}: {problem}");
        }
        problem
    }

    /// Asserts that this is the answer of an app without its database.
    pub fn assert_unavailable(&self) {
        assert_eq!(self.status, 503, "{self:?}");
        let seconds: u64 = self.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{self:?}");
        self.problem();
    }
}
