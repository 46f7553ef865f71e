//! What a client reads when the edge itself has to say no.
//!
//! People get a small page without styles or scripts, so that no Content-Security-Policy can break
//! it; programs get a problem document (RFC 9457). `Accept` tells them apart, and a client without
//! a preference is a program: every browser names `text/html`.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// The content type and body of an error answer. `detail` is one sentence for the client, without
/// anything it should not know; `accept` is the request's header. People get `own` where there is one.
pub(crate) fn page(
    own: Option<&Bytes>,
    status: StatusCode,
    detail: Option<&str>,
    accept: Option<&HeaderValue>,
    request_id: &str,
) -> (HeaderValue, Bytes) {
    if prefers_html(accept) {
        let body = own.cloned();
        let body = body.unwrap_or_else(|| html(status, detail, request_id));
        (HeaderValue::from_static("text/html; charset=utf-8"), body)
    } else {
        let body = problem(status, detail, request_id);
        (HeaderValue::from_static("application/problem+json"), body)
    }
}

fn html(status: StatusCode, detail: Option<&str>, request_id: &str) -> Bytes {
    let title = title(status);
    let advice = advice(status);
    let detail = detail.map(|detail| format!("<p>{}</p>\n", escape(detail)));
    Bytes::from(format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n\
         </head>\n\
         <body>\n\
         <main>\n\
         <h1>{title}</h1>\n\
         <p>{advice}</p>\n\
         {detail}\
         </main>\n\
         <hr>\n\
         <footer><small>Request <code>{id}</code></small></footer>\n\
         </body>\n\
         </html>\n",
        detail = detail.unwrap_or_default(),
        id = escape(request_id),
    ))
}

/// A problem without a type of its own: its title is the status (RFC 9457, section 4.2.1).
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
}

fn problem(status: StatusCode, detail: Option<&str>, request_id: &str) -> Bytes {
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: detail.unwrap_or_else(|| advice(status)),
        request_id,
    };
    // Text and numbers always have a form in JSON.
    let mut body = serde_json::to_vec(&problem).unwrap_or_default();
    body.push(b'\n');
    Bytes::from(body)
}

fn title(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    format!("{} {reason}", status.as_u16())
}

/// One sentence on what happened and what can be done about it.
fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "The request could not be understood. Check the address for stray characters.",
        401 => "You have to sign in to see this.",
        403 => "You are not allowed to see this.",
        404 => "There is nothing at this address. Check it for typing errors.",
        405 => "This address does not support that method.",
        408 => "The request took too long to arrive. Try again.",
        413 => "What you sent is larger than this server accepts.",
        414 => "The address is longer than this server accepts.",
        415 => "This server does not accept content of that type here.",
        416 => "The part that was asked for lies outside the file.",
        421 => "This server does not serve that host name.",
        429 => "There were too many requests from you. Wait a moment, then try again.",
        431 => {
            "The request's headers are larger than this server accepts. Clearing cookies may help."
        }
        500 => "Something went wrong on our side. The fault has been logged.",
        502 => "The service behind this server gave no valid answer. Try again in a moment.",
        503 => "The service is not available right now. Try again in a moment.",
        504 => "The service behind this server took too long to answer. Try again in a moment.",
        _ if status.is_client_error() => "The request cannot be answered as it is.",
        _ => "The server could not answer the request.",
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in a page, not even as a reference.
            control if control.is_control() => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// Whether `Accept` (RFC 9110, section 12.5.1) ranks a page above JSON. Among equal weights the
/// type that stands first wins.
fn prefers_html(accept: Option<&HeaderValue>) -> bool {
    let Some(accept) = accept.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut best = (false, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let is_html = match media.as_str() {
            "text/html" | "application/xhtml+xml" | "text/*" => true,
            "application/json" | "application/problem+json" | "application/*" => false,
            _ => continue,
        };
        let weight = parts
            .find_map(|parameter| parameter.strip_prefix(['q', 'Q'])?.trim().strip_prefix('='))
            .map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
        if weight > best.1 {
            best = (is_html, weight);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(status: u16, detail: Option<&str>, accept: &'static str) -> (String, String) {
        let status = StatusCode::from_u16(status).unwrap();
        let (kind, body) = page(
            None,
            status,
            detail,
            Some(&HeaderValue::from_static(accept)),
            "id-1",
        );
        let body = String::from_utf8(body.to_vec()).unwrap();
        (kind.to_str().unwrap().to_owned(), body)
    }

    #[test]
    fn people_get_pages_and_programs_get_problems() {
        let table = [
            (
                Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
                true,
                "a browser",
            ),
            (Some("text/html"), true, "asked for"),
            (Some("TEXT/HTML; Q=0.5"), true, "any case"),
            (
                Some("application/json, text/html;q=0.9"),
                false,
                "JSON is wanted more",
            ),
            (
                Some("application/json;q=0.5, text/html;q=0.9"),
                true,
                "the page is wanted more",
            ),
            (
                Some("application/json, text/html"),
                false,
                "equals: the first",
            ),
            (
                Some("text/html, application/json"),
                true,
                "equals: the first",
            ),
            (Some("text/html;q=0"), false, "refused"),
            (Some("text/html;q=x"), false, "garbled"),
            (Some("application/problem+json"), false, "by its name"),
            (Some("*/*"), false, "curl"),
            (
                Some("image/avif,image/webp,*/*"),
                false,
                "an image of a page",
            ),
            (Some(""), false, "nothing"),
            (None, false, "no header"),
        ];
        for (accept, is_html, why) in table {
            let accept = accept.map(HeaderValue::from_static);
            let (kind, body) = page(None, StatusCode::NOT_FOUND, None, accept.as_ref(), "id-1");
            let expected = if is_html {
                "text/html; charset=utf-8"
            } else {
                "application/problem+json"
            };
            assert_eq!(kind, expected, "{why}");
            assert_eq!(body.starts_with(b"<!doctype html>"), is_html, "{why}");
        }
    }

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let (_, body) = text(502, Some("The \"backend\" is down."), "*/*");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank",
            "title": "Bad Gateway",
            "status": 502,
            "detail": "The \"backend\" is down.",
            "request_id": "id-1",
        });
        assert_eq!(problem, expected);
    }

    #[test]
    fn a_page_helps_and_runs_nothing() {
        for status in [
            400, 401, 403, 404, 405, 408, 413, 414, 415, 416, 421, 429, 431, 500, 502, 503, 504,
            418, 599,
        ] {
            let (_, body) = text(status, Some("<script>alert('&')</script>"), "text/html");
            assert!(body.contains(&format!("<h1>{status} ")), "{status}");
            assert!(body.contains("<code>id-1</code>"), "{status}");
            assert!(
                body.contains("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"),
                "{status}"
            );
            for forbidden in ["<script", "<style", "style=", "<link", "src=", "onload"] {
                assert!(
                    !body.contains(forbidden),
                    "{status}: the default policy blocks {forbidden}"
                );
            }
        }
    }

    proptest! {
        /// Nothing a client sends back to itself becomes markup, and JSON stays JSON.
        #[test]
        fn text_stays_text(detail in ".{0,40}", id in ".{0,20}") {
            let html = html(StatusCode::BAD_REQUEST, Some(&detail), &id);
            let html = std::str::from_utf8(&html).unwrap();
            let plain = std::str::from_utf8(&super::html(StatusCode::BAD_REQUEST, Some(""), "")).unwrap().to_owned();
            for mark in ['<', '>', '"', '\''] {
                prop_assert_eq!(html.matches(mark).count(), plain.matches(mark).count());
            }
            let problem = problem(StatusCode::BAD_REQUEST, Some(&detail), &id);
            let problem: serde_json::Value = serde_json::from_slice(&problem).unwrap();
            prop_assert_eq!(problem["detail"].as_str(), Some(&*detail));
        }
    }
}
