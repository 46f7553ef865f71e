//! `rewrite` of a route: the path as its upstream shall see it.

use http::{HeaderValue, header};
use pingora_core::{OrErr as _, Result};
use pingora_http::RequestHeader;

/// Puts `template` in the place of the request's path, with `{path}` for what that was; the query
/// stays.
pub(super) fn apply(request: &mut RequestHeader, template: &str) -> Result<()> {
    let target = String::from_utf8_lossy(request.raw_path());
    let rewritten = rewritten(&target, template);
    set_target(request, &rewritten)
}

/// Puts `target`, a path with its query, in the place of the request's.
pub(super) fn set_target(request: &mut RequestHeader, target: &str) -> Result<()> {
    // HTTP/2 names the host beside the path, and Pingora drops it with that.
    if let Some(authority) = request.uri.authority()
        && !request.headers.contains_key(header::HOST)
    {
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.or_err(pingora_core::ErrorType::InvalidHTTPHeader, "authority")?;
        request.insert_header(header::HOST, host)?;
    }
    request.set_raw_path(target.as_bytes())
}

fn rewritten(target: &str, template: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut rewritten = template.replace("{path}", path);
    if let Some(query) = query {
        rewritten.push('?');
        rewritten.push_str(query);
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_change_and_queries_stay() {
        for (target, template, expected) in [
            ("/x/y?a=1&b", "/v2{path}", "/v2/x/y?a=1&b"),
            ("/x", "/index.php", "/index.php"),
            ("/x?a=/{path}", "/index.php", "/index.php?a=/{path}"),
            ("/a%2Fb//c", "/v2{path}/end", "/v2/a%2Fb//c/end"),
            ("/?", "/v2{path}", "/v2/?"),
        ] {
            assert_eq!(rewritten(target, template), expected);
        }
    }
}
