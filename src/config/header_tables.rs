//! Tables of response headers: `[headers]` and those of routes.

use http::{HeaderName, HeaderValue, header};

use super::Tls;
use super::keys::{DEFAULT_HEADERS, Kind};
use super::printer::{Printer, quoted};
use super::read::{header_value, unless_empty};
use super::reader::Section;

/// Headers that belong to the connection or to the body (RFC 9110, sections 7.6.1 and 8): a fixed
/// value would break every answer.
const UNTOUCHABLE: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `[headers]` over the defaults: one of the same name takes the default's place, `""` removes it.
pub(super) fn headers(root: &Section<'_>, tls: &Tls) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, Option<HeaderValue>)> = DEFAULT_HEADERS
        .iter()
        // Constants of this crate, which every test that loads a configuration parses.
        .map(|(name, value)| {
            (
                name.parse().expect("a name"),
                Some(HeaderValue::from_static(value)),
            )
        })
        .collect();
    for (name, value, at) in named_headers(root, "headers") {
        if name == header::STRICT_TRANSPORT_SECURITY && tls.hsts.is_some() {
            let what =
                "headers: Strict-Transport-Security is sent by tls.hsts already; keep one of them";
            root.reader.note_combination(at, what.to_owned());
        }
        match headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => headers.push((name, value)),
        }
    }
    headers
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Prints the headers sent, and `""` for each default that is not.
pub(super) fn print(out: &mut Printer, headers: &[(HeaderName, HeaderValue)]) {
    out.heading("[headers]");
    for (name, value) in headers {
        out.header("", name, value);
    }
    for (name, _) in DEFAULT_HEADERS {
        if !headers
            .iter()
            .any(|(sent, _)| sent.as_str().eq_ignore_ascii_case(name))
        {
            // As those that are sent are written, or a reload would tell of two.
            out.text(&quoted(&name.to_ascii_lowercase()), "");
        }
    }
}

/// The entries of a table of headers, `None` for `""`; each name once, and none that belongs to
/// the connection or the body.
pub(super) fn named_headers(
    section: &Section<'_>,
    key: &str,
) -> Vec<(HeaderName, Option<HeaderValue>, Option<usize>)> {
    let mut headers: Vec<(HeaderName, Option<HeaderValue>, Option<usize>)> = Vec::new();
    for (name, at, mut node) in section.open_table(key) {
        // SECURITY: `Authorization` and its like are among them, whose values no message may show.
        node.kind = &Kind::Secret;
        let value = unless_empty(header_value)(&node);
        match header_name(name) {
            Err(what) => node.wrong(what),
            Ok(name) if headers.iter().any(|(known, ..)| *known == name) => {
                node.wrong("is written twice; upper and lower case are the same");
            }
            Ok(name) => headers.extend(value.map(|value| (name, value, Some(at)))),
        }
    }
    headers
}

/// The name of a header that may be set or removed.
pub(super) fn header_name(name: &str) -> Result<HeaderName, &'static str> {
    let name: HeaderName = name.parse().map_err(|_| "not the name of a header")?;
    if UNTOUCHABLE.contains(&name.as_str()) {
        return Err("belongs to the connection or the body and cannot be changed here");
    }
    Ok(name)
}
