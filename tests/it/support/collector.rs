//! A collector of traces: takes OTLP over HTTP as JSON, and gives back what it was told.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::upstream::{Received, Upstream};

const TAKEN: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// A collector on a free port of 127.0.0.1.
pub struct Collector(Upstream);

/// One span as it was told.
#[derive(Debug)]
pub struct Span(pub Value);

impl Collector {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::answering(TAKEN)
    }

    /// One that answers so.
    pub fn answering(answer: &'static str) -> Self {
        Self(Upstream::answering(answer))
    }

    /// One that answers the first batch so, and takes all others.
    pub fn answering_first(answer: &'static str) -> Self {
        let is_first = AtomicBool::new(true);
        Self(Upstream::scripted(move |connection| {
            while connection.request().is_some() {
                let is_first = is_first.swap(false, Ordering::Relaxed);
                connection.send(if is_first { answer } else { TAKEN });
            }
        }))
    }

    /// `[telemetry]` with it, and further keys.
    pub fn table(&self, keys: &str) -> String {
        format!(
            "[telemetry]\notlp = \"http://{}\"\n{keys}\n",
            self.0.address
        )
    }

    /// The next request that has come.
    pub fn request(&self) -> Received {
        self.0.request()
    }

    /// All spans that were told until the server has stopped.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        while let Some(request) = self.0.request_that_came() {
            assert_eq!(request.line(), "POST /v1/traces HTTP/1.1");
            assert_eq!(request.header("content-type"), Some("application/json"));
            let document: Value = serde_json::from_slice(&request.body).unwrap();
            for resource in array(&document["resourceSpans"]) {
                for scope in array(&resource["scopeSpans"]) {
                    spans.extend(array(&scope["spans"]).iter().cloned().map(Span));
                }
            }
        }
        spans
    }
}

impl Span {
    /// `traceId`, `spanId`, `parentSpanId` or `name`; empty where it has none.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// The kind's number: 1 internal, 2 server, 3 client.
    pub fn kind(&self) -> u64 {
        self.0["kind"].as_u64().unwrap()
    }

    /// Whether it failed.
    pub fn failed(&self) -> bool {
        self.0["status"]["code"] == 2
    }

    /// Nanoseconds since 1970 of its beginning and its end.
    pub fn times(&self) -> (u64, u64) {
        let time = |field: &str| self.text(field).parse().unwrap();
        (time("startTimeUnixNano"), time("endTimeUnixNano"))
    }

    /// The text of an attribute, numbers included; empty where it has none.
    pub fn attribute(&self, key: &str) -> &str {
        let attributes = array(&self.0["attributes"]).iter();
        let mut found = attributes.filter(|attribute| attribute["key"] == key);
        let Some(attribute) = found.next() else {
            return "";
        };
        assert!(found.next().is_none(), "{key} twice in {self:?}");
        let value = attribute["value"].as_object().unwrap();
        let value = value.values().next().unwrap();
        let only = &value["values"][0]["stringValue"];
        value.as_str().or(only.as_str()).unwrap_or_default()
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}
