//! The same facts as JSON, for programs.

use std::io::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Line, Request, version};
use crate::config::Mask;
use crate::edge::host_name::HostName;
use crate::edge::upstream::Try;

/// Writes `line`.
pub(super) fn push(line: &Line<'_>, mask: &Mask, text: &mut Vec<u8>) {
    let request = line.request.as_ref();
    let host = |request: &Request<'_>| match HostName::parse(request.host) {
        Ok(host) => host.name.into_owned(),
        Err(_) => request.host.to_owned(),
    };
    let tries: Vec<_> = line.tries().map(Tried::from).collect();
    // The one whose answer the client has got.
    let last = tries.last();
    let mut object = serde_json::json!({
        "time": rfc3339_now(),
        "client": line.client,
        "user": line.user,
        "method": request.map(|request| request.method),
        "target": request.map(|request| mask.covered(request.target)),
        "version": request.map(|request| version(request.version)),
        "host": request.map(host),
        "status": line.status,
        "body_bytes": line.body_bytes,
        "referer": mask.covered(line.referer()),
        "user_agent": line.user_agent(),
        "rt": line.took.as_secs_f64(),
        "uct": last.and_then(|last| last.uct),
        "uhtt": last.and_then(|last| last.uhtt),
        "urt": last.map(|last| last.urt),
        "upstream": tries,
        "request_id": line.id,
    });
    if let Some(outcome) = line.cache {
        object["cache"] = outcome.as_str().into();
    }
    let _ = writeln!(text, "{object}");
}

/// A try as JSON has it, in seconds.
#[derive(serde::Serialize)]
struct Tried<'a> {
    server: &'a str,
    uct: Option<f64>,
    uhtt: Option<f64>,
    urt: f64,
}

impl<'a> From<&'a Try> for Tried<'a> {
    fn from(each: &'a Try) -> Self {
        Self {
            server: each.server(),
            uct: each.connected().map(|time| time.as_secs_f64()),
            uhtt: each.answered().map(|time| time.as_secs_f64()),
            urt: each.took().as_secs_f64(),
        }
    }
}

fn rfc3339_now() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}
