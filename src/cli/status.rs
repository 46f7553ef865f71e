//! `unibody status`: what the running server says of itself.

use std::net::SocketAddr;
use std::path::Path;

use indicatif::DecimalBytes;

use super::Outcome;
use super::ask;
use super::certs::shown_as_table;
use super::table::table;
use crate::admin::status::{Backup, Status, shown};

pub(super) const HELP: &str = "\
Asks the server at server.admin; exit status 1 when there is no answer.

Examples:
  unibody status
  unibody status --json | jq .database";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let config = super::load(config)?;
    let asked = super::small_runtime()?.block_on(ask::status(&config));
    let status = asked.map_err(anyhow::Error::from)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&status).map_err(anyhow::Error::from)?;
        println!("{json}");
    } else {
        print!("{}", for_people(&status));
    }
    Ok(())
}

fn for_people(status: &Status) -> String {
    let addresses = |all: &[SocketAddr]| {
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        if all.is_empty() {
            "none".to_owned()
        } else {
            all.join(", ")
        }
    };
    let configuration = &status.configuration;
    let loaded = match &configuration.last_error {
        Some(why) => format!(
            "loaded {}; the last reload failed:\n{why}",
            shown(configuration.loaded)
        ),
        None => format!("loaded {}", shown(configuration.loaded)),
    };
    let waiting = match configuration.waiting.as_slice() {
        [] => String::new(),
        keys => format!("restart   needed for {}\n", keys.join(", ")),
    };
    let database = match &status.database.reason {
        Some(reason) => format!("not ready: {reason}"),
        None => "ready".to_owned(),
    };
    let backup = match &status.backup {
        Some(backup) => backup_for_people(backup),
        None => "not by the server".to_owned(),
    };
    let routes: Vec<_> = status
        .routes
        .iter()
        .map(|route| {
            [
                route.host.clone().unwrap_or_else(|| "any".to_owned()),
                route.path.clone(),
                route.action.clone(),
            ]
        })
        .collect();
    let servers: Vec<_> = status
        .upstreams
        .iter()
        .flat_map(|upstream| {
            upstream
                .servers
                .iter()
                .map(|server| (&upstream.name, server))
        })
        .map(|(upstream, server)| {
            [
                upstream.clone(),
                server.address.clone(),
                server.state.clone(),
                server.running.to_string(),
                server.requests.to_string(),
                server.failed.to_string(),
            ]
        })
        .collect();
    let servers = if servers.is_empty() {
        String::new()
    } else {
        let headings = [
            "UPSTREAM", "SERVER", "STATE", "RUNNING", "REQUESTS", "FAILED",
        ];
        table(headings, &servers) + "\n"
    };
    format!(
        "unibody {}, since {}\nconfig    {loaded}\n{waiting}http      {}\nhttps     {}\nadmin     {}\ndatabase  {database}\nbackup    {backup}\n\n{}\n{servers}{}",
        status.version,
        shown(status.started),
        addresses(&status.listeners.http),
        addresses(&status.listeners.https),
        status.listeners.admin,
        table(["HOST", "PATH", "ACTION"], &routes),
        shown_as_table(&status.certificates, true),
    )
}

fn backup_for_people(backup: &Backup) -> String {
    let last = match &backup.last {
        Some(last) => format!(
            "last {} ({}, {:.1} s)",
            shown(last.finished),
            DecimalBytes(last.bytes),
            last.seconds
        ),
        None => "none yet".to_owned(),
    };
    let next = match backup.next {
        _ if backup.running => ", one is being made".to_owned(),
        Some(next) => format!(", next {}", shown(next)),
        None => String::new(),
    };
    let failed = match &backup.last_error {
        Some(error) => format!("; failed {} times: {error}", backup.failures),
        None => String::new(),
    };
    format!("{}: {last}{next}{failed}", backup.schedule)
}
