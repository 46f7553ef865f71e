//! One span, as OTLP has it in JSON.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::context::{SpanId, TraceId};
use crate::config::{LogFormat, Mask};
use crate::telemetry::redaction::redact;

/// A piece of work that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Itself.
    pub id: SpanId,
    /// What it is a part of.
    pub parent: Option<SpanId>,
    /// Of few different ones: `GET /api/`.
    pub name: Cow<'static, str>,
    /// Whose work it is.
    pub kind: Kind,
    /// When it began.
    pub started: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// By the names of OpenTelemetry's semantic conventions.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub failed: bool,
}

/// Whose work a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours alone.
    Internal,
    /// Somebody asked us.
    Server,
    /// We asked somebody.
    Client,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Words.
    Text(Cow<'static, str>),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// A list of words, here always of one.
    Only(String),
}

impl Span {
    /// As `opentelemetry.proto.trace.v1.Span` in JSON: ids in hexadecimal, times as decimal text.
    ///
    /// SECURITY: what an app or a library tells of its spans has passed nobody yet.
    pub(super) fn to_json(&self, mask: &Mask) -> serde_json::Value {
        let attributes = self.attributes.iter().map(|(key, value)| match value {
            _ if mask.hides(key.as_bytes()) => attribute(&(*key, "***".into())),
            Value::Text(text) => {
                let text = redact(text, mask, LogFormat::Text).into_owned();
                attribute(&(*key, text.into()))
            }
            other => attribute(&(*key, other.clone())),
        });
        let attributes: Vec<_> = attributes.collect();
        let mut span = json!({
            "traceId": self.trace.to_string(),
            "spanId": self.id.to_string(),
            "name": self.name,
            "kind": self.kind.number(),
            "startTimeUnixNano": nanoseconds(self.started),
            "endTimeUnixNano": nanoseconds(self.ended),
            "attributes": attributes,
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = parent.to_string().into();
        }
        if self.failed {
            span["status"] = json!({ "code": STATUS_ERROR });
        }
        span
    }
}

/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: u8 = 2;

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Server => 2,
            Self::Client => 3,
        }
    }
}

/// One attribute.
pub(super) fn attribute((key, value): &(&'static str, Value)) -> serde_json::Value {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        // Sixty-four bits don't fit into a number of JSON's.
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Flag(flag) => json!({ "boolValue": flag }),
        Value::Only(text) => json!({ "arrayValue": { "values": [{ "stringValue": text }] } }),
    };
    json!({ "key": key, "value": value })
}

fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::Context;
    use super::*;

    #[test]
    fn whatever_an_app_tells_is_masked() {
        let context = Context::root(|_| true);
        let mask = Mask::new(["x-api-key", "token"].map(str::to_owned));
        for (key, value, shown) in [
            ("x-api-key", "s3cret", "***"),
            ("url.full", "/?a=1&token=s3cret", "/?a=1&token=***"),
            ("note", "postgres://u:s3cret@h/d", "postgres://u:***@h/d"),
            ("note", "nothing of the kind", "nothing of the kind"),
        ] {
            let span = Span {
                trace: context.trace,
                id: context.span,
                parent: None,
                name: "work".into(),
                kind: Kind::Internal,
                started: UNIX_EPOCH,
                ended: UNIX_EPOCH,
                attributes: vec![(key, value.into())],
                failed: false,
            };
            let told = span.to_json(&mask);
            let told = &told["attributes"][0]["value"]["stringValue"];
            assert_eq!(told, shown, "{key} = {value}");
        }
    }
}
