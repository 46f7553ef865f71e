//! Headers that a route sets and removes: on the answers, and on requests that it sends on.

use http::{HeaderName, HeaderValue, header};

use crate::config::header_tables::{header_name, named_headers};
use crate::config::printer::Printer;
use crate::config::read::{boolean, list, text};
use crate::config::reader::Section;

/// `request_headers` of a route.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestHeaders {
    /// Set in the place of what the client or this server says.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed, whoever says them.
    pub remove: Vec<HeaderName>,
    /// Whether `Forwarded` (RFC 7239) tells of the client, too. Default false.
    pub forwarded: bool,
}

type SetHeaders = Vec<(HeaderName, HeaderValue)>;

/// Headers of a request that may be changed.
pub(super) fn request_headers(route: &Section<'_>) -> RequestHeaders {
    let section = route.table("request_headers");
    let (set, remove) = headers(&section, "route.request_headers");
    for name in set.iter().map(|(name, _)| name).chain(&remove) {
        let why = if name == header::HOST {
            "host is kept as it came; host of the [[upstream]] sends another"
        } else if name == header::EXPECT {
            "expect says how the request is sent on; it cannot be changed here"
        } else {
            continue;
        };
        section.note_combination(format!("route.request_headers: {why}"));
    }
    let is_sent_on = ["app", "upstream", "fallback"]
        .into_iter()
        .any(|key| route.has(key));
    if route.has("request_headers") && !is_sent_on {
        let what = "belongs to a route with app, upstream or fallback";
        route.note_combination_at("request_headers", what);
    }
    RequestHeaders {
        set,
        remove,
        forwarded: section.value("forwarded", boolean),
    }
}

/// Prints them.
pub(super) fn print(out: &mut Printer, headers: &RequestHeaders) {
    if headers.forwarded {
        out.plain("request_headers.forwarded", true);
    }
    if !headers.remove.is_empty() {
        out.texts("request_headers.remove", &headers.remove);
    }
    for (name, value) in &headers.set {
        out.header("request_headers.set.", name, value);
    }
}

/// What a table of a route sets and removes.
pub(super) fn headers(section: &Section<'_>, path: &str) -> (SetHeaders, Vec<HeaderName>) {
    let remove = section.value("remove", list(text(header_name)));
    let mut set = Vec::new();
    for (name, value, at) in named_headers(section, "set") {
        let combination = |what| {
            section
                .reader
                .note_combination(at, format!("{path}.set.\"{name}\": {what}"));
        };
        if remove.contains(&name) {
            combination("is in remove as well; keep one of them");
        }
        match value {
            Some(value) => set.push((name, value)),
            None => combination("is empty; name it in remove instead"),
        }
    }
    (set, remove)
}
