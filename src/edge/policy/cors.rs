//! Which pages of other origins may ask a route (the CORS protocol of the Fetch standard).
//!
//! A preflight is answered here, and every other answer of the route, errors included, carries what
//! lets the page read it. What whoever answers has said itself is replaced: the configuration is the
//! one place that decides. `Vary: Origin` stands on every answer, because a cache must not give one
//! page's answer to another.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{Asked, Marks};
use crate::config::{self, Origins};
use crate::edge::reply::{self, Answer};

/// `cors` of one route, as it goes on answers.
pub(super) struct Cors {
    /// `None` for any.
    origins: Option<Vec<HeaderValue>>,
    credentials: bool,
    methods: HeaderValue,
    /// `None` where none are allowed beyond the usual ones.
    headers: Option<HeaderValue>,
    max_age: HeaderValue,
}

impl Cors {
    pub(super) fn new(config: &config::Cors) -> Self {
        let origins = match &config.origins {
            Origins::Any => None,
            Origins::These(origins) => Some(origins.iter().map(|text| value(text)).collect()),
        };
        let methods: Vec<_> = config.methods.iter().map(Method::as_str).collect();
        let headers: Vec<_> = config.headers.iter().map(HeaderName::as_str).collect();
        Self {
            origins,
            credentials: config.credentials,
            methods: value(&methods.join(", ")),
            headers: (!headers.is_empty()).then(|| value(&headers.join(", "))),
            max_age: HeaderValue::from(config.max_age.as_secs()),
        }
    }

    /// Puts on an answer what the page that asks may do with it.
    pub(super) fn mark(&self, headers: &HeaderMap, marks: &mut Marks) {
        for name in [
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ] {
            marks.remove(name);
        }
        if self.origins.is_some() {
            marks.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = self.allowed(headers) else {
            return;
        };
        marks.set(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            let credentials = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
            marks.set(credentials, HeaderValue::from_static("true"));
        }
    }

    /// The answer to a preflight: 204, which says what is allowed where the page's origin is. `None`
    /// for any other request.
    pub(super) fn preflight(&self, asked: &Asked<'_>) -> Option<Box<Answer>> {
        let is_preflight = asked.method == Method::OPTIONS
            && asked.headers.contains_key(header::ORIGIN)
            && asked
                .headers
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut answer = reply::boxed(StatusCode::NO_CONTENT);
        if self.allowed(asked.headers).is_some() {
            let headers = answer.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            if let Some(names) = &self.headers {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        Some(answer)
    }

    /// `Access-Control-Allow-Origin` for the page that asks.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let Some(origins) = &self.origins else {
            return Some(HeaderValue::from_static("*"));
        };
        let mut lines = headers.get_all(header::ORIGIN).iter();
        let origin = lines.next().filter(|_| lines.next().is_none())?;
        origins.contains(origin).then(|| origin.clone())
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("origins, methods and names are visible ASCII")
}
