//! Reads a JSON object from a request: media type, then bytes, then text, then members.
//!
//! Not axum's `Json`, because a derived reader stops at the first mistake, keeps the last of two
//! members of one name, and tells a wrong type from broken syntax only by its message. Here the
//! members come out as they stood, and whoever knows their meaning judges all of them.

use std::fmt;

use axum::body::{self, Body};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::problem::{FieldError, Problem};

/// How many members are kept. Far above what any document of ours has, and far below what a body of
/// 20 MiB could make us allocate and complain about.
const MAX_MEMBERS: usize = 32;

/// The media types an endpoint takes, and the header that says so in a 415.
pub(super) struct Accepted {
    types: &'static [&'static str],
    header: HeaderName,
    list: &'static str,
}

/// A whole representation.
pub(super) const DOCUMENT: Accepted = Accepted {
    types: &["application/json"],
    header: ACCEPT,
    list: "application/json",
};

/// A JSON Merge Patch (RFC 7396), also under the name that most clients send it with. The header is
/// RFC 5789's.
pub(super) const MERGE_PATCH: Accepted = Accepted {
    types: &["application/merge-patch+json", "application/json"],
    header: HeaderName::from_static("accept-patch"),
    list: "application/merge-patch+json, application/json",
};

/// The members of a JSON object in their order, names as often as they were there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) members: Vec<(String, Value)>,
    /// There were more than anyone could want; they were skipped.
    pub(super) has_more: bool,
}

/// A member's value. Nothing of ours nests, so what does isn't kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Text(String),
    Boolean,
    Number,
    Array,
    Object,
}

impl Value {
    /// What it is, with its article, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "a string",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// The object that a request carries.
///
/// # Errors
/// 415 for another media type or a content coding, 400 when the body can't be read or isn't JSON in
/// UTF-8, 422 when it is JSON but no object.
pub(super) async fn read(
    headers: &HeaderMap,
    content: Body,
    accepted: &Accepted,
) -> Result<Object, Problem> {
    check_media_type(headers, accepted)?;
    // The edge bounds the length; a body above it fails here and is answered there.
    let bytes = body::to_bytes(content, usize::MAX).await.map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "The request body could not be read.",
        )
    })?;
    parse(&bytes)
}

fn check_media_type(headers: &HeaderMap, accepted: &Accepted) -> Result<(), Problem> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_accepted = match (types.next(), types.next()) {
        (Some(only), None) => only
            .to_str()
            .is_ok_and(|text| is_media_type(text, accepted.types)),
        _ => false,
    };
    if !is_accepted {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Send it in UTF-8 with Content-Type: {}.", accepted.types[0]),
        )
        .with_header(
            accepted.header.clone(),
            HeaderValue::from_static(accepted.list),
        ));
    }
    // RFC 9110, section 8.4: a coding we don't take off would make the bytes something else.
    let is_coded = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_coded {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Send the body without a Content-Encoding.",
        )
        .with_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    Ok(())
}

/// `type/subtype` in any case; of the parameters only a charset matters, and JSON has but one
/// (RFC 8259, section 8.1).
fn is_media_type(text: &str, accepted: &[&str]) -> bool {
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    is_utf8
        && accepted
            .iter()
            .any(|name| name.eq_ignore_ascii_case(essence))
}

fn parse(bytes: &[u8]) -> Result<Object, Problem> {
    // First, because serde_json doesn't look into the strings it skips.
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "The request body is not valid UTF-8.",
        )
    })?;
    // Told apart by the first character, so that one visitor keeps members and the other nothing.
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| malformed(&error));
    }
    let value: Value = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    Err(Problem::validation(vec![FieldError::new(
        "",
        &format!("the document must be an object, not {}", value.kind()),
    )]))
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        format!("The request body is not valid JSON: {error}."),
    )
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut members = Vec::new();
        while members.len() < MAX_MEMBERS {
            let Some(member) = map.next_entry()? else {
                return Ok(Object {
                    members,
                    has_more: false,
                });
            };
            members.push(member);
        }
        let mut has_more = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            has_more = true;
        }
        Ok(Object { members, has_more })
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Boolean)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(bytes: &[u8]) -> StatusCode {
        match parse(bytes) {
            Ok(object) => panic!("{object:?}"),
            Err(problem) => problem.status(),
        }
    }

    #[test]
    fn media_types_are_compared_as_http_says() {
        for (text, is_accepted) in [
            ("application/json", true),
            ("Application/JSON", true),
            ("application/json; charset=utf-8", true),
            ("application/json;charset=\"UTF-8\"", true),
            ("application/json; profile=x; Charset=utf-8", true),
            ("application/json; charset=iso-8859-1", false),
            ("application/json; charset=utf-16", false),
            ("application/problem+json", false),
            ("application/jsonp", false),
            ("text/json", false),
            ("", false),
        ] {
            assert_eq!(is_media_type(text, DOCUMENT.types), is_accepted, "{text}");
        }
    }

    #[test]
    fn broken_json_is_400_and_other_json_422() {
        for (bytes, status, why) in [
            (&b""[..], 400, "nothing"),
            (b"{", 400, "cut off"),
            (b"{\"title\":\"a\",}", 400, "trailing comma"),
            (b"{} {}", 400, "two documents"),
            (b"{'title':'a'}", 400, "single quotes"),
            (b"{\"title\":\"\xff\"}", 400, "not UTF-8"),
            (b"{\"x\":[\"\xff\"]}", 400, "not UTF-8 in what is skipped"),
            (b"{\"title\":\"\\ud800\"}", 400, "half a surrogate pair"),
            (b"{\"title\":\"a\nb\"}", 400, "bare control character"),
            (b"\xef\xbb\xbf{}", 400, "byte order mark"),
            (b"null", 422, "null"),
            (b"true", 422, "a boolean"),
            (b"-1", 422, "a number"),
            (b"1.5", 422, "a number"),
            (b" \"title\" ", 422, "a string"),
            (b"[{\"title\":\"a\"}]", 422, "an array"),
        ] {
            assert_eq!(status_of(bytes), status, "{why}");
        }
    }

    #[test]
    fn depth_overflows_no_stack() {
        let nested = [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat();
        assert_eq!(status_of(&nested), 422);
        let member = [&br#"{"x":"#[..], &nested, b"}"].concat();
        assert_eq!(parse(&member).expect("an object").members.len(), 1);
    }

    #[test]
    fn members_come_out_as_they_stood() {
        let object =
            parse(br#" {"a":"x","b":null,"a":[1,{"c":2}],"d":{"e":[]},"f":1e3,"g":false}"#)
                .expect("an object");
        let text = |text: &str| Value::Text(text.to_owned());
        let expected = [
            ("a", text("x")),
            ("b", Value::Null),
            ("a", Value::Array),
            ("d", Value::Object),
            ("f", Value::Number),
            ("g", Value::Boolean),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(object.members, expected);
        assert!(!object.has_more);
    }

    #[test]
    fn members_beyond_reason_are_skipped_and_told() {
        let members = |count: usize| format!("{{{}}}", vec![r#""x":1"#; count].join(","));
        let exact = parse(members(MAX_MEMBERS).as_bytes()).expect("an object");
        assert!(!exact.has_more);
        let more = parse(members(MAX_MEMBERS + 1).as_bytes()).expect("an object");
        assert!(more.has_more);
        assert_eq!(more.members.len(), MAX_MEMBERS);
    }
}
