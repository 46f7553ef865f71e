//! `unibody check`: every mistake, before it matters.

use std::path::Path;

use anyhow::{Context, anyhow};

use super::{Failure, Outcome};
use crate::certificates::Certificates;
use crate::certificates::acme::inspect;
use crate::config::{Acme, Config, Database as Settings, Secret, TlsMode, UpstreamServer};
use crate::database::{Database, embedded};
use crate::telemetry::redacted;

pub(super) const HELP: &str = "\
Exit status 78 when the configuration is wrong, 1 when something it names is.

Examples:
  unibody check
  unibody check --online           also ask the database and the CA";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also try the database, and the CA of tls.mode = "acme"
    #[arg(long)]
    online: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let config = super::load(config)?;
    let mut wrong = offline(&config);
    if arguments.online {
        wrong.extend(super::small_runtime()?.block_on(online(&config)));
    }
    for route in &config.routes {
        if let Some(directory) = route.lacking() {
            let path = &route.path;
            let directory = directory.display();
            eprintln!("unibody: no files are served at {path}: there is no {directory}");
        }
    }
    for (upstream, server) in circular(&config) {
        eprintln!(
            "unibody: upstream {upstream}: {server} is where this server listens itself, so its requests come back to it"
        );
    }
    if wrong.is_empty() {
        println!("everything is in order");
        return Ok(());
    }
    for wrong in wrong {
        let words = format!("unibody: {wrong:#}");
        eprintln!("{}", redacted(&words, &config.log.mask));
    }
    Err(Failure::Reported)
}

/// What can be seen to be wrong without asking anybody.
fn offline(config: &Config) -> Vec<anyhow::Error> {
    let certificates = match config.tls.mode {
        // Self-signed ones are made at start; only the user's own can be wrong.
        TlsMode::Files(_) => Certificates::load(config).map(drop),
        TlsMode::Acme => inspect::roots(&config.acme),
        TlsMode::SelfSigned | TlsMode::Off => Ok(()),
    };
    let database = if config.embeds_database() {
        embedded::check_programs(config.database.bin_dir.as_deref())
    } else {
        Ok(())
    };
    [certificates, database]
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

/// Servers of upstreams that are our own listeners, by the name of their upstream.
fn circular(config: &Config) -> Vec<(&str, &UpstreamServer)> {
    let listeners = || config.server.http.iter().chain(&config.server.https);
    let is_ours = |server: &&UpstreamServer| listeners().any(|it| server.address.leads_to(*it));
    let mut found = Vec::new();
    for upstream in config.upstreams.values() {
        let servers = upstream.servers.iter().filter(is_ours);
        found.extend(servers.map(|server| (upstream.name.as_str(), server)));
    }
    found.sort_by_key(|(name, _)| *name);
    found
}

/// What the others say who are needed.
async fn online(config: &Config) -> Vec<anyhow::Error> {
    let mut wrong = Vec::new();
    if let Some(url) = &config.database.url {
        wrong.extend(ask_database(&config.database, url).await.err());
    }
    // Without roots there is no way to the CA, and that has been said.
    if config.tls.mode == TlsMode::Acme && inspect::roots(&config.acme).is_ok() {
        wrong.extend(ask_ca(&config.acme).await);
    }
    wrong
}

async fn ask_database(settings: &Settings, url: &Secret) -> anyhow::Result<()> {
    let client = Database::open(settings, url)?.client().await;
    client
        .map(drop)
        .context("check database.url, or DATABASE_URL if it is set")
}

async fn ask_ca(acme: &Acme) -> Vec<anyhow::Error> {
    match inspect::ca(acme).await {
        Ok(ca) => {
            let unmet = inspect::unmet(acme, &ca).into_iter();
            unmet.map(|unmet| anyhow!(unmet)).collect()
        }
        Err(error) => vec![error],
    }
}
