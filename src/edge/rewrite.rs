//! `rewrite` of a route: the path as its upstream shall see it.

use pingora_core::Result;
use pingora_http::RequestHeader;

/// Puts `template` in the place of the request's path, with `{path}` for what that was; the query
/// stays.
pub(super) fn apply(request: &mut RequestHeader, template: &str) -> Result<()> {
    let target = String::from_utf8_lossy(request.raw_path());
    let rewritten = rewritten(&target, template);
    request.set_raw_path(rewritten.as_bytes())
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
