//! What a route does to a request on its way to its upstream.

use std::sync::Arc;

use http::header;
use pingora_core::Result;
use pingora_http::RequestHeader;

use super::{Tries, Upstream};
use crate::edge::{request_path, rewrite};

/// A route to an upstream.
pub(crate) struct Forward {
    pub(crate) upstream: Arc<Upstream>,
    /// Removed from the start of the path before forwarding, in the normal form.
    prefix: Option<String>,
}

impl Forward {
    pub(crate) fn new(upstream: Arc<Upstream>, strip_prefix: Option<&str>) -> Self {
        Self {
            upstream,
            prefix: strip_prefix.map(|prefix| request_path::normalise(prefix).into_owned()),
        }
    }

    /// The request as the server of the last of these `tries` shall see it, apart from who asks.
    pub(crate) fn rewrite(&self, request: &mut RequestHeader, tries: &Tries) -> Result<()> {
        if let Some(host) = self.upstream.host() {
            request.insert_header(header::HOST, host)?;
        } else if !request.headers.contains_key(header::HOST) && request.uri.authority().is_none() {
            // HTTP/1.0 needn't name a host, but what we speak must (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
            if let Some(endpoint) = tries.asked() {
                request.insert_header(header::HOST, endpoint.own_name(&self.upstream.config))?;
            }
        }
        self.strip_prefix(request)
    }

    /// Takes the route's `strip_prefix` off the path, however the client has spelled it.
    fn strip_prefix(&self, request: &mut RequestHeader) -> Result<()> {
        let Some(prefix) = &self.prefix else {
            return Ok(());
        };
        let target = String::from_utf8_lossy(request.raw_path()).into_owned();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target.as_str(), None),
        };
        let Some(rest) = request_path::rest_as_written(path, prefix) else {
            return Ok(());
        };
        let mut stripped = if rest.is_empty() { "/" } else { rest }.to_owned();
        if let Some(query) = query {
            stripped.push('?');
            stripped.push_str(query);
        }
        rewrite::set_target(request, &stripped)
    }
}
