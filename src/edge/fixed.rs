//! Answers that need nobody: redirects and fixed content from the configuration.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Uri, header};

use super::freshness::Freshness;
use super::reply::{self, Answer, Body};

/// `redirect = { to, status }` of a route.
pub(crate) struct Redirect {
    /// Target; `{host}` and `{path}` stand for the request's own.
    pub(crate) to: String,
    pub(crate) status: StatusCode,
    /// As long as this configuration.
    pub(crate) freshness: Freshness,
}

/// `respond = { status, body, content_type }` of a route.
pub(crate) struct Respond {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) content_type: HeaderValue,
    /// As long as this configuration.
    pub(crate) freshness: Freshness,
}

impl Redirect {
    /// Sends the client on, with its path and query where the target asks for them.
    pub(crate) fn answer(&self, host: &str, uri: &Uri) -> Answer {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        // SECURITY: `//evil.test` at the start of a location would name another host.
        let target = format!("/{}", target.trim_start_matches('/'));
        let location = self.to.replace("{host}", host).replace("{path}", &target);
        match HeaderValue::from_str(&location) {
            Ok(location) => {
                let mut answer = reply::empty(self.status);
                answer.headers_mut().insert(header::LOCATION, location);
                answer
            }
            Err(_) => reply::empty(StatusCode::BAD_REQUEST),
        }
    }
}

impl Respond {
    /// 404, whatever is asked for.
    pub(crate) fn not_found() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            body: Bytes::new(),
            content_type: HeaderValue::from_static("text/plain"),
            freshness: Freshness::until_ended(),
        }
    }

    /// The content, or the error page of the status where there is none.
    pub(crate) fn answer(&self) -> Answer {
        let mut answer = reply::empty(self.status);
        if !self.body.is_empty() {
            let content_type = self.content_type.clone();
            answer
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            *answer.body_mut() = Body::Full(self.body.clone());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_carry_path_and_host_and_never_name_another() {
        for (to, asked, location) in [
            (
                "https://cdn.test{path}",
                "/static/a?b",
                "https://cdn.test/static/a?b",
            ),
            ("https://{host}/new", "/old", "https://a.test/new"),
            ("{path}", "//evil.test/x", "/evil.test/x"),
            ("/moved", "/x?q", "/moved"),
        ] {
            let redirect = Redirect {
                to: to.to_owned(),
                status: StatusCode::FOUND,
                freshness: Freshness::until_ended(),
            };
            let answer = redirect.answer("a.test", &asked.parse().unwrap());
            assert_eq!(answer.headers()[header::LOCATION], location);
            assert_eq!(answer.status(), StatusCode::FOUND);
        }
    }
}
