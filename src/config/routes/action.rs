//! What a route does: exactly one of `app`, `files`, `upstream`, `redirect`, `respond`.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::cache::{self, Cache};
use super::files::{self, Files};
use crate::config::nearest::nearest;
use crate::config::printer::{Printer, shown};
use crate::config::read::{boolean, header_value, integer, string, text};
use crate::config::reader::Section;
use crate::config::upstreams::Upstreams;
use crate::config::values::Invalid;
use crate::config::{PathPattern, Upstream};

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Hands it to the app in this process.
    App,
    /// Serves files of a directory; the route's path is removed first (nginx's `alias`).
    Files(Files),
    /// Forwards it.
    Upstream {
        /// To which servers.
        upstream: Arc<Upstream>,
        /// Leading path that is removed before forwarding, without trailing slash.
        strip_prefix: Option<String>,
        /// Which of their answers are given again; `None` gives none.
        cache: Option<Cache>,
    },
    /// Sends the client elsewhere.
    Redirect {
        /// Target; `{path}` stands for the path with its query, `{host}` for the host.
        to: String,
        /// 301, 302, 303, 307 or 308. Default 302.
        status: StatusCode,
    },
    /// Answers with fixed content.
    Respond {
        /// Default 200.
        status: StatusCode,
        /// Default empty.
        body: String,
        /// Default `text/plain; charset=utf-8`.
        content_type: HeaderValue,
    },
}

/// The action of the route in `section`, whose path is `path`.
pub(super) fn action(
    section: &Section<'_>,
    upstreams: &Upstreams,
    path: Option<&PathPattern>,
) -> Option<Action> {
    let written: Vec<_> = ["app", "files", "upstream", "redirect", "respond"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    match written.as_slice() {
        [] => section.note_combination(
            "route: does nothing; write one of app = true, files, upstream, redirect, respond"
                .to_owned(),
        ),
        [_] => {}
        [first, others @ ..] => {
            let what = format!("the route has {first} already; it does exactly one thing");
            for key in others {
                section.note_combination_at(key, &what);
            }
        }
    }
    for (key, owner) in [
        ("spa", "files"),
        ("cache_control", "files"),
        ("immutable", "files"),
        ("fallback", "files"),
        ("strip_prefix", "upstream"),
        ("rewrite", "upstream"),
        ("cache", "upstream"),
    ] {
        if section.has(key) && !section.has(owner) {
            section.note_combination_at(key, &format!("belongs to a route with {owner}"));
        }
    }
    if section.has("spa") && section.has("fallback") {
        section.note_combination_at(
            "fallback",
            "spa answers unknown paths already; keep one of them",
        );
    }
    // All are read, also of a route with two, so that each is checked.
    let app = section.optional("app", |node| {
        let app = boolean(node)?;
        if !app {
            node.wrong("write true, or leave it out");
        }
        app.then_some(Action::App)
    });
    let files = files::files(section).map(Action::Files);
    let upstream = upstream_action(section, upstreams, path);
    let redirect = section
        .optional_table("redirect")
        .and_then(|section| redirect(&section));
    let respond = section
        .optional_table("respond")
        .map(|section| respond(&section));
    app.or(files).or(upstream).or(redirect).or(respond)
}

/// Prints it.
pub(super) fn print(out: &mut Printer, action: &Action) {
    match action {
        Action::App => out.plain("app", true),
        Action::Files(files) => files::print(out, files),
        Action::Upstream {
            upstream,
            strip_prefix,
            cache,
        } => {
            out.text("upstream", &upstream.name);
            if let Some(prefix) = strip_prefix {
                out.text("strip_prefix", prefix);
            }
            if let Some(cache) = cache {
                cache::print(out, cache);
            }
        }
        Action::Redirect { to, status } => {
            out.text("redirect.to", out.mask.covered(to));
            out.plain("redirect.status", status.as_u16());
        }
        Action::Respond {
            status,
            body,
            content_type,
        } => {
            out.plain("respond.status", status.as_u16());
            out.text("respond.body", body);
            out.text("respond.content_type", shown(content_type));
        }
    }
}

/// The upstream whose name stands at `key`.
pub(super) fn named(
    section: &Section<'_>,
    key: &str,
    upstreams: &Upstreams,
) -> Option<Arc<Upstream>> {
    section.optional(key, |node| {
        let name = string(node)?;
        let upstream = upstreams.get(&name);
        // It may stand in the piece that could not be read.
        if upstream.is_none() && section.reader.broken.is_empty() {
            let hint = match nearest(&name, upstreams.keys().map(String::as_str)) {
                Some(nearest) => format!("did you mean \"{nearest}\"?"),
                None => "add [[upstream]] with this name".to_owned(),
            };
            node.wrong(&format!("no upstream has this name; {hint}"));
        }
        upstream.cloned()
    })
}

fn upstream_action(
    section: &Section<'_>,
    upstreams: &Upstreams,
    path: Option<&PathPattern>,
) -> Option<Action> {
    let upstream = named(section, "upstream", upstreams);
    let strip_prefix = section.optional("strip_prefix", |node| {
        let prefix = text(strip_prefix)(node)?;
        let (PathPattern::Prefix(whole) | PathPattern::Exact(whole)) = path?;
        if !PathPattern::Prefix(prefix.clone()).matches(whole) {
            node.wrong("the route's path does not begin with it");
        }
        Some(prefix)
    });
    let cache = cache::cache(section);
    Some(Action::Upstream {
        upstream: upstream?,
        strip_prefix,
        cache,
    })
}

/// A leading path, without its trailing slash.
fn strip_prefix(text: &str) -> Result<String, Invalid> {
    match PathPattern::parse(text)? {
        PathPattern::Prefix(prefix) if !prefix.is_empty() => Ok(prefix),
        _ => Err(Invalid::new(r#"must be a path such as "/app""#)),
    }
}

fn redirect(section: &Section<'_>) -> Option<Action> {
    let to = section.required(
        "to",
        r#""https://example.com{path}""#,
        text(redirect_target),
    );
    let status = section.value("status", |node| {
        let code: u16 = integer(300..=399)(node)?;
        if ![301, 302, 303, 307, 308].contains(&code) {
            node.wrong("must be 301, 302, 303, 307 or 308");
            return None;
        }
        StatusCode::from_u16(code).ok()
    });
    Some(Action::Redirect { to: to?, status })
}

fn redirect_target(text: &str) -> Result<String, &'static str> {
    let known = text.replace("{path}", "").replace("{host}", "");
    if known.contains(['{', '}']) {
        return Err("{path} and {host} are all that is filled in");
    }
    let begins = ["https://", "http://", "/", "{path}"]
        .iter()
        .any(|start| text.starts_with(start));
    if !begins {
        return Err(r#"must begin with "https://", "http://" or "/""#);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "must be printable ASCII without spaces; write other characters percent-encoded",
        );
    }
    Ok(text.to_owned())
}

fn respond(section: &Section<'_>) -> Action {
    let status = section.value("status", |node| {
        let code: u16 = integer(200..=599)(node)?;
        StatusCode::from_u16(code).ok()
    });
    let body = section.value("body", string);
    let bodyless = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    if bodyless.contains(&status) && !body.is_empty() {
        section.note_combination_at(
            "body",
            &format!("an answer of {} has no body", status.as_u16()),
        );
    }
    Action::Respond {
        status,
        body,
        content_type: section.value("content_type", header_value),
    }
}
