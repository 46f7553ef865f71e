//! `unibody backup`: the database into a file that was restored once already.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use anyhow::{Context as _, anyhow, bail};
use console::Term;
use indicatif::{DecimalBytes, HumanCount};
use tokio::sync::watch;

use super::database::{self, Opened};
use super::progress::{Progress, interruption, shown_time};
use super::{Failure, Outcome};
use crate::backup::keys::{Key, Lock, Protection, read_passphrase};
use crate::backup::{self, Made, Source, Told, Wanted};
use crate::config::{Config, Destination};

pub(super) const HELP: &str = "\
The file is what pg_restore reads (or age -d FILE | pg_restore). It gets its name only after it was \
restored into a scratch database and every table had the same rows there. It must not exist before. \
Without FILE a backup is made now as [backup] of the configuration says.

Examples:
  unibody backup notes.dump
  unibody backup --age-recipient age1… notes.dump.age
  unibody backup --passphrase notes.dump.age
  unibody backup - | aws s3 cp - s3://bucket/notes.dump
  unibody backup rehearse                    the newest in backup.directory
  unibody backup rehearse --identity key.txt notes.dump.age";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where to; - is standard output
    file: Option<PathBuf>,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
    /// Encrypt for the owner of this public key, age1…; may be given again
    #[arg(long, value_name = "KEY", conflicts_with_all = ["passphrase", "passphrase_file"])]
    age_recipient: Vec<String>,
    /// Encrypt with a passphrase that is asked for
    #[arg(long, conflicts_with = "passphrase_file")]
    passphrase: bool,
    /// Encrypt with the passphrase on the first line of this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Don't restore it into a scratch database; it is still read again
    #[arg(long)]
    no_verify: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Restore a backup into a scratch database, compare, and say how long that takes
    Rehearse {
        /// The backup; without it the newest in backup.directory
        file: Option<PathBuf>,
        #[command(flatten)]
        unlock: Unlock,
    },
}

/// How an encrypted backup is opened.
#[derive(Debug, clap::Args)]
pub(super) struct Unlock {
    /// File with the secret key that opens it, AGE-SECRET-KEY-1…
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// File with the passphrase that opens it; without it a terminal is asked
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let config = database::load(config)?;
    super::small_runtime()?.block_on(async {
        let done = match &arguments.command {
            Some(Command::Rehearse { file, unlock }) => {
                rehearse(&config, file.as_deref(), unlock).await
            }
            None => make(&config, arguments).await,
        };
        done.map_err(Failure::Other)
    })
}

async fn make(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let lock = lock(arguments)?;
    let mut stop = interruption()?;
    let Some(file) = &arguments.file else {
        return now(config, arguments, &lock, &mut stop).await;
    };
    if file.as_os_str() == "-" && io::stdout().is_terminal() {
        bail!("a backup is no text for a terminal; redirect it, or name a file");
    }
    if !arguments.force && file.as_os_str() != "-" && file.symlink_metadata().is_ok() {
        bail!(
            "{} exists: choose another name, or --force to replace it",
            file.display()
        );
    }
    let wanted = Wanted {
        lock,
        verify: !arguments.no_verify,
    };
    let progress = Progress::new();
    let made = with_database(config, async |source| {
        let told = progress.told();
        if file.as_os_str() == "-" {
            let deliver = async |file| backup::to_stdout(file);
            backup::to_elsewhere(&source, &wanted, &told, &mut stop, deliver).await
        } else {
            backup::to_file(&source, file, arguments.force, &wanted, &told, &mut stop).await
        }
    })
    .await;
    progress.finish();
    say(&made?, &file.display().to_string());
    Ok(())
}

/// As the schedule would.
async fn now(
    config: &Config,
    arguments: &Arguments,
    lock: &Lock,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let settings = config.backup.as_ref().context(
        "name a file: unibody backup notes.dump (without one, [backup] of the configuration says where to)",
    )?;
    if lock.is_closed() || arguments.no_verify || arguments.force {
        bail!("options are for a named FILE; without one [backup] of the configuration says how");
    }
    let progress = Progress::new();
    let told = progress.told();
    let made = with_database(config, async |source| {
        backup::make_now(&source, settings, &told, stop).await
    })
    .await;
    progress.finish();
    let kept = made?;
    say(&kept.made, &kept.name);
    if let Some(error) = kept.unrecorded {
        eprintln!(
            "unibody: {error:#}; so the server does not know of it, and makes another when one is due"
        );
    }
    Ok(())
}

fn say(made: &Made, name: &str) {
    let manifest = &made.manifest;
    let verified = match made.restored_in {
        Some(took) => format!("restored for a look in {}", shown_time(took)),
        None => "not restored for a look (--no-verify)".to_owned(),
    };
    eprintln!(
        "{name}: {}, {} rows in {} tables, {verified}",
        DecimalBytes(made.bytes),
        HumanCount(manifest.rows()),
        manifest.tables.len(),
    );
}

async fn rehearse(config: &Config, file: Option<&Path>, unlock: &Unlock) -> anyhow::Result<()> {
    let file = match (
        file,
        config.backup.as_ref().map(|backup| &backup.destination),
    ) {
        (Some(file), _) => file.to_owned(),
        (None, Some(Destination::Directory(directory))) => backup::newest(directory)?,
        (None, _) => bail!("name a file: unibody backup rehearse notes.dump"),
    };
    let key = unlock.key(&file)?;
    let mut stop = interruption()?;
    let progress = Progress::new();
    let told: Told = progress.told();
    let rehearsed = with_database(config, async |source: Source| {
        backup::rehearse(&source, &file, key, &told, &mut stop).await
    })
    .await;
    progress.finish();
    let rehearsed = rehearsed?;
    let shown = file.display();
    let took = shown_time(rehearsed.took);
    match rehearsed.manifest {
        Some(manifest) => println!(
            "{shown}: restored in {took}, {} rows in {} tables as they were at {}",
            HumanCount(manifest.rows()),
            manifest.tables.len(),
            crate::admin::status::shown(manifest.taken),
        ),
        None => println!(
            "{shown}: restored in {took}; it was made by pg_dump alone and says nothing of its contents, \
             so they could not be compared"
        ),
    }
    Ok(())
}

/// Does `work` with the database, which is started for it if need be.
pub(super) async fn with_database<T>(
    config: &Config,
    work: impl AsyncFnOnce(Source) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let opened = Opened::open(config).await?;
    let done = work(Source::of(&opened.database)).await;
    opened.close().await;
    done
}

fn lock(arguments: &Arguments) -> anyhow::Result<Lock> {
    if let Some(file) = &arguments.passphrase_file {
        return Ok(Lock::Passphrase(read_passphrase(file)?));
    }
    if !arguments.passphrase {
        return Lock::for_recipients(&arguments.age_recipient);
    }
    let passphrase = ask("Passphrase: ")?;
    if ask("Once more: ")? != passphrase {
        bail!("the two passphrases differ; nothing was written");
    }
    Ok(Lock::Passphrase(SecretString::from(passphrase)))
}

impl Unlock {
    /// What opens the backup at `path`.
    pub(super) fn key(&self, path: &Path) -> anyhow::Result<Key> {
        let protection = backup::protection_of(path)?;
        if protection == Protection::None {
            return Ok(Key::None);
        }
        if let Some(file) = &self.identity {
            return Key::read(file);
        }
        if let Some(file) = &self.passphrase_file {
            return Ok(Key::Passphrase(read_passphrase(file)?));
        }
        if protection == Protection::Passphrase && io::stdin().is_terminal() {
            return Ok(Key::Passphrase(SecretString::from(ask("Passphrase: ")?)));
        }
        let option = match protection {
            Protection::Passphrase => "--passphrase-file",
            _ => "--identity",
        };
        Err(anyhow!(
            "{} is encrypted: give {option} FILE",
            path.display()
        ))
    }
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the passphrase; use --passphrase-file FILE");
    }
    let terminal = Term::stderr();
    let answered = terminal
        .write_str(prompt)
        .and_then(|()| terminal.read_secure_line());
    let passphrase = answered.context("cannot read the passphrase from the terminal")?;
    if passphrase.is_empty() {
        bail!("the passphrase is empty");
    }
    Ok(passphrase)
}
