//! One line for each exchange, whichever way it ended.
//!
//! The text form is nginx's `combined`, followed by the times its users add to it: `rt` for the
//! whole request, and of an upstream's servers, one after the other, `uct` to connect, `uhtt` to the
//! response head, `urt` in all, in seconds, and which they were; then the request id.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use http::{StatusCode, Version, header};
use pingora_core::Error;
use pingora_proxy::Session;
use time::OffsetDateTime;

use super::cache::Outcome;
use super::clock;
use super::connection::Peer;
use super::exchange::Exchange;
use super::host_name::HostName;
use super::upstream::{self, Tries, Try};
use crate::config::{AccessFormat, Log};
use crate::telemetry::Output;

/// nginx's status for a client that left before its answer; the log's only.
pub(crate) const CLIENT_LEFT: u16 = 499;

/// The access log.
pub(crate) struct AccessLog {
    format: AccessFormat,
    /// Query parameters whose values are not written, lower case.
    mask: Vec<String>,
    output: Output,
}

/// What is told of one exchange.
pub(crate) struct Line<'a> {
    pub(crate) client: IpAddr,
    /// `None` where no request could be read.
    pub(crate) request: Option<Request<'a>>,
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    pub(crate) took: Duration,
    /// `None` where there is no upstream.
    pub(crate) tries: Option<&'a Tries>,
    /// What the cache has done; `None` where there is none.
    pub(crate) cache: Option<Outcome>,
    pub(crate) id: &'a str,
}

/// What is told of a request.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) version: Version,
    /// As it was asked for, or in any form that means the same.
    pub(crate) host: &'a str,
    pub(crate) referer: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
}

thread_local! {
    /// Where a line is put together.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    pub(crate) fn new(log: &Log, output: Output) -> Self {
        Self {
            format: log.access,
            mask: log.mask.clone(),
            output,
        }
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        LINE.with_borrow_mut(|text| {
            text.clear();
            match self.format {
                AccessFormat::CombinedTiming => self.combined(line, text),
                AccessFormat::Json => self.json(line, text),
                AccessFormat::Off => return,
            }
            self.output.write(text);
        });
    }

    fn combined(&self, line: &Line<'_>, text: &mut Vec<u8>) {
        // Nothing written to memory fails.
        let _ = write!(text, "{} - - [", line.client);
        clock::with_second(|second| text.extend_from_slice(second.log.as_bytes()));
        text.extend_from_slice(b"] \"");
        if let Some(request) = &line.request {
            push_escaped(text, request.method.as_bytes());
            text.push(b' ');
            self.push_masked(text, request.target.as_bytes());
            text.push(b' ');
            text.extend_from_slice(version(request.version).as_bytes());
        } else {
            text.push(b'-');
        }
        text.extend_from_slice(b"\" ");
        push_number(text, u64::from(line.status));
        text.push(b' ');
        push_number(text, line.body_bytes);
        text.extend_from_slice(b" \"");
        self.push_masked(text, line.referer().as_bytes());
        text.extend_from_slice(b"\" \"");
        push_escaped(text, line.user_agent().as_bytes());
        text.extend_from_slice(b"\" rt=");
        push_seconds(text, line.took);
        if line.tries().next().is_none() {
            text.extend_from_slice(br#" uct="-" uhtt="-" urt="-" upstream="-""#);
        } else {
            push_tries(text, line);
        }
        if let Some(outcome) = line.cache {
            text.extend_from_slice(b" cache=");
            text.extend_from_slice(outcome.as_str().as_bytes());
        }
        text.extend_from_slice(b" id=");
        text.extend_from_slice(line.id.as_bytes());
        text.push(b'\n');
    }

    fn json(&self, line: &Line<'_>, text: &mut Vec<u8>) {
        let request = line.request.as_ref();
        let masked = |target: &str| {
            let mut masked = Vec::new();
            self.push_masked(&mut masked, target.as_bytes());
            String::from_utf8(masked).unwrap_or_default()
        };
        let host = |request: &Request<'_>| match HostName::parse(request.host) {
            Ok(host) => host.name.into_owned(),
            Err(_) => request.host.to_owned(),
        };
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let tries: Vec<_> = line.tries().map(Tried::from).collect();
        // The one whose answer the client has got.
        let last = line.tries().last();
        let mut object = serde_json::json!({
            "time": rfc3339_now(),
            "client": line.client,
            "method": request.map(|request| request.method),
            "target": request.map(|request| masked(request.target)),
            "version": request.map(|request| version(request.version)),
            "host": request.map(host),
            "status": line.status,
            "body_bytes": line.body_bytes,
            "referer": masked(line.referer()),
            "user_agent": line.user_agent(),
            "rt": line.took.as_secs_f64(),
            "uct": seconds(last.and_then(Try::connected)),
            "uhtt": seconds(last.and_then(Try::answered)),
            "urt": seconds(last.map(Try::took)),
            "upstream": tries,
            "request_id": line.id,
        });
        if let Some(outcome) = line.cache {
            object["cache"] = outcome.as_str().into();
        }
        let _ = writeln!(text, "{object}");
    }

    /// Writes `target`, with the values of masked query parameters left out.
    fn push_masked(&self, text: &mut Vec<u8>, target: &[u8]) {
        let Some(query) = memchr::memchr(b'?', target) else {
            return push_escaped(text, target);
        };
        push_escaped(text, &target[..query]);
        let mut separator = b'?';
        for parameter in target[query + 1..].split(|&byte| byte == b'&') {
            text.push(separator);
            separator = b'&';
            match memchr::memchr(b'=', parameter) {
                Some(end) if self.is_masked(&parameter[..end]) => {
                    push_escaped(text, &parameter[..end]);
                    text.extend_from_slice(b"=***");
                }
                _ => push_escaped(text, parameter),
            }
        }
    }

    fn is_masked(&self, name: &[u8]) -> bool {
        // An escaped name means the same parameter to the app.
        let name = percent_encoding::percent_decode(name).decode_utf8_lossy();
        self.mask
            .iter()
            .any(|masked| masked.eq_ignore_ascii_case(&name))
    }
}

impl<'a> Line<'a> {
    /// An exchange that came as far as a request.
    pub(crate) fn answered(
        session: &'a Session,
        exchange: &'a Exchange,
        error: Option<&Error>,
    ) -> Self {
        let head = session.as_downstream().req_header();
        let status = match session.response_written() {
            Some(head)
                if !head.status.is_informational()
                    || head.status == StatusCode::SWITCHING_PROTOCOLS =>
            {
                head.status.as_u16()
            }
            _ => error
                .and_then(upstream::status_of)
                .map_or(CLIENT_LEFT, |status| status.as_u16()),
        };
        let field = |name| {
            let value: Option<&http::HeaderValue> = head.headers.get(name);
            value.map(http::HeaderValue::as_bytes)
        };
        Self {
            client: exchange.client,
            request: Some(Request {
                method: head.method.as_str(),
                target: head
                    .uri
                    .path_and_query()
                    .map_or("*", |target| target.as_str()),
                version: head.version,
                host: &exchange.host,
                referer: field(header::REFERER),
                user_agent: field(header::USER_AGENT),
            }),
            status,
            body_bytes: session.body_bytes_sent() as u64,
            took: exchange.started.elapsed(),
            tries: Some(&exchange.tries),
            cache: exchange.look.as_ref().and_then(|look| look.outcome()),
            id: &exchange.id,
        }
    }

    /// A connection whose head was refused before it became a request.
    pub(crate) fn refused(
        peer: &Peer,
        status: StatusCode,
        body_bytes: usize,
        took: Duration,
        id: &'a str,
    ) -> Self {
        Self {
            client: peer.address,
            request: None,
            status: status.as_u16(),
            body_bytes: body_bytes as u64,
            took,
            tries: None,
            cache: None,
            id,
        }
    }

    fn referer(&self) -> &str {
        readable(self.request.as_ref().and_then(|request| request.referer))
    }

    fn user_agent(&self) -> &str {
        readable(self.request.as_ref().and_then(|request| request.user_agent))
    }

    fn tries(&self) -> impl Iterator<Item = &Try> {
        self.tries.into_iter().flat_map(Tries::iter)
    }
}

type Time = fn(&Try) -> Option<Duration>;

/// The times of a try, as nginx's users call them.
const TIMES: [(&str, Time); 3] = [
    ("uct", Try::connected),
    ("uhtt", Try::answered),
    ("urt", |each| Some(each.took())),
];

/// A try as JSON has it, in seconds.
#[derive(serde::Serialize)]
struct Tried<'a> {
    server: &'a str,
    uct: Option<f64>,
    uhtt: Option<f64>,
    urt: f64,
}

impl<'a> From<&'a Try> for Tried<'a> {
    fn from(each: &'a Try) -> Self {
        Self {
            server: each.server(),
            uct: each.connected().map(|time| time.as_secs_f64()),
            uhtt: each.answered().map(|time| time.as_secs_f64()),
            urt: each.took().as_secs_f64(),
        }
    }
}

/// Writes the tries' times, and which servers they went to.
fn push_tries(text: &mut Vec<u8>, line: &Line<'_>) {
    for (name, time) in TIMES {
        let _ = write!(text, " {name}=\"");
        push_list(text, line.tries(), |text, each| match time(each) {
            Some(time) => push_seconds(text, time),
            None => text.push(b'-'),
        });
    }
    text.extend_from_slice(b" upstream=\"");
    push_list(text, line.tries(), |text, each| {
        push_escaped(text, each.server().as_bytes());
    });
}

/// Writes what `push` writes of each, and the closing quotation mark.
fn push_list<'a>(
    text: &mut Vec<u8>,
    tries: impl Iterator<Item = &'a Try>,
    push: impl Fn(&mut Vec<u8>, &Try),
) {
    for (number, each) in tries.enumerate() {
        if number > 0 {
            text.extend_from_slice(b", ");
        }
        push(text, each);
    }
    text.push(b'"');
}

/// A field's value if it is plain text, else nothing in particular.
fn readable(value: Option<&[u8]>) -> &str {
    value
        .filter(|value| value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')))
        .and_then(|value| std::str::from_utf8(value).ok())
        .unwrap_or("-")
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Writes `bytes` so that they can't end the field or the line.
fn push_escaped(text: &mut Vec<u8>, mut bytes: &[u8]) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    while let Some(at) = bytes.iter().position(|&byte| !is_plain(byte)) {
        text.extend_from_slice(&bytes[..at]);
        let _ = write!(text, "\\x{:02X}", bytes[at]);
        bytes = &bytes[at + 1..];
    }
    text.extend_from_slice(bytes);
}

/// Writes seconds with their thousandths, rounded.
fn push_seconds(text: &mut Vec<u8>, time: Duration) {
    let rounded = time + Duration::from_micros(500);
    push_number(text, rounded.as_secs());
    text.push(b'.');
    let _ = write!(text, "{:03}", rounded.subsec_millis());
}

/// Writes a number in decimal.
fn push_number(text: &mut Vec<u8>, number: u64) {
    let _ = write!(text, "{number}");
}

fn rfc3339_now() -> String {
    OffsetDateTime::now_utc()
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: AccessFormat, line: &Line<'_>) -> String {
        let log = AccessLog {
            format,
            mask: vec!["token".to_owned()],
            output: Output::stdout().unwrap(),
        };
        let mut text = Vec::new();
        match format {
            AccessFormat::Json => log.json(line, &mut text),
            _ => log.combined(line, &mut text),
        }
        String::from_utf8(text).unwrap()
    }

    fn line<'a>(fields: [Option<&'a str>; 2], target: &'a str) -> Line<'a> {
        let [referer, user_agent] = fields.map(|field| field.map(str::as_bytes));
        Line {
            client: "192.0.2.7".parse().unwrap(),
            request: Some(Request {
                method: "GET",
                target,
                version: Version::HTTP_11,
                host: "A.test:80",
                referer,
                user_agent,
            }),
            status: 200,
            body_bytes: 12,
            took: Duration::from_millis(34),
            tries: None,
            cache: None,
            id: "abc",
        }
    }

    #[test]
    fn text_is_combined_with_times_and_id() {
        let line = line([None, Some("a \"b\"")], "/x?q=1");
        let text = written(AccessFormat::CombinedTiming, &line);
        let (start, rest) = text.split_once(" [").unwrap();
        let (time, rest) = rest.split_once("] ").unwrap();
        assert_eq!(start, "192.0.2.7 - -");
        assert!(time.ends_with(" +0000") && time.len() == 26, "{time}");
        assert_eq!(
            rest,
            "\"GET /x?q=1 HTTP/1.1\" 200 12 \"-\" \"a \\x22b\\x22\" rt=0.034 uct=\"-\" uhtt=\"-\" urt=\"-\" upstream=\"-\" id=abc\n"
        );
    }

    #[test]
    fn seconds_have_rounded_thousandths() {
        for (micros, reads) in [
            (0, "0.000"),
            (499, "0.000"),
            (500, "0.001"),
            (34_000, "0.034"),
            (999_500, "1.000"),
            (61_070_123, "61.070"),
        ] {
            let mut text = Vec::new();
            push_seconds(&mut text, Duration::from_micros(micros));
            assert_eq!(text, reads.as_bytes(), "{micros}");
        }
    }

    #[test]
    fn masked_parameters_are_not_written() {
        let fields = [Some("https://a.test/?token=s3cret"), None];
        for target in [
            "/x?a=1&token=s3cret",
            "/x?TOKEN=s3cret",
            "/x?%74oken=s3cret",
        ] {
            for format in [AccessFormat::CombinedTiming, AccessFormat::Json] {
                let text = written(format, &line(fields, target));
                assert!(!text.contains("s3cret"), "{text}");
                assert!(text.contains("=***"), "{text}");
            }
        }
    }

    #[test]
    fn json_is_one_parsable_line() {
        let text = written(AccessFormat::Json, &line([None, Some("\u{e9}")], "/x"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["status"], 200);
        assert_eq!(value["request_id"], "abc");
        assert_eq!(value["host"], "a.test");
        assert_eq!(value["user_agent"], "-", "not plain text");
        assert_eq!(text.matches('\n').count(), 1);
    }
}
