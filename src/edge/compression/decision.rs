//! Whether an answer is compressed, and what its head says then. Pure.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, SET_COOKIE, TRAILER, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::Request;
use crate::config::{self, Coding, MediaPattern};
use crate::edge::message::content_length;

/// Digests of the body as it was (RFC 9530 and its forerunners).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Never compressed, for nobody.
    Leave,
    /// Identity for this client, though another may get it compressed.
    Identity,
    /// Compressed.
    Encode(Coding),
}

/// Judges a final answer. `is_empty` tells that no body follows the head of an answer to GET.
pub(super) fn decide(
    request: &Request,
    status: StatusCode,
    headers: &HeaderMap,
    is_empty: bool,
) -> Verdict {
    let asked_for = request.compress == Some(true);
    let is_part = status == StatusCode::PARTIAL_CONTENT;
    let config = request.encoders.config();
    let is_worth_it = if is_part {
        (is_listed(headers, &config.types) || has_several_parts(headers))
            && whole_length(headers).is_none_or(|length| length >= config.min_length)
    } else {
        has_whole_content(status)
            && !headers.contains_key(CONTENT_RANGE)
            && is_worth_encoding(config, headers)
            && (request.is_head || !is_empty)
    };
    let is_possible = is_worth_it && may_be_encoded(config, request.compress, headers);
    // SECURITY: who can make a victim's client send requests can learn secrets of a compressed
    // answer from its length (the BREACH attack). An answer that is somebody's own stays as it is,
    // unless the owner of the route knows that nothing in it comes from the request.
    if !is_possible || (headers.contains_key(SET_COOKIE) && !asked_for) {
        return Verdict::Leave;
    }
    match request.coding {
        // A part is of the answer as it is, but has the `Vary` of the whole (section 15.3.7).
        Some(coding) if !is_part && (asked_for || !request.has_credentials) => {
            Verdict::Encode(coding)
        }
        _ => Verdict::Identity,
    }
}

/// Whether an answer with this head and all of its content could be compressed for somebody;
/// `compress` is the route's setting.
pub(crate) fn is_negotiable(
    config: &config::Compression,
    compress: Option<bool>,
    headers: &HeaderMap,
) -> bool {
    may_be_encoded(config, compress, headers) && is_worth_encoding(config, headers)
}

/// Makes the head that of the compressed answer.
pub(super) fn encode(response: &mut ResponseHeader, coding: Coding) -> Result<()> {
    response.remove_header(&CONTENT_LENGTH);
    // Ranges would be of the bytes before compression.
    response.remove_header(&ACCEPT_RANGES);
    for digest in &DIGESTS {
        response.remove_header(digest);
    }
    response.insert_header(CONTENT_ENCODING, HeaderValue::from_static(coding.name()))?;
    if let Some(etag) = response.headers.get(ETAG) {
        match weakened(etag) {
            Some(weak) => response.insert_header(ETAG, weak)?,
            // Neither strong nor weak, so nobody could compare it.
            None if !etag.as_bytes().starts_with(b"W/") => {
                response.remove_header(&ETAG);
            }
            None => {}
        }
    }
    Ok(())
}

/// Makes room for a body of a length that is not known yet.
pub(super) fn send_in_chunks(response: &mut ResponseHeader) -> Result<()> {
    // For HTTP/1.1; the HTTP/2 writer takes it out again.
    response.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    if response.version < Version::HTTP_11 {
        response.set_version(Version::HTTP_11);
    }
    Ok(())
}

/// Adds `Accept-Encoding` to `Vary`.
pub(super) fn vary(response: &mut ResponseHeader) -> Result<()> {
    let members: Vec<&[u8]> = response
        .headers
        .get_all(VARY)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
        .collect();
    let name = ACCEPT_ENCODING.as_str().as_bytes();
    let is_there = |member: &&[u8]| *member == b"*" || member.eq_ignore_ascii_case(name);
    if members.iter().any(is_there) {
        return Ok(());
    }
    if members.is_empty() {
        return response.insert_header(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let merged = [members.join(&b", "[..]), b"Accept-Encoding".to_vec()].join(&b", "[..]);
    response.insert_header(VARY, merged)
}

/// Lets a 304 speak of the answer that the client has: with the weak validator if that was
/// compressed, and with the `Vary` that it had (section 15.4.5).
///
/// Whether the answer would be long enough is not known here. One that is not loses nothing by the
/// `Vary`, but one that is and lacks it is sent by caches to clients that cannot read it.
pub(super) fn confirm(request: &Request, response: &mut ResponseHeader) -> Result<()> {
    let types = &request.encoders.config().types;
    let is_of_listed_type =
        !response.headers.contains_key(CONTENT_TYPE) || is_listed(&response.headers, types);
    if !is_of_listed_type
        || !may_be_encoded(
            request.encoders.config(),
            request.compress,
            &response.headers,
        )
    {
        return Ok(());
    }
    let weak = response.headers.get(ETAG).and_then(weakened);
    if let (Some(known), Some(weak)) = (&request.if_none_match, weak) {
        let is_known = known
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|tag| tag.trim_ascii() == weak.as_bytes());
        if is_known {
            response.insert_header(ETAG, weak)?;
        }
    }
    vary(response)
}

/// Gives back the strong validators of `If-Match` that compression weakened.
///
/// Who read a compressed answer can only name its weak `ETag`, and `If-Match` compares strongly
/// (RFC 9110, section 13.1.1): without this every update would fail with 412. A tag that was weak
/// from the beginning still matches nothing. Reading methods keep theirs, because the bytes that
/// they ask for a part of are not those that the client has.
pub(super) fn strengthen_if_match(request: &mut RequestHeader) -> Result<()> {
    use http::header::IF_MATCH;
    if matches!(request.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let Some(condition) = request.headers.get(IF_MATCH) else {
        return Ok(());
    };
    let Ok(text) = condition.to_str() else {
        return Ok(());
    };
    // Every second part stands between quotes.
    let strong: Vec<&str> = text
        .split('"')
        .enumerate()
        .map(|(part, text)| match text.strip_suffix("W/") {
            Some(before) if part % 2 == 0 => before,
            _ => text,
        })
        .collect();
    let strong = strong.join("\"");
    if strong != text {
        request.insert_header(IF_MATCH, strong)?;
    }
    Ok(())
}

/// `"x"` as `W/"x"`; `None` for what is not a strong `ETag`.
fn weakened(etag: &HeaderValue) -> Option<HeaderValue> {
    if !etag.as_bytes().starts_with(b"\"") {
        return None;
    }
    HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()).ok()
}

/// Whether nothing but its type and length keeps an answer from being compressed for anybody.
fn may_be_encoded(
    config: &config::Compression,
    compress: Option<bool>,
    headers: &HeaderMap,
) -> bool {
    compress != Some(false)
        && !config.algorithms.is_empty()
        // The trailers of a compressed body would be lost: Pingora ends it in their place.
        && ![CONTENT_ENCODING, TRAILER]
            .iter()
            .any(|name| headers.contains_key(name))
        && !forbids_transformation(headers)
}

fn is_worth_encoding(config: &config::Compression, headers: &HeaderMap) -> bool {
    is_listed(headers, &config.types) && is_long_enough(headers, config.min_length)
}

fn has_whole_content(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        )
}

/// `no-transform`, of an answer or of a request (RFC 9111, sections 5.2.1.6 and 5.2.2.6).
pub(super) fn forbids_transformation(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

fn is_listed(headers: &HeaderMap, listed: &[MediaPattern]) -> bool {
    let Some(value) = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let media = value.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = media.split_once('/') else {
        return false;
    };
    !is_framed_by_itself(kind, subtype)
        && listed.iter().any(|pattern| match pattern {
            MediaPattern::Any(wanted) => wanted.eq_ignore_ascii_case(kind),
            MediaPattern::Exact(wanted) => wanted.eq_ignore_ascii_case(media),
        })
}

/// Whether the type of the whole is written inside, at each part.
fn has_several_parts(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|kind| kind.get(..b"multipart/byteranges".len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/byteranges"))
}

/// Of what a 206 is a part; `None` where that isn't said.
fn whole_length(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.rsplit_once('/')?.1.parse().ok()
}

/// Event streams and gRPC: their readers, and proxies on the way, want each message unwrapped.
fn is_framed_by_itself(kind: &str, subtype: &str) -> bool {
    (kind.eq_ignore_ascii_case("text") && subtype.eq_ignore_ascii_case("event-stream"))
        || (kind.eq_ignore_ascii_case("application")
            && subtype
                .get(..4)
                .is_some_and(|name| name.eq_ignore_ascii_case("grpc")))
}

/// A body of unknown length counts as long.
fn is_long_enough(headers: &HeaderMap, min_length: u64) -> bool {
    !headers.contains_key(CONTENT_LENGTH)
        || content_length(headers).is_some_and(|length| length > 0 && length >= min_length)
}
