//! One line for each exchange, whichever way it ended.
//!
//! The text form is nginx's `combined`, followed by the times its users add to it: `rt` for the
//! whole request, and of an upstream's servers, one after the other, `uct` to connect, `uhtt` to the
//! response head, `urt` in all, in seconds, and which they were; then the request id.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, StatusCode, Version, header};
use pingora_core::Error;
use pingora_proxy::Session;
use time::OffsetDateTime;
use time::macros::format_description;

use super::connection::Peer;
use super::exchange::Exchange;
use super::upstream::{self, Tries, Try};
use crate::config::{AccessFormat, Log};
use crate::telemetry::Output;

/// nginx's status for a client that left before its answer; the log's only.
const CLIENT_LEFT: u16 = 499;

/// The access log.
pub(crate) struct AccessLog {
    format: AccessFormat,
    /// Query parameters whose values are not written, lower case.
    mask: Vec<String>,
    output: Output,
}

/// What is told of one exchange.
pub(crate) struct Line<'a> {
    client: IpAddr,
    /// `None` where no request could be read.
    request: Option<Request<'a>>,
    status: u16,
    body_bytes: u64,
    took: Duration,
    tries: Option<&'a Tries>,
    id: &'a str,
}

struct Request<'a> {
    method: &'a str,
    target: &'a str,
    version: Version,
    host: &'a str,
    headers: &'a HeaderMap,
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
        let text = match self.format {
            AccessFormat::CombinedTiming => self.combined(line),
            AccessFormat::Json => self.json(line),
            AccessFormat::Off => return,
        };
        self.output.write(text.into_bytes());
    }

    fn combined(&self, line: &Line<'_>) -> String {
        let mut text = String::with_capacity(320);
        let _ = write!(text, "{} - - [", line.client);
        push_time(&mut text);
        text.push_str("] \"");
        if let Some(request) = &line.request {
            push_escaped(&mut text, request.method.as_bytes());
            text.push(' ');
            self.push_masked(&mut text, request.target);
            let _ = write!(text, " {:?}", request.version);
        } else {
            text.push('-');
        }
        let _ = write!(text, "\" {} {} \"", line.status, line.body_bytes);
        self.push_masked(&mut text, line.header(&header::REFERER));
        text.push_str("\" \"");
        push_escaped(&mut text, line.header(&header::USER_AGENT).as_bytes());
        let _ = write!(text, "\" rt={:.3}", line.took.as_secs_f64());
        for (name, time) in TIMES {
            let _ = write!(text, " {name}=\"");
            push_list(&mut text, line.tries(), |text, each| match time(each) {
                Some(time) => drop(write!(text, "{:.3}", time.as_secs_f64())),
                None => text.push('-'),
            });
        }
        text.push_str(" upstream=\"");
        push_list(&mut text, line.tries(), |text, each| {
            push_escaped(text, each.server().as_bytes());
        });
        let _ = writeln!(text, " id={}", line.id);
        text
    }

    fn json(&self, line: &Line<'_>) -> String {
        let mut target = String::new();
        let mut referer = String::new();
        if let Some(request) = &line.request {
            self.push_masked(&mut target, request.target);
        }
        self.push_masked(&mut referer, line.header(&header::REFERER));
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let tries: Vec<_> = line.tries().map(Tried::from).collect();
        // The one whose answer the client has got.
        let last = line.tries().last();
        let request = line.request.as_ref();
        let mut text = serde_json::json!({
            "time": rfc3339_now(),
            "client": line.client,
            "method": request.map(|request| request.method),
            "target": request.map(|_| target),
            "version": request.map(|request| format!("{:?}", request.version)),
            "host": request.map(|request| request.host),
            "status": line.status,
            "body_bytes": line.body_bytes,
            "referer": referer,
            "user_agent": line.header(&header::USER_AGENT),
            "rt": line.took.as_secs_f64(),
            "uct": seconds(last.and_then(Try::connected)),
            "uhtt": seconds(last.and_then(Try::answered)),
            "urt": seconds(last.map(Try::took)),
            "upstream": tries,
            "request_id": line.id,
        })
        .to_string();
        text.push('\n');
        text
    }

    /// Writes `target`, with the values of masked query parameters left out.
    fn push_masked(&self, text: &mut String, target: &str) {
        let Some((path, query)) = target.split_once('?') else {
            return push_escaped(text, target.as_bytes());
        };
        push_escaped(text, path.as_bytes());
        let mut separator = '?';
        for parameter in query.split('&') {
            text.push(separator);
            separator = '&';
            match parameter.split_once('=') {
                Some((name, _)) if self.is_masked(name) => {
                    push_escaped(text, name.as_bytes());
                    text.push_str("=***");
                }
                _ => push_escaped(text, parameter.as_bytes()),
            }
        }
    }

    fn is_masked(&self, name: &str) -> bool {
        // An escaped name means the same parameter to the app.
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
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
                headers: &head.headers,
            }),
            status,
            body_bytes: session.body_bytes_sent() as u64,
            took: exchange.started.elapsed(),
            tries: Some(&exchange.tries),
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
            id,
        }
    }

    fn header(&self, name: &HeaderName) -> &str {
        self.request
            .as_ref()
            .and_then(|request| request.headers.get(name)?.to_str().ok())
            .unwrap_or("-")
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

/// Writes what `push` writes of each, and the closing quotation mark; `-` where there is none.
fn push_list<'a>(
    text: &mut String,
    tries: impl Iterator<Item = &'a Try>,
    push: impl Fn(&mut String, &Try),
) {
    let empty = text.len();
    for each in tries {
        if text.len() > empty {
            text.push_str(", ");
        }
        push(text, each);
    }
    if text.len() == empty {
        text.push('-');
    }
    text.push('"');
}

/// Writes `bytes` so that they can't end the field or the line.
fn push_escaped(text: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
}

thread_local! {
    /// The second last written and how it reads.
    static CLOCK: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

fn push_time(text: &mut String) {
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    CLOCK.with_borrow_mut(|(written, reads)| {
        if *written != second {
            let format = format_description!(
                "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000"
            );
            *reads = OffsetDateTime::from(now).format(format).unwrap_or_default();
            *written = second;
        }
        text.push_str(reads);
    });
}

fn rfc3339_now() -> String {
    OffsetDateTime::now_utc()
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(format: AccessFormat) -> AccessLog {
        AccessLog {
            format,
            mask: vec!["token".to_owned()],
            output: Output::stdout().unwrap(),
        }
    }

    fn line<'a>(headers: &'a HeaderMap, target: &'a str) -> Line<'a> {
        Line {
            client: "192.0.2.7".parse().unwrap(),
            request: Some(Request {
                method: "GET",
                target,
                version: Version::HTTP_11,
                host: "a.test",
                headers,
            }),
            status: 200,
            body_bytes: 12,
            took: Duration::from_millis(34),
            tries: None,
            id: "abc",
        }
    }

    #[test]
    fn text_is_combined_with_times_and_id() {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, "a \"b\"".parse().unwrap());
        let text = log(AccessFormat::CombinedTiming).combined(&line(&headers, "/x?q=1"));
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
    fn masked_parameters_are_not_written() {
        let headers = HeaderMap::from_iter([(
            header::REFERER,
            "https://a.test/?token=s3cret".parse().unwrap(),
        )]);
        for target in [
            "/x?a=1&token=s3cret",
            "/x?TOKEN=s3cret",
            "/x?%74oken=s3cret",
        ] {
            for format in [AccessFormat::CombinedTiming, AccessFormat::Json] {
                let log = log(format);
                let line = line(&headers, target);
                let text = if format == AccessFormat::Json {
                    log.json(&line)
                } else {
                    log.combined(&line)
                };
                assert!(!text.contains("s3cret"), "{text}");
                assert!(text.contains("=***"), "{text}");
            }
        }
    }

    #[test]
    fn json_is_one_parsable_line() {
        let headers = HeaderMap::new();
        let text = log(AccessFormat::Json).json(&line(&headers, "/x"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["status"], 200);
        assert_eq!(value["request_id"], "abc");
        assert_eq!(text.matches('\n').count(), 1);
    }
}
