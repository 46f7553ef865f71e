//! `unibody status`: what the running server says of itself, on one screen.
//!
//! First whether it is fine, and if not what to do; then the figures; then the lists, of which each is
//! left out where it has nothing to say.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use time::OffsetDateTime;

use super::Outcome;
use super::ask;
use super::certs::shown_as_table;
use super::table::table;
use super::units::{bytes, count, duration, rate, share, span};
use crate::admin::reload::History;
use crate::admin::status::{Backup, DatabaseState, Status, shown};
use crate::admin::traffic::Traffic;
use crate::admin::troubles::Severity;

pub(super) const HELP: &str = "\
Asks the server at server.admin; exit status 1 when there is no answer. What is wrong stands at the top, \
each with what to do about it. The same is drawn at http://127.0.0.1:9180 (server.admin).

Examples:
  unibody status
  unibody status --json | jq .troubles";

/// Routes that are listed; `--json` has all.
const ROUTES: usize = 12;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let admin = super::load_admin(config)?;
    let asked = super::small_runtime()?.block_on(ask::status(admin));
    let status = asked.map_err(anyhow::Error::from)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&status).map_err(anyhow::Error::from)?;
        println!("{json}");
    } else {
        print!("{}", for_people(&status, OffsetDateTime::now_utc()));
    }
    Ok(())
}

fn for_people(status: &Status, now: OffsetDateTime) -> String {
    let parts = [
        verdict(status),
        facts(status, now),
        traffic(status),
        routes(status),
        servers(status),
        shown_as_table(&status.certificates, true),
    ];
    let told: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    told.join("\n")
}

/// Whether it is fine.
fn verdict(status: &Status) -> String {
    if status.troubles.is_empty() {
        return "everything is fine\n".to_owned();
    }
    let each = status.troubles.iter().map(|trouble| {
        let mark = match trouble.severity {
            Severity::Broken => "broken",
            Severity::Warning => "warning",
        };
        format!("{mark:<9} {}\n          {}\n", trouble.what, trouble.remedy)
    });
    each.collect()
}

fn facts(status: &Status, now: OffsetDateTime) -> String {
    let addresses = |all: &[SocketAddr]| {
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        if all.is_empty() {
            "none".to_owned()
        } else {
            all.join(", ")
        }
    };
    let connections = status.connections;
    let files = status.process.open_files.zip(status.process.max_open_files);
    let memory = status.process.memory.map_or("unknown".to_owned(), bytes);
    let files = files.map_or(String::new(), |(open, most)| {
        format!(", {} of {} files open", count(open), count(most))
    });
    let facts = [
        (
            "unibody",
            format!(
                "{}, up {} since {}",
                status.version,
                span((now - status.started).unsigned_abs()),
                shown(status.started)
            ),
        ),
        ("config", configuration(&status.configuration)),
        ("http", addresses(&status.listeners.http)),
        ("https", addresses(&status.listeners.https)),
        (
            "admin",
            format!("{0}, dashboard at http://{0}", status.listeners.admin),
        ),
        ("database", database(status.database.as_ref())),
        ("backup", backup(status.backup.as_ref())),
        (
            "clients",
            format!(
                "{} of {} connections open",
                count(connections.open),
                count(connections.max)
            ),
        ),
        ("memory", format!("{memory}{files}")),
    ];
    let lines = facts.map(|(name, words)| format!("{name:<9} {words}\n"));
    lines.concat()
}

fn configuration(history: &History) -> String {
    let mut words = format!("loaded {}", shown(history.loaded));
    if let Some(why) = &history.last_error {
        // Writing to a string cannot fail, here and below.
        let _ = write!(words, "; the last reload failed:\n{why}");
    }
    if !history.waiting.is_empty() {
        let _ = write!(
            words,
            "\nrestart   needed for {}",
            history.waiting.join(", ")
        );
    }
    words
}

fn database(database: Option<&DatabaseState>) -> String {
    let Some(database) = database else {
        return "none: no route leads to the app".to_owned();
    };
    let state = match &database.reason {
        Some(reason) => format!("not ready: {reason}"),
        None => "ready".to_owned(),
    };
    match database.pool {
        Some(pool) => format!(
            "{state}; {} of {} connections in use, {} requests waiting",
            pool.in_use, pool.max, pool.waiting
        ),
        None => state,
    }
}

fn traffic(status: &Status) -> String {
    let all = &status.traffic;
    let row = |name: &str, traffic: &Traffic| {
        [
            name.to_owned(),
            count(traffic.requests),
            rate(traffic.rate()),
            share(traffic.classes.server_error, traffic.requests),
            duration(traffic.p50),
            duration(traffic.p90),
            duration(traffic.p99),
        ]
    };
    let head = ["", "REQUESTS", "A SECOND", "FAILED", "P50", "P90", "P99"];
    let rows = [
        row("last minute", &all.last_minute),
        row("since the start", &all.since_start),
    ];
    table(head, &rows)
}

/// Those with the most requests first.
fn routes(status: &Status) -> String {
    let mut routes: Vec<_> = status.routes.iter().collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.since_start.requests));
    let rows: Vec<_> = routes
        .iter()
        .take(ROUTES)
        .map(|route| {
            let traffic = &route.since_start;
            [
                route.host.clone().unwrap_or_else(|| "any".to_owned()),
                route.path.clone(),
                route.action.clone(),
                count(traffic.requests),
                share(traffic.classes.server_error, traffic.requests),
                duration(traffic.p99),
            ]
        })
        .collect();
    let mut text = table(
        ["HOST", "PATH", "ACTION", "REQUESTS", "FAILED", "P99"],
        &rows,
    );
    if routes.len() > ROUTES {
        let _ = writeln!(text, "and {} more; --json has all", routes.len() - ROUTES);
    }
    text
}

fn servers(status: &Status) -> String {
    let each = status.upstreams.iter().flat_map(|upstream| {
        let servers = upstream.servers.iter();
        servers.map(move |server| {
            [
                upstream.name.clone(),
                server.address.clone(),
                server.state.clone(),
                server.running.to_string(),
                count(server.requests),
                count(server.failed),
            ]
        })
    });
    let rows: Vec<_> = each.collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [
        "UPSTREAM", "SERVER", "STATE", "RUNNING", "REQUESTS", "FAILED",
    ];
    table(head, &rows)
}

fn backup(backup: Option<&Backup>) -> String {
    let Some(backup) = backup else {
        return "not by the server".to_owned();
    };
    let last = match &backup.last {
        Some(last) => format!(
            "last {} ({}, {:.1} s)",
            shown(last.finished),
            bytes(last.bytes),
            last.seconds
        ),
        None => "none yet".to_owned(),
    };
    let next = match (&backup.due_unknown, backup.next) {
        _ if backup.running => ", one is being made".to_owned(),
        (Some(unknown), _) => {
            format!(", whether one is due can't be seen: {}", unknown.reason)
        }
        (None, Some(next)) => format!(", next {}", shown(next)),
        (None, None) => String::new(),
    };
    let failed = match &backup.last_error {
        Some(error) => format!("; failed {} times: {error}", backup.failures),
        None => String::new(),
    };
    format!("{}: {last}{next}{failed}", backup.schedule)
}
