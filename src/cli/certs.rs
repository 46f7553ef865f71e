//! `unibody certs`: the certificates as stored and as served, and a new one at once.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::StatusCode;
use serde::Serialize;

use super::Outcome;
use super::ask::{self, Silence};
use super::table::table;
use crate::admin::renew::{self, Wanted};
use crate::admin::status::{Certificate, Held, shown};
use crate::certificates::{self, Kept};

pub(super) const HELP: &str = "\
Examples:
  unibody certs list                      as stored, and as clients get them
  unibody certs renew notes.example.com   a new one now";

const LIST_HELP: &str = "\
Works also while no server runs, and shows what lies in tls.certs_dir then.

Examples:
  unibody certs list
  unibody certs list --json";

const RENEW_HELP: &str = "\
Asks the running server, and waits until the certificate is there or it is clear why not. Public CAs \
lock a name out for a week after its fifth certificate in 7 days; an order that would get there is \
refused, unless --force is given.

Examples:
  unibody certs renew notes.example.com
  unibody certs renew notes.example.com --force";

/// The server answers within three minutes.
const PATIENCE: Duration = Duration::from_secs(200);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show every certificate, as stored and as served
    #[command(after_help = LIST_HELP)]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Get a new certificate now
    #[command(after_help = RENEW_HELP)]
    Renew {
        /// The name whose certificate it is
        host: String,
        /// Even if the CA's limits are likely to refuse it
        #[arg(long)]
        force: bool,
    },
}

/// What `list --json` prints.
#[derive(Serialize)]
struct Listing {
    /// Whether a server was asked; without one nothing is served.
    running: bool,
    certificates: Vec<Certificate>,
}

pub(super) fn run(config: Option<&Path>, command: Command) -> Outcome {
    let admin = super::load_admin(config)?;
    let runtime = super::small_runtime()?;
    match command {
        Command::List { json } => runtime.block_on(list(config, admin, json)),
        Command::Renew { host, force } => {
            Ok(runtime.block_on(renew(admin, Wanted { host, force }))?)
        }
    }
}

async fn list(config: Option<&Path>, admin: Option<SocketAddr>, json: bool) -> Outcome {
    let (listing, note) = match ask::status(admin).await {
        Ok(status) => {
            let listing = Listing {
                running: true,
                certificates: status.certificates,
            };
            (listing, None)
        }
        Err(Silence::Other(error)) => return Err(error.into()),
        Err(silence) => {
            let kept = certificates::stored(&super::load(config)?);
            let listing = Listing {
                running: false,
                certificates: kept.into_iter().map(Certificate::from).collect(),
            };
            let why = match silence {
                Silence::NotRunning(address) => {
                    format!("not running: nobody listens at {address} (server.admin)")
                }
                _ => "server.admin is switched off, so a server cannot be asked".to_owned(),
            };
            (listing, Some(format!("{why}; this is what lies on disk")))
        }
    };
    if json {
        let json = serde_json::to_string_pretty(&listing).map_err(anyhow::Error::from)?;
        println!("{json}");
        return Ok(());
    }
    if let Some(note) = note {
        println!("{note}");
    }
    print!("{}", shown_as_table(&listing.certificates, listing.running));
    Ok(())
}

/// The table, and below it what is wrong, one line each.
pub(super) fn shown_as_table(certificates: &[Certificate], running: bool) -> String {
    if certificates.is_empty() {
        return "no certificates: tls.mode is \"off\"\n".to_owned();
    }
    let held = |held: &Option<Held>, none: &str| match held {
        Some(held) => format!("{} until {}", short(&held.serial), shown(held.not_after)),
        None => none.to_owned(),
    };
    let rows: Vec<_> = certificates
        .iter()
        .map(|certificate| {
            [
                certificate.names.join(","),
                certificate.source.clone(),
                held(&certificate.stored, "none"),
                held(
                    &certificate.served,
                    if running {
                        "not seen yet"
                    } else {
                        "not running"
                    },
                ),
                certificate.next_attempt.map(shown).unwrap_or_default(),
            ]
        })
        .collect();
    let titles = ["NAMES", "SOURCE", "STORED", "SERVED", "NEXT ATTEMPT"];
    let mut text = table(titles, &rows);
    for certificate in certificates {
        if let Some(error) = &certificate.last_error {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "! {}: {error}", certificate.names.join(","));
        }
    }
    text
}

/// The end of a serial number, enough to tell two from each other.
fn short(serial: &str) -> &str {
    serial
        .get(serial.len().saturating_sub(8)..)
        .unwrap_or(serial)
}

async fn renew(admin: Option<SocketAddr>, wanted: Wanted) -> anyhow::Result<()> {
    let (status, body) = ask::post(admin, renew::PATH, &wanted, PATIENCE).await?;
    let outcome: renew::Outcome = serde_json::from_slice(&body)
        .with_context(|| format!("{} answered {status}", renew::PATH))?;
    if status == StatusCode::OK || status == StatusCode::ACCEPTED {
        println!("{}", outcome.message);
        return Ok(());
    }
    Err(anyhow!(outcome.message))
}

impl From<Kept> for Certificate {
    fn from(kept: Kept) -> Self {
        Self {
            names: kept.names,
            source: kept.source.to_string(),
            issuer: kept.issuer,
            stored: kept.stored.map(Held::from),
            served: None,
            next_attempt: kept.next_attempt,
            last_error: kept.last_error,
            next_step: String::new(),
        }
    }
}
