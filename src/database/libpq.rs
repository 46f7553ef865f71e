//! The database's URL as libpq's environment, for PostgreSQL's own programs.
//!
//! SECURITY: everything travels in variables, which only the same user can see; a command line is
//! everybody's to read.

use std::path::{Path, PathBuf};

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::config::Secret;
use crate::config::database_url::{Target, Verify};

/// Where systems keep the authorities they trust, for a libpq before 16, which can't ask for them.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The variables (see "Environment Variables" in libpq's manual) that lead a program of version
/// `major` to the database at `url`.
///
/// # Errors
/// A URL that can't be understood, or that asks for what libpq can't do.
pub(crate) fn environment(url: &Secret, major: u32) -> anyhow::Result<Vec<(&'static str, String)>> {
    let target = Target::parse(url)?;
    let config = &target.postgres;
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let ports = config.get_ports().iter().map(ToString::to_string);
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let joined = |parts: Vec<String>| (!parts.is_empty()).then(|| parts.join(","));
    let password = config.get_password().map(String::from_utf8_lossy);
    let attributes = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => Some("read-write"),
        TargetSessionAttrs::ReadOnly => Some("read-only"),
        _ => None,
    };
    let (mode, root) = tls(config.get_ssl_mode(), &target.verify, major)?;
    let variables = [
        ("PGHOST", joined(hosts.collect())),
        ("PGHOSTADDR", joined(addresses.collect())),
        ("PGPORT", joined(ports.collect())),
        ("PGUSER", config.get_user().map(str::to_owned)),
        // libpq's default is the user's name too.
        ("PGDATABASE", config.get_dbname().map(str::to_owned)),
        ("PGPASSWORD", password.map(String::from)),
        ("PGOPTIONS", config.get_options().map(str::to_owned)),
        ("PGTARGETSESSIONATTRS", attributes.map(str::to_owned)),
        ("PGSSLMODE", Some(mode.to_owned())),
        ("PGSSLROOTCERT", root),
        ("PGAPPNAME", Some("unibody backup".to_owned())),
        ("PGCONNECT_TIMEOUT", Some("10".to_owned())),
    ];
    Ok(variables
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect())
}

fn tls(
    mode: SslMode,
    verify: &Verify,
    major: u32,
) -> anyhow::Result<(&'static str, Option<String>)> {
    let shown = |path: &PathBuf| Some(path.display().to_string());
    Ok(match (mode, verify) {
        (SslMode::Disable, _) => ("disable", None),
        (_, Verify::Chain(root)) => ("verify-ca", shown(root)),
        (_, Verify::Full(Some(root))) => ("verify-full", shown(root)),
        (_, Verify::Full(None)) if major >= 16 => ("verify-full", Some("system".to_owned())),
        (_, Verify::Full(None)) => {
            let found = SYSTEM_ROOTS.iter().find(|file| Path::new(file).is_file());
            let found = found.ok_or_else(|| {
                anyhow::anyhow!(
                    "sslmode=verify-full: PostgreSQL {major}'s programs can't be told to use the \
                     system's certificates; name the file with sslrootcert=/path/to/ca.pem"
                )
            })?;
            ("verify-full", Some((*found).to_owned()))
        }
        (SslMode::Require, Verify::Nothing) => ("require", None),
        _ => ("prefer", None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_what_libpq_reads() {
        type Expected<'a> = &'a [(&'a str, Option<&'a str>)];
        let table: [(&str, Expected<'_>); 5] = [
            (
                "postgres://u:p%40ss@db.example:5433/notes?sslmode=require",
                &[
                    ("PGHOST", Some("db.example")),
                    ("PGPORT", Some("5433")),
                    ("PGUSER", Some("u")),
                    ("PGPASSWORD", Some("p@ss")),
                    ("PGDATABASE", Some("notes")),
                    ("PGSSLMODE", Some("require")),
                    ("PGSSLROOTCERT", None),
                ],
            ),
            (
                "postgres://u@%2Fvar%2Frun%2Fpostgresql/notes?sslmode=verify-full",
                &[
                    ("PGHOST", Some("/var/run/postgresql")),
                    ("PGPASSWORD", None),
                    ("PGSSLMODE", Some("disable")),
                ],
            ),
            (
                "postgres://u@a:1,b:2/notes?target_session_attrs=read-write",
                &[
                    ("PGHOST", Some("a,b")),
                    ("PGPORT", Some("1,2")),
                    ("PGTARGETSESSIONATTRS", Some("read-write")),
                    ("PGSSLMODE", Some("prefer")),
                ],
            ),
            (
                "postgres://u@h/n?sslmode=require&sslrootcert=/ca.pem",
                &[
                    ("PGSSLMODE", Some("verify-ca")),
                    ("PGSSLROOTCERT", Some("/ca.pem")),
                ],
            ),
            (
                "postgres://u@h/n?sslmode=verify-full&options=-c%20search_path%3Da",
                &[
                    ("PGSSLMODE", Some("verify-full")),
                    ("PGSSLROOTCERT", Some("system")),
                    ("PGOPTIONS", Some("-c search_path=a")),
                ],
            ),
        ];
        for (url, expected) in table {
            let variables = environment(&Secret::new(url.to_owned()), 16).unwrap();
            for (name, value) in expected {
                let found = variables.iter().find(|(known, _)| known == name);
                let found = found.map(|(_, value)| value.as_str());
                assert_eq!(found, *value, "{name} of {url}");
            }
        }
    }
}
