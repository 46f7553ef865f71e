//! What a route does to a request on its way to its upstream.

use std::sync::Arc;

use http::header;
use pingora_core::Result;
use pingora_http::RequestHeader;

use super::Upstream;
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

    /// The request as the upstream shall see it, apart from who asks.
    pub(crate) fn rewrite(&self, request: &mut RequestHeader) -> Result<()> {
        if let Some(host) = self.upstream.host() {
            request.insert_header(header::HOST, host)?;
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
