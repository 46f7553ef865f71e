//! The commands. Each reads the configuration, does one thing, and says what went wrong in one line
//! that tells what to do.

mod ask;
mod backup;
mod certs;
mod check;
mod config;
mod database;
mod doctor;
mod hash_password;
mod healthcheck;
mod log_level;
mod migrate;
mod progress;
mod purge;
mod reload;
mod restore;
mod seed;
mod serve;
mod status;
mod table;
mod units;
mod upgrade;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Environment, Mask};
use crate::telemetry::{last_words, redacted, redacted_mistakes};

/// Bad configuration (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// One process in front of your app and around it: HTTPS, routing, static files, proxying, and the
/// app itself on PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "unibody", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    /// Configuration file [default: config.toml, which need not be there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  unibody                          serve as config.toml says
  unibody check                    report every mistake in config.toml
  unibody --config /etc/unibody.toml serve
  DATABASE_URL=postgres://notes@db/notes unibody";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything until SIGTERM or SIGINT (the default command)
    #[command(after_help = serve::HELP)]
    Serve(serve::Arguments),
    /// Report every mistake in the configuration and the files it names
    #[command(after_help = check::HELP)]
    Check(check::Arguments),
    /// Print the configuration in effect, secrets masked
    #[command(after_help = config::HELP)]
    Config,
    /// Apply the database migrations, or list them
    #[command(after_help = migrate::HELP)]
    Migrate(migrate::Arguments),
    /// Insert sample notes
    #[command(after_help = seed::HELP)]
    Seed(seed::Arguments),
    /// Write the database into a file, and prove that it can be restored
    #[command(after_help = backup::HELP, args_conflicts_with_subcommands = true)]
    Backup(backup::Arguments),
    /// Bring a backup back, all of it or nothing
    #[command(after_help = restore::HELP)]
    Restore(restore::Arguments),
    /// Show the certificates, as stored and as served, or get a new one
    #[command(subcommand, after_help = certs::HELP)]
    Certs(certs::Command),
    /// Print what the running server says of itself
    #[command(after_help = status::HELP)]
    Status(status::Arguments),
    /// Have the running server read its configuration again
    #[command(after_help = reload::HELP)]
    Reload,
    /// Have the running server forget cached answers
    #[command(after_help = purge::HELP)]
    Purge(purge::Arguments),
    /// Replace the running process with a new one, and fail no request
    #[command(after_help = upgrade::HELP)]
    Upgrade(upgrade::Arguments),
    /// Ask the running server how it is: exit status 0 when well, 1 when not
    #[command(after_help = healthcheck::HELP)]
    Healthcheck(healthcheck::Arguments),
    /// Tell what the running server logs, or have it log more for a while
    #[command(after_help = log_level::HELP)]
    LogLevel(log_level::Arguments),
    /// Print the hash of a password, for `basic_auth` of a route
    #[command(after_help = hash_password::HELP)]
    HashPassword,
    /// Look for what keeps the server from working here, each with its remedy
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::Arguments),
}

impl Default for Command {
    fn default() -> Self {
        Self::Serve(serve::Arguments::default())
    }
}

/// Why a command failed, as far as its exit status goes.
enum Failure {
    /// Bad configuration; every mistake, one line each.
    Config(String),
    Other(anyhow::Error),
    /// The command has said everything itself.
    Reported,
}

type Outcome = Result<(), Failure>;

/// Runs the command line of this process; returns its exit status.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    crate::certificates::install_crypto_provider();
    let config = cli.config.as_deref();
    let outcome = match cli.command.unwrap_or_default() {
        Command::Serve(arguments) => serve::run(config, &arguments),
        Command::Check(arguments) => check::run(config, &arguments),
        Command::Config => config::run(config),
        Command::Migrate(arguments) => migrate::run(config, &arguments),
        Command::Seed(arguments) => seed::run(config, &arguments),
        Command::Backup(arguments) => backup::run(config, &arguments),
        Command::Restore(arguments) => restore::run(config, &arguments),
        Command::Certs(command) => certs::run(config, command),
        Command::Status(arguments) => status::run(config, &arguments),
        Command::Reload => reload::run(config),
        Command::Purge(arguments) => purge::run(config, &arguments),
        Command::Upgrade(arguments) => upgrade::run(config, &arguments),
        Command::Healthcheck(arguments) => healthcheck::run(config, &arguments),
        Command::LogLevel(arguments) => log_level::run(config, &arguments),
        Command::HashPassword => hash_password::run(),
        Command::Doctor(arguments) => doctor::run(config, &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(mistakes)) => {
            last_words(&redacted_mistakes(&mistakes, &mask(config)));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Failure::Other(error)) => {
            let words = format!("unibody: {error:#}");
            last_words(&redacted(&words, &mask(config)));
            ExitCode::FAILURE
        }
        Err(Failure::Reported) => ExitCode::FAILURE,
    }
}

/// Reads the configuration: the file that was named, or the default one if it is there.
fn load(named: Option<&Path>) -> Result<Config, Failure> {
    crate::config::load_or_default(named, &Environment::process())
        .map_err(|mistakes| Failure::Config(mistakes.to_string()))
}

/// Where the running server is asked, whatever else is wrong with the file by now.
fn load_admin(named: Option<&Path>) -> Result<Option<SocketAddr>, Failure> {
    crate::config::load_admin(named, &Environment::process())
        .map_err(|mistakes| Failure::Config(mistakes.to_string()))
}

/// What must not be seen in what a command says at its end.
///
/// SECURITY: an error may quote the words of others: of a command of the user's, of a CA, of PostgreSQL.
fn mask(named: Option<&Path>) -> Mask {
    crate::config::load_mask(named, &Environment::process())
}

/// The runtime of commands that do one thing and end.
fn small_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// A terminal has this many columns unless told otherwise.
    const COLUMNS: usize = 80;

    fn assert_fits(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string);
        let mut follows_text = false;
        for line in help.unwrap_or_default().lines() {
            let is_example = line.starts_with("  ");
            assert!(!is_example || line.chars().count() <= COLUMNS, "{line}");
            let is_text = !is_example && !line.is_empty();
            assert!(!(is_text && follows_text), "broken by hand: {line}");
            follows_text = is_text;
        }
        command.get_subcommands().for_each(assert_fits);
    }

    #[test]
    fn help_is_wrapped_by_the_terminal_and_not_by_hand() {
        assert_fits(&Cli::command());
    }
}
