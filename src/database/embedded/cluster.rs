//! The cluster on disk: made once, checked at each start, never overwritten.
//!
//! In the data directory lie, all ours but the first:
//!
//! | name | is |
//! |---|---|
//! | `postgres/` | the cluster, owned by the user that runs it |
//! | `postgres.new/` | a cluster being made; what an interruption leaves is removed |
//! | `postgres.conf` | our settings, written at each start |
//! | `postgres.password` | of both roles, mode 0600 |
//! | `postgres.log`, `.1` | what the server says |
//! | `postgres.lock` | held while a unibody uses the directory |
//! | `postgres.socket/` | where the server listens |

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use tracing::info;

use super::lock::{LOCK, lock, sign};
use super::owner::Owner;
use super::programs::{self, Programs};
use super::{files, socket};
use crate::config::Secret;

/// The role that made the cluster; only unibody itself uses it.
pub(super) const SUPERUSER: &str = "postgres";

/// The role and the database of the app.
pub(super) const APP: &str = "unibody";

/// Tried in this order: macOS before 15 and some containers lack the first.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// A cluster that can be started.
#[derive(Debug)]
pub(super) struct Cluster {
    /// `data_dir/postgres`, absolute.
    pub(super) directory: PathBuf,
    /// `data_dir/postgres.conf`.
    pub(super) settings: PathBuf,
    /// Whether the settings differ from those of the last start.
    pub(super) settings_changed: bool,
    /// `data_dir/postgres.log`.
    pub(super) log: PathBuf,
    /// Where the server listens.
    pub(super) socket: PathBuf,
    pub(super) password: Secret,
    pub(super) owner: Owner,
    pub(super) programs: Programs,
    /// `data_dir/postgres.lock`. Held as long as this value lives, or another process has it too.
    pub(super) lock: File,
}

impl Cluster {
    /// Finds or makes the cluster in `data_dir`. Blocks for as long as `initdb` takes.
    pub(super) fn prepare(data_dir: &Path, bin_dir: Option<&Path>) -> anyhow::Result<Self> {
        let data_dir = &make_data_dir(data_dir)?;
        let lock = lock(&data_dir.join(LOCK))?;
        Self::locked(data_dir, bin_dir, lock)
    }

    /// Finds the cluster in `data_dir`, with the lock that another process has taken and shares.
    pub(super) fn share(
        data_dir: &Path,
        bin_dir: Option<&Path>,
        lock: File,
    ) -> anyhow::Result<Self> {
        Self::locked(&make_data_dir(data_dir)?, bin_dir, lock)
    }

    /// Names this process as the one to turn to.
    pub(super) fn sign(&self) -> io::Result<()> {
        sign(&self.lock)
    }

    fn locked(data_dir: &Path, bin_dir: Option<&Path>, lock: File) -> anyhow::Result<Self> {
        let directory = data_dir.join("postgres");
        let owner = Owner::decide(data_dir, &directory)?;
        owner.check_reach(data_dir)?;
        let found = programs::find(bin_dir)?;
        let major = version(&directory)?;
        let programs = choose(&directory, major, &found)?;
        let password = password(&data_dir.join("postgres.password"), major.is_some())?;
        if major.is_none() {
            initialize(data_dir, &directory, &owner, &programs, &password)?;
        }
        let socket = socket::directory(data_dir, &owner)?;
        let settings = data_dir.join("postgres.conf");
        let settings_changed = files::replace(&settings, &settings_for(&directory, &socket), 0o644)
            .with_context(|| format!("{} can't be written", settings.display()))?;
        Ok(Self {
            log: data_dir.join("postgres.log"),
            directory,
            settings,
            settings_changed,
            socket,
            password,
            owner,
            programs,
            lock,
        })
    }

    /// The major version of the programs.
    pub(super) fn major(&self) -> u32 {
        self.programs.major
    }
}

/// A command that runs as `owner` and inherits none of our environment, where `PGDATA`, `PGPORT`
/// and their like would mislead it, and no working directory that the owner can't enter.
pub(super) fn command(programs: &Programs, program: &str, owner: &Owner) -> Command {
    let mut command = Command::new(programs.path(program));
    command
        .env_clear()
        .env("PATH", &programs.bin)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null());
    owner.run(&mut command);
    command
}

fn make_data_dir(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let shown = data_dir.display();
    // Made by root, it must let the cluster's owner through.
    let mode = if nix::unistd::Uid::effective().is_root() {
        0o711
    } else {
        0o700
    };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(data_dir)
        .with_context(|| format!("server.data_dir {shown} can't be made"))?;
    let absolute = data_dir
        .canonicalize()
        .with_context(|| format!("server.data_dir {shown} can't be entered"))?;
    // It stands in PostgreSQL's configuration and in a URL.
    let plain = absolute
        .to_str()
        .is_some_and(|path| !path.contains(['\n', '\'', '\\', ',', '"']));
    if !plain {
        bail!(
            "server.data_dir {shown}: quotes, commas, backslashes and bytes that are not UTF-8 are not \
             supported; choose another path"
        );
    }
    Ok(absolute)
}

/// The major version of the cluster in `directory`; `None` when there is none yet.
fn version(directory: &Path) -> anyhow::Result<Option<u32>> {
    let shown = directory.display();
    match files::read(&directory.join("PG_VERSION")) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .with_context(|| format!("{shown}/PG_VERSION says {:?}", text.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Removes an empty directory and nothing else.
            match fs::remove_dir(directory) {
                Ok(()) => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).with_context(|| {
                    format!(
                        "{shown} exists but is not a PostgreSQL cluster (no PG_VERSION): move it \
                         away, or choose another server.data_dir"
                    )
                }),
            }
        }
        Err(error) => Err(error).with_context(|| format!("{shown}/PG_VERSION can't be read")),
    }
}

fn choose(directory: &Path, major: Option<u32>, found: &[Programs]) -> anyhow::Result<Programs> {
    let fitting = match major {
        None => found.first(),
        Some(major) => found.iter().find(|programs| programs.major == major),
    };
    match (fitting, major) {
        (Some(programs), _) => Ok(programs.clone()),
        (None, Some(major)) => bail!(programs::wrong_version(directory, major, found)),
        (None, None) => bail!("no PostgreSQL programs found"),
    }
}

/// The password of the cluster's roles; made before the first cluster, so that an interruption
/// leaves a cluster with a password or none of both.
fn password(path: &Path, cluster_exists: bool) -> anyhow::Result<Secret> {
    let shown = path.display();
    match files::read(path) {
        Ok(text) if text.len() == 32 => Ok(Secret::new(text)),
        Ok(_) if cluster_exists => bail!("{shown} is damaged: restore it from a backup"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && cluster_exists => {
            bail!("{shown} is missing: restore it from the backup that the cluster came from")
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{shown} can't be read"))
        }
        _ => {
            let mut random = [0; 16];
            rustls::crypto::ring::default_provider()
                .secure_random
                .fill(&mut random)
                .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
            let text = format!("{:032x}", u128::from_be_bytes(random));
            files::replace(path, &text, 0o600)
                .with_context(|| format!("{shown} can't be written"))?;
            Ok(Secret::new(text))
        }
    }
}

/// Makes the cluster aside and moves it into place when it is whole.
fn initialize(
    data_dir: &Path,
    directory: &Path,
    owner: &Owner,
    programs: &Programs,
    password: &Secret,
) -> anyhow::Result<()> {
    let staging = data_dir.join("postgres.new");
    if staging.symlink_metadata().is_ok() {
        info!(
            "removing {}, left by an interrupted start",
            staging.display()
        );
        fs::remove_dir_all(&staging)
            .with_context(|| format!("{} can't be removed", staging.display()))?;
    }
    info!(
        "making a PostgreSQL {} cluster in {}",
        programs.major,
        directory.display()
    );
    let prepare = || -> io::Result<PathBuf> {
        DirBuilder::new().mode(0o700).create(&staging)?;
        let file = staging.join("password");
        files::create(&file, password.reveal(), 0o600)?;
        owner.give(&file)?;
        owner.give(&staging)?;
        Ok(file)
    };
    let password_file =
        prepare().with_context(|| format!("{} can't be made", staging.display()))?;
    let made = staging.join("cluster");
    initdb(programs, owner, &made, &password_file)?;
    let install = || -> io::Result<()> {
        fs::rename(&made, directory)?;
        files::sync_parent(directory)?;
        fs::remove_dir_all(&staging)
    };
    install().with_context(|| format!("{} can't be moved into place", made.display()))
}

fn initdb(
    programs: &Programs,
    owner: &Owner,
    directory: &Path,
    password_file: &Path,
) -> anyhow::Result<()> {
    let mut complaint = String::new();
    for locale in LOCALES {
        let output = command(programs, "initdb", owner)
            .arg("--pgdata")
            .arg(directory)
            .arg("--pwfile")
            .arg(password_file)
            .args(["--username", SUPERUSER, "--auth=scram-sha-256"])
            .args(["--data-checksums", "--encoding=UTF8", "--locale", locale])
            .output()
            .with_context(|| format!("{} can't be run", programs.path("initdb").display()))?;
        if output.status.success() {
            return Ok(());
        }
        complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        if !complaint.contains("locale") {
            break;
        }
    }
    bail!("initdb failed: {}", complaint.trim().replace('\n', "; "))
}

/// Our settings. Those of the cluster's own `postgresql.conf` come before them, those of
/// `ALTER SYSTEM` (postgresql.auto.conf) after, so the owner has the last word.
fn settings_for(directory: &Path, socket: &Path) -> String {
    format!(
        "# Written by unibody at each start: change settings with ALTER SYSTEM instead.
include_if_exists = '{directory}/postgresql.conf'

cluster_name = 'unibody'
listen_addresses = ''
port = 5432
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = 100

# What was acknowledged is on the disk.
fsync = on
full_page_writes = on
synchronous_commit = on

shared_buffers = '128MB'
max_wal_size = '512MB'
# Compiling a query takes longer than any query of an app like this one.
jit = off

timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
logging_collector = off
log_destination = 'stderr'
log_min_messages = warning
log_checkpoints = off
log_line_prefix = '%m [%p] '
",
        directory = directory.display(),
        socket = socket.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(major: u32) -> Programs {
        Programs {
            bin: format!("/usr/lib/postgresql/{major}/bin").into(),
            major,
        }
    }

    #[test]
    fn the_programs_that_made_the_cluster_are_chosen() {
        let found = [programs(17), programs(15)];
        let at = Path::new("/data/postgres");
        assert_eq!(
            choose(at, None, &found).unwrap().major,
            17,
            "the newest at first"
        );
        assert_eq!(choose(at, Some(15), &found).unwrap().major, 15);
        let message = choose(at, Some(14), &found).unwrap_err().to_string();
        for part in [
            "made by PostgreSQL 14",
            "postgresql-14",
            "dump",
            "pg_upgrade",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn what_is_no_cluster_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("postgres");
        assert_eq!(version(&directory).unwrap(), None, "absent");
        fs::create_dir(&directory).unwrap();
        assert_eq!(version(&directory).unwrap(), None, "empty");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("letter.txt"), "dear").unwrap();
        let message = version(&directory).unwrap_err().to_string();
        assert!(message.contains("not a PostgreSQL cluster"), "{message}");
        assert!(directory.join("letter.txt").exists());
    }

    #[test]
    fn a_cluster_without_its_password_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("postgres.password");
        let message = password(&path, true).unwrap_err().to_string();
        assert!(message.contains("missing"), "{message}");
        let made = password(&path, false).unwrap();
        assert_eq!(password(&path, true).unwrap(), made, "kept");
    }

    #[test]
    fn a_second_unibody_is_kept_out() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("postgres.lock");
        let held = lock(&path).unwrap();
        let message = lock(&path).unwrap_err().to_string();
        assert!(
            message.contains(&std::process::id().to_string()),
            "{message}"
        );
        drop(held);
        lock(&path).unwrap();
    }
}
