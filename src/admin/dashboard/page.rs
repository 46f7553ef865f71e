//! The page and its files.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};

/// What a file is, and what it says.
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const PAGE: File = File {
    name: "page.html",
    content_type: "text/html; charset=utf-8",
    text: include_str!("page/page.html"),
};

const FILES: [File; 10] = [
    script("main.js", include_str!("page/main.js")),
    script("connection.js", include_str!("page/connection.js")),
    script("elements.js", include_str!("page/elements.js")),
    script("history.js", include_str!("page/history.js")),
    script("lists.js", include_str!("page/lists.js")),
    script("plot.js", include_str!("page/plot.js")),
    script("plots.js", include_str!("page/plots.js")),
    script("words.js", include_str!("page/words.js")),
    File {
        name: "page.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("page/page.css"),
    },
    File {
        name: "icon.svg",
        content_type: "image/svg+xml",
        text: include_str!("page/icon.svg"),
    },
];

/// SECURITY: the page loads and asks what comes from here and nothing else, runs no script that stands in
/// the markup, makes no markup from text, and is shown in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

pub(super) async fn answer() -> Response {
    PAGE.into_response()
}

pub(super) async fn file(Path(name): Path<String>) -> Response {
    match FILES.into_iter().find(|file| file.name == name) {
        Some(file) => file.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl IntoResponse for File {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, self.content_type),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        (HeaderMap::from_iter(headers), self.text).into_response()
    }
}

const fn script(name: &'static str, text: &'static str) -> File {
    File {
        name,
        content_type: "text/javascript; charset=utf-8",
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is forgotten here is missed only where the page runs.
    #[test]
    fn every_file_that_the_page_asks_for_is_there() {
        let all = || FILES.iter().chain([&PAGE]);
        let asked = all().flat_map(|file| {
            let marks = [("from \"./", '"'), ("=\"/dashboard/", '"')];
            marks.into_iter().flat_map(|(before, after)| {
                let parts = file.text.split(before).skip(1);
                parts.filter_map(move |part| part.split_once(after))
            })
        });
        let mut count = 0;
        for (name, _) in asked {
            assert!(FILES.iter().any(|file| file.name == name), "{name}");
            count += 1;
        }
        assert!(count >= FILES.len(), "only {count} are asked for");
    }
}
