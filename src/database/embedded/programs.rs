//! Where PostgreSQL's programs are.
//!
//! `database.bin_dir` is the only place if it is set. Otherwise `PATH`, then where Debian, Fedora,
//! Homebrew and Postgres.app put them, newest version first: `postgres` and `initdb` are on nobody's
//! `PATH` by default.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Directories whose `*` stands for a version.
pub(in crate::database) const PLACES: [&str; 7] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql/bin",
    "/usr/libexec/postgresql*",
];

/// What to do where there are none.
const REMEDY: &str = "Install them (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install \
    postgresql-server; macOS: brew install postgresql@17), or name their place in \
    database.bin_dir, or use a server that already runs: \
    DATABASE_URL=postgres://user:password@host/database";

/// The programs of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    /// The directory.
    pub(super) bin: PathBuf,
    /// The major version, as in `PG_VERSION`.
    pub(super) major: u32,
}

impl Programs {
    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.bin.join(program)
    }

    /// The programs in `bin`, if they are there and start.
    fn in_directory(bin: &Path) -> Option<Self> {
        if !bin.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        Some(Self {
            bin: bin.to_owned(),
            major: major_version(&String::from_utf8_lossy(&output.stdout))?,
        })
    }
}

/// Every installation, the preferred one first; never empty.
///
/// # Errors
/// When there is none: names what to install, or what is wrong with `bin_dir`.
pub(super) fn find(bin_dir: Option<&Path>) -> anyhow::Result<Vec<Programs>> {
    if let Some(bin) = bin_dir {
        let programs = Programs::in_directory(bin).with_context(|| {
            format!(
                "database.bin_dir = {}: no working `postgres` and `initdb` there; on Debian it is \
                 /usr/lib/postgresql/VERSION/bin. {REMEDY}",
                bin.display()
            )
        })?;
        return Ok(vec![programs]);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(&candidates(&path, &PLACES))
}

/// What to do with a cluster of version `major` that none of `found` can open.
pub(super) fn wrong_version(cluster: &Path, major: u32, found: &[Programs]) -> String {
    let versions: Vec<_> = found
        .iter()
        .map(|programs| format!("{} in {}", programs.major, programs.bin.display()))
        .collect();
    format!(
        "{} was made by PostgreSQL {major}, but found is only {}. Install version {major} (Debian: \
         apt-get install postgresql-{major}), or set database.bin_dir to its programs; to move to \
         the newer version dump with {major} and restore, or use pg_upgrade (docs/database.md)",
        cluster.display(),
        versions.join(", ")
    )
}

fn find_in(directories: &[PathBuf]) -> anyhow::Result<Vec<Programs>> {
    let mut found: Vec<Programs> = Vec::new();
    for directory in directories {
        if found.iter().all(|known| known.bin != *directory) {
            found.extend(Programs::in_directory(directory));
        }
    }
    if found.is_empty() {
        bail!("no PostgreSQL server programs (postgres, initdb) found. {REMEDY}");
    }
    Ok(found)
}

/// `PATH`, then `places`.
pub(in crate::database) fn candidates(path: &OsStr, places: &[&str]) -> Vec<PathBuf> {
    let mut directories: Vec<_> = std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .collect();
    directories.extend(places.iter().flat_map(|place| expand(place)));
    directories
}

/// The directories that a place with at most one `*` stands for, highest version first.
fn expand(place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once('*') else {
        return vec![place.into()];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = leading_number(name.strip_prefix(prefix)?)?;
            Some((version, PathBuf::from(format!("{parent}/{name}{after}"))))
        })
        .collect();
    versions.sort_by(|one, other| other.cmp(one));
    versions
        .into_iter()
        .map(|(_, directory)| directory)
        .collect()
}

/// 15 of "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
pub(in crate::database) fn major_version(output: &str) -> Option<u32> {
    let (_, version) = output.split_once("(PostgreSQL) ")?;
    leading_number(version)
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_says() {
        let table = [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 17beta2\n", Some(17)),
            ("postgres (PostgreSQL) 18\n", Some(18)),
            ("postgres (EnterpriseDB) 15\n", None),
            ("", None),
        ];
        for (output, expected) in table {
            assert_eq!(major_version(output), expected, "{output}");
        }
    }

    #[test]
    fn the_highest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9.6", "17", "15", "common"] {
            std::fs::create_dir_all(root.path().join(version).join("bin")).unwrap();
        }
        let place = format!("{}/*/bin", root.path().display());
        let names: Vec<_> = expand(&place)
            .iter()
            .map(|bin| bin.strip_prefix(root.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["17/bin", "15/bin", "9.6/bin"]);
    }

    #[test]
    fn without_programs_the_error_says_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let message = find_in(&[empty.path().to_owned()]).unwrap_err().to_string();
        for remedy in [
            "apt-get install postgresql",
            "postgresql-server",
            "brew install postgresql@17",
            "DATABASE_URL",
        ] {
            assert!(message.contains(remedy), "{remedy}: {message}");
        }
        let message = find(Some(empty.path())).unwrap_err().to_string();
        assert!(message.contains("database.bin_dir"), "{message}");
    }

    #[test]
    fn what_is_installed_here_is_found() {
        let found = find(None).unwrap();
        assert!(
            found
                .iter()
                .all(|programs| programs.path("initdb").is_file())
        );
    }
}
