//! PostgreSQL's client programs, `pg_dump` and `pg_restore`: where they are and which version fits.
//!
//! `pg_dump` refuses a server newer than itself, and an archive can be read by a `pg_restore` that is
//! at least as new as the `pg_dump` that made it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::anyhow;

use super::embedded::{PLACES, candidates, major_version};

/// `pg_dump` and `pg_restore` of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientPrograms {
    bin: PathBuf,
    /// The major version.
    pub(crate) major: u32,
}

impl ClientPrograms {
    /// Those that fit a server of version `server` best: of the same version, else the next one.
    ///
    /// # Errors
    /// What to install: there are none, or none that is new enough.
    pub(crate) fn for_server(bin_dir: Option<&Path>, server: u32) -> anyhow::Result<Self> {
        choose(found(bin_dir), server).map_err(|found| missing(bin_dir, &found, Some(server)))
    }

    /// The newest, which reads every archive that any of them has made.
    ///
    /// # Errors
    /// What to install: there are none.
    pub(crate) fn newest(bin_dir: Option<&Path>) -> anyhow::Result<Self> {
        let newest = found(bin_dir)
            .into_iter()
            .max_by_key(|programs| programs.major);
        newest.ok_or_else(|| missing(bin_dir, &[], None))
    }

    /// A command that inherits nothing of libpq's environment, runs in a process group of its own (a
    /// terminal's Ctrl-C is ours to handle), and dies with whoever waits for it.
    pub(crate) fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.bin.join(program));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn in_directory(bin: &Path) -> Option<Self> {
        if !bin.join("pg_restore").is_file() {
            return None;
        }
        let output = Command::new(bin.join("pg_dump"))
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        Some(Self {
            bin: bin.to_owned(),
            major: major_version(&String::from_utf8_lossy(&output.stdout))?,
        })
    }
}

fn found(bin_dir: Option<&Path>) -> Vec<ClientPrograms> {
    let directories = match bin_dir {
        Some(bin) => vec![bin.to_owned()],
        None => candidates(&std::env::var_os("PATH").unwrap_or_default(), &PLACES),
    };
    let programs = directories
        .iter()
        .filter_map(|bin| ClientPrograms::in_directory(bin));
    programs.collect()
}

/// The oldest of those that are new enough; otherwise what there was.
fn choose(found: Vec<ClientPrograms>, server: u32) -> Result<ClientPrograms, Vec<ClientPrograms>> {
    let fitting = found.iter().filter(|programs| programs.major >= server);
    match fitting.min_by_key(|programs| programs.major).cloned() {
        Some(programs) => Ok(programs),
        None => Err(found),
    }
}

fn missing(bin_dir: Option<&Path>, found: &[ClientPrograms], server: Option<u32>) -> anyhow::Error {
    let place = match bin_dir {
        Some(bin) => format!(" in database.bin_dir = {}", bin.display()),
        None => String::new(),
    };
    let there = match found.iter().map(|programs| programs.major).max() {
        Some(newest) => format!("pg_dump{place} is of version {newest}"),
        None => format!("no pg_dump and pg_restore{place}"),
    };
    let needed = server.map_or_else(String::new, |server| {
        format!(" (the server is version {server}; older ones refuse it)")
    });
    let version = server.map_or_else(|| "17".to_owned(), |server| server.to_string());
    anyhow!(
        "{there}{needed}: install PostgreSQL's client programs, version {version} or newer (Debian, \
         Ubuntu: apt-get install postgresql-client-{version}, if need be from apt.postgresql.org; \
         Fedora: dnf install postgresql; Alpine: apk add postgresql{version}-client; macOS: brew \
         install postgresql@{version}), or name their place in database.bin_dir"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(major: u32) -> ClientPrograms {
        ClientPrograms {
            bin: format!("/{major}").into(),
            major,
        }
    }

    #[test]
    fn the_nearest_version_that_the_server_takes_is_chosen() {
        let table: [(&[u32], u32, Option<u32>, &str); 5] = [
            (&[17, 15, 13], 15, Some(15), "the server's own"),
            (&[17, 16, 13], 15, Some(16), "else the next newer"),
            (&[14, 13], 15, None, "pg_dump refuses a newer server"),
            (&[], 15, None, "none at all"),
            (&[15], 15, Some(15), "the only one"),
        ];
        for (there, server, expected, why) in table {
            let found = there.iter().copied().map(programs).collect();
            let chosen = choose(found, server).ok().map(|programs| programs.major);
            assert_eq!(chosen, expected, "{why}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let empty = tempfile::tempdir().unwrap();
        let error = ClientPrograms::for_server(Some(empty.path()), 16).unwrap_err();
        for part in [
            "database.bin_dir",
            "server is version 16",
            "postgresql-client-16",
            "dnf install postgresql",
        ] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        let message = missing(None, &[programs(13)], Some(15)).to_string();
        assert!(message.contains("pg_dump is of version 13"), "{message}");
    }
}
