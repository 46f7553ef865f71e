//! The headers that every answer carries, whoever made it: a downstream module of Pingora.
//!
//! In this order, later steps winning:
//!
//! 1. `[headers]` of the configuration, each only where the answer has no header of that name. The
//!    app and the upstreams know their pages better: a Content-Security-Policy with a nonce must
//!    not be flattened by the general one.
//! 2. `Strict-Transport-Security`, by the same rule, where `tls.hsts` is set and the client came
//!    over TLS; a browser must ignore it otherwise (RFC 6797, section 8.1).
//! 3. `Server: unibody`, without a version, over whatever the upstream said of itself; and the
//!    request id of the exchange.
//! 4. What the route's policies say of this answer.
//! 5. What the route removes, then what it sets: its owner has the last word.
//!
//! Interim answers (1xx) pass as they are, but for 101, which is final. And to a client of HTTP/1.0 no
//! answer has `Transfer-Encoding`, which Pingora sets for everybody (RFC 9112, section 6.1).

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{SERVER, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Version};
use pingora_core::Result;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, ModuleBuilder};
use pingora_http::{RequestHeader, ResponseHeader};

use super::message::is_interim;
use super::policy::Marks;
use super::request_id::X_REQUEST_ID;
use super::route::PreparedRoute;
use crate::config::Config;

/// What one configuration puts on every answer.
#[derive(Debug)]
pub(crate) struct GeneralHeaders {
    headers: Vec<(HeaderName, HeaderValue)>,
    hsts: Option<HeaderValue>,
}

/// The module: one for each request.
pub(crate) struct SecurityHeaders {
    general: Arc<GeneralHeaders>,
    is_secure: bool,
    is_http_10: bool,
    request_id: Option<HeaderValue>,
    marks: Marks,
    route: Option<Arc<PreparedRoute>>,
}

impl GeneralHeaders {
    /// Prepares the headers of `config`.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            headers: config.headers.clone(),
            hsts: config
                .tls
                .hsts
                .map(|max_age| format!("max-age={}", max_age.as_secs()))
                .and_then(|value| HeaderValue::from_maybe_shared(value).ok()),
        }
    }
}

impl SecurityHeaders {
    /// What `init_downstream_modules` registers. `general` serves answers to requests that fail
    /// before the module is armed.
    pub(crate) fn builder(general: Arc<GeneralHeaders>) -> ModuleBuilder {
        Box::new(Builder(general))
    }

    /// The headers for a client that has no request yet, outside Pingora's modules.
    pub(crate) fn without_request(
        general: Arc<GeneralHeaders>,
        is_secure: bool,
        request_id: HeaderValue,
    ) -> Self {
        Self {
            general,
            is_secure,
            is_http_10: false,
            request_id: Some(request_id),
            marks: Marks::default(),
            route: None,
        }
    }

    /// Tells the module of its request: the headers of the configuration that serves it, whether
    /// the client came over TLS (to us or to a trusted proxy), and its id.
    pub(crate) fn arm(
        &mut self,
        general: Arc<GeneralHeaders>,
        is_secure: bool,
        request_id: HeaderValue,
    ) {
        self.general = general;
        self.is_secure = is_secure;
        self.request_id = Some(request_id);
    }

    /// Tells the module the request's route, once it is known.
    pub(crate) fn arm_route(&mut self, route: Arc<PreparedRoute>) {
        self.route = Some(route);
    }

    /// Tells the module what the route's policies have decided.
    pub(crate) fn arm_policy(&mut self, marks: Marks) {
        self.marks = marks;
    }

    /// Puts the headers on `response`.
    pub(crate) fn apply(&self, response: &mut ResponseHeader) -> Result<()> {
        let hsts = self.general.hsts.as_ref().filter(|_| self.is_secure);
        let hsts = hsts.map(|value| (&STRICT_TRANSPORT_SECURITY, value));
        let general = self
            .general
            .headers
            .iter()
            .map(|(name, value)| (name, value));
        for (name, value) in general.chain(hsts) {
            if !response.headers.contains_key(name) {
                response.insert_header(name, value)?;
            }
        }
        response.insert_header(SERVER, HeaderValue::from_static("unibody"))?;
        if let Some(id) = &self.request_id {
            response.insert_header(X_REQUEST_ID, id)?;
        }
        self.marks.apply(response)?;
        if let Some(route) = &self.route {
            for name in &route.route().remove_headers {
                response.remove_header(name);
            }
            for (name, value) in &route.route().set_headers {
                response.insert_header(name, value)?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl HttpModule for SecurityHeaders {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.is_http_10 = request.version == Version::HTTP_10;
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        if is_interim(response.status) {
            return Ok(());
        }
        if self.is_http_10 {
            response.remove_header(&TRANSFER_ENCODING);
        }
        self.apply(response)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct Builder(Arc<GeneralHeaders>);

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(SecurityHeaders {
            general: Arc::clone(&self.0),
            is_secure: false,
            is_http_10: false,
            request_id: None,
            marks: Marks::default(),
            route: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Action, PathPattern, Route};
    use pingora_core::modules::http::HttpModules;

    fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    }

    fn general() -> Arc<GeneralHeaders> {
        Arc::new(GeneralHeaders {
            headers: vec![
                header("x-frame-options", "SAMEORIGIN"),
                header("content-security-policy", "default-src 'self'"),
                header("x-content-type-options", "nosniff"),
            ],
            hsts: Some(HeaderValue::from_static("max-age=60")),
        })
    }

    fn route(set: Vec<(HeaderName, HeaderValue)>, remove: Vec<HeaderName>) -> Arc<PreparedRoute> {
        let route = Route {
            host: None,
            path: PathPattern::Prefix(String::new()),
            action: Action::App,
            policy: crate::config::RoutePolicy::default(),
            request_headers: crate::config::RequestHeaders::default(),
            rewrite: None,
            fallback: None,
            max_body: None,
            compress: None,
            set_headers: set,
            remove_headers: remove,
            line: 0,
        };
        Arc::new(PreparedRoute::new(0, &route))
    }

    async fn filtered(
        status: u16,
        lines: &[(&'static str, &'static str)],
        arm: impl FnOnce(&mut SecurityHeaders),
    ) -> Vec<String> {
        let mut modules = HttpModules::new();
        modules.add_module(SecurityHeaders::builder(general()));
        let mut context = modules.build_ctx();
        arm(context.get_mut::<SecurityHeaders>().unwrap());
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in lines {
            response.append_header(*name, *value).unwrap();
        }
        context
            .response_header_filter(&mut response, false)
            .await
            .unwrap();
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = response.headers.iter().map(line).collect();
        lines.sort_unstable();
        lines
    }

    fn arm(is_secure: bool) -> impl FnOnce(&mut SecurityHeaders) {
        move |module| module.arm(general(), is_secure, HeaderValue::from_static("id-1"))
    }

    #[tokio::test]
    async fn every_answer_has_the_general_headers() {
        for status in [101, 200, 304, 404, 502] {
            let expected = [
                "content-security-policy: default-src 'self'",
                "server: unibody",
                "x-content-type-options: nosniff",
                "x-frame-options: SAMEORIGIN",
                "x-request-id: id-1",
            ];
            assert_eq!(
                filtered(status, &[], arm(false)).await,
                expected,
                "{status}"
            );
        }
        assert!(
            filtered(103, &[], arm(true)).await.is_empty(),
            "interim answers pass"
        );
        let unarmed = filtered(400, &[], |_| ()).await;
        assert!(
            unarmed.contains(&"x-frame-options: SAMEORIGIN".to_owned()),
            "armed or not"
        );
    }

    #[tokio::test]
    async fn hsts_is_for_tls_only() {
        let hsts = "strict-transport-security: max-age=60".to_owned();
        assert!(filtered(200, &[], arm(true)).await.contains(&hsts));
        assert!(!filtered(200, &[], arm(false)).await.contains(&hsts));
    }

    #[tokio::test]
    async fn the_answers_own_headers_win_but_for_ours() {
        let own = [
            ("content-security-policy", "script-src 'nonce-1'"),
            ("server", "Apache/2.4.1"),
            ("strict-transport-security", "max-age=1"),
            ("x-powered-by", "PHP"),
            ("x-request-id", "theirs"),
        ];
        let expected = [
            "content-security-policy: script-src 'nonce-1'",
            "server: unibody",
            "strict-transport-security: max-age=1",
            "x-content-type-options: nosniff",
            "x-frame-options: SAMEORIGIN",
            "x-powered-by: PHP",
            "x-request-id: id-1",
        ];
        assert_eq!(filtered(200, &own, arm(true)).await, expected);
    }

    #[tokio::test]
    async fn the_route_has_the_last_word() {
        let set = vec![header("x-frame-options", "DENY"), header("x-extra", "1")];
        let remove = vec![
            HeaderName::from_static("content-security-policy"),
            HeaderName::from_static("server"),
            HeaderName::from_static("x-powered-by"),
        ];
        let lines = filtered(
            200,
            &[("x-powered-by", "PHP"), ("x-extra", "0")],
            |module| {
                arm(false)(module);
                module.arm_route(route(set, remove));
            },
        );
        let expected = [
            "x-content-type-options: nosniff",
            "x-extra: 1",
            "x-frame-options: DENY",
            "x-request-id: id-1",
        ];
        assert_eq!(lines.await, expected);
    }
}
