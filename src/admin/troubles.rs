//! "Is it fine?": what is wrong, and what to do about it.
//!
//! One list for the dashboard and `unibody status`, found in what `/status` tells and in nothing else,
//! so that both say the same. The worst comes first.

mod backup;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::status::{Certificate, Status, shown};

/// Below this part of all requests failures are daily life: 1 in 100.
const FAILED_SHARE: f64 = 0.01;
/// So few of a minute's requests may fail without a word.
const FAILED_LEAST: u64 = 3;
/// A certificate is renewed long before that; then it wasn't.
const EXPIRES_SOON: Duration = Duration::days(7);
/// How long lost lines of the log are told of.
const LOST_LATELY: Duration = Duration::minutes(10);
/// The part of a limit that is told of before it is reached: 9 in 10.
const NEARLY: (u64, u64) = (9, 10);

/// Something that somebody should do something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Visitors notice it now.
    Broken,
    /// They will, or would if something else failed.
    Warning,
}

/// What is wrong according to `status`, whose own list is not looked at.
pub(super) fn troubles(status: &Status, now: OffsetDateTime) -> Vec<Trouble> {
    let mut found: Vec<_> = database(status)
        .into_iter()
        .chain(failures(status))
        .chain(upstreams(status))
        .chain(
            status
                .certificates
                .iter()
                .filter_map(|certificate| expiry(certificate, now)),
        )
        .chain(status.certificates.iter().filter_map(renewal))
        .chain(reload(status))
        .chain(backup::all(status, now))
        .chain(pool(status))
        .chain(log(status, now))
        .chain(limits(status))
        .collect();
    found.sort_by_key(|trouble| trouble.severity);
    found
}

fn database(status: &Status) -> Option<Trouble> {
    let database = status.database.as_ref()?;
    if database.ready {
        return None;
    }
    let reason = database.reason.as_deref().unwrap_or("it is not ready");
    Some(broken(
        format!("the app has no database: {reason}"),
        "run `unibody doctor` on this machine; the app answers 503 until the database is back, everything else goes on",
    ))
}

fn failures(status: &Status) -> Option<Trouble> {
    let minute = &status.traffic.last_minute;
    let failed = minute.classes.server_error;
    if failed < FAILED_LEAST || minute.failed_share() < FAILED_SHARE {
        return None;
    }
    let worst = status
        .routes
        .iter()
        .max_by_key(|route| route.last_minute.classes.server_error)?;
    let host = worst.host.as_deref().unwrap_or_default();
    Some(broken(
        format!(
            "{failed} of {} requests of the last minute failed with 5xx, most of them at {host}{} ({})",
            minute.requests, worst.path, worst.action
        ),
        "look for the reasons in the log: each stands under the request id that the access log has of that answer; of each kind the first ten a minute have a line, and the others one together, `in the last minute … more`, with an example",
    ))
}

fn upstreams(status: &Status) -> Vec<Trouble> {
    let each = status.upstreams.iter().filter_map(|upstream| {
        let (up, out): (Vec<_>, Vec<_>) =
            upstream.servers.iter().partition(|server| server.state == "up");
        let first = out.first()?;
        let others = match out.len() {
            1 => String::new(),
            several => format!(" and {} more", several - 1),
        };
        let name = &upstream.name;
        let how = first.reason.clone().unwrap_or_else(|| format!("{} {}", first.address, first.state));
        let remedy = match first.state.as_str() {
            "unknown" => "correct the name in its `servers`, or see whether this machine's name servers know it: `unibody doctor` asks them; it is looked up again every few seconds",
            "unhealthy" => "its answers to the health check are wrong: look at that server's own log; it gets requests again when they are right",
            _ => "it did not answer: look at that server's own log; one request tries it again from time to time",
        };
        Some(if up.is_empty() {
            let all_unknown = out.iter().all(|server| server.state == "unknown");
            let then = if all_unknown { "nobody can be asked" } else { "all are tried" };
            broken(
                format!("upstream {name}: no server is well ({how}{others}), so {then}"),
                remedy,
            )
        } else {
            warning(
                format!("upstream {name}: {how}{others}, {} of {} servers left", up.len(), upstream.servers.len()),
                remedy,
            )
        })
    });
    each.collect()
}

fn expiry(certificate: &Certificate, now: OffsetDateTime) -> Option<Trouble> {
    let held = certificate
        .served
        .as_ref()
        .or(certificate.stored.as_ref())?;
    let left = held.not_after - now;
    if left > EXPIRES_SOON {
        return None;
    }
    let (name, end) = (named(certificate), shown(held.not_after));
    let remedy = match certificate.source.as_str() {
        "acme" => format!("run `unibody certs renew {name}`; it says what stands in the way"),
        "self-signed" => "restart the server: it makes a new one at its start".to_owned(),
        file => format!(
            "put a new certificate into {file} and its key beside it; both are taken up within seconds"
        ),
    };
    Some(if left.is_positive() {
        warning(format!("the certificate of {name} ends on {end}"), remedy)
    } else {
        broken(
            format!("the certificate of {name} has ended on {end}: browsers refuse it"),
            remedy,
        )
    })
}

fn renewal(certificate: &Certificate) -> Option<Trouble> {
    let error = certificate.last_error.as_ref()?;
    let name = named(certificate);
    let remedy = match (certificate.source.as_str(), certificate.next_attempt) {
        ("acme", Some(next)) => format!(
            "it is tried again at {}; `unibody doctor` looks for the cause",
            shown(next)
        ),
        ("acme", None) => "`unibody doctor` looks for the cause".to_owned(),
        _ => "the one in service stays until this is put right".to_owned(),
    };
    Some(warning(
        format!("the certificate of {name} could not be replaced: {error}"),
        remedy,
    ))
}

fn reload(status: &Status) -> Option<Trouble> {
    let history = &status.configuration;
    let why = history.last_error.as_ref()?.lines().next()?;
    Some(warning(
        format!(
            "the last reload failed, and what was loaded at {} stays in force: {why}",
            shown(history.loaded)
        ),
        "`unibody check` tells every mistake of the file; then `unibody reload`",
    ))
}

fn pool(status: &Status) -> Option<Trouble> {
    let pool = status.database.as_ref()?.pool?;
    (pool.waiting > 0 && pool.in_use >= pool.max).then(|| {
        warning(
            format!("{} requests wait for one of {} database connections", pool.waiting, pool.max),
            "if this lasts: look for slow statements (pg_stat_activity), then raise database.pool_size",
        )
    })
}

fn log(status: &Status, now: OffsetDateTime) -> Option<Trouble> {
    let log = &status.log;
    if let Some(why) = &log.failing {
        return Some(warning(
            format!(
                "the log cannot be written ({why}): {} lines are lost so far",
                log.unwritten
            ),
            "make room on the disk that stdout goes to, or look at whoever reads it; lines are written again by themselves, and requests don't wait for them",
        ));
    }
    let is_of_late = (now - log.last?).abs() < LOST_LATELY;
    is_of_late.then(|| {
        let (unread, unwritten) = (log.unread, log.unwritten);
        warning(
            format!(
                "lines of the log were lost: {unread} as stdout was not read fast enough, {unwritten} as it could not be written"
            ),
            "it is over now; stdout must be read fast enough (a faster log driver, or log.access = \"off\"), and its disk have room",
        )
    })
}

fn limits(status: &Status) -> Vec<Trouble> {
    let connections = status.connections;
    let files = status.process.open_files.zip(status.process.max_open_files);
    let limits = [
        (
            "connections",
            "new clients are turned away",
            Some((connections.open, connections.max)),
            "raise server.max_connections (and the limit of open files: `unibody doctor`), or find out who opens them: the access log names the clients",
        ),
        (
            "files",
            "new clients wait until some are closed",
            files,
            "raise the limit (LimitNOFILE in systemd, `ulimits` in Compose): `unibody doctor` says how far",
        ),
    ];
    let near = limits.into_iter().filter_map(|(things, then, of, remedy)| {
        let (open, most) = of?;
        // A limit of nothing is one that an older server doesn't tell.
        let is_near = most > 0 && open.saturating_mul(NEARLY.1) >= most.saturating_mul(NEARLY.0);
        is_near.then(|| {
            if open < most {
                warning(format!("{open} of {most} {things} are open"), remedy)
            } else {
                broken(format!("all {most} {things} are open: {then}"), remedy)
            }
        })
    });
    near.collect()
}

/// A certificate for addresses alone has no name: its file tells it from others.
fn named(certificate: &Certificate) -> &str {
    certificate.names.first().unwrap_or(&certificate.source)
}

fn broken(what: String, remedy: impl Into<String>) -> Trouble {
    trouble(Severity::Broken, what, remedy)
}

fn warning(what: String, remedy: impl Into<String>) -> Trouble {
    trouble(Severity::Warning, what, remedy)
}

fn trouble(severity: Severity, what: String, remedy: impl Into<String>) -> Trouble {
    Trouble {
        severity,
        what,
        remedy: remedy.into(),
    }
}

#[cfg(test)]
mod tests;
