//! `database.url`, read as libpq reads it where tokio-postgres doesn't: `sslmode` and `sslrootcert`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::Secret;

/// Where the database is and how its certificate is checked.
#[derive(Debug)]
pub struct Target {
    /// How to connect.
    pub postgres: Config,
    /// What of its certificate is verified.
    pub verify: Verify,
}

/// What of the server's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: any certificate will do.
    Nothing,
    /// That it descends from a certificate in this file.
    Chain(PathBuf),
    /// That, or (without a file) that it descends from one the system trusts; and its name.
    Full(Option<PathBuf>),
}

impl Target {
    /// Reads a `postgres://` URL.
    ///
    /// # Errors
    /// What is wrong with it, without its password.
    pub fn parse(url: &Secret) -> anyhow::Result<Self> {
        let text = url.reveal().trim();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            bail!("database.url must begin with postgres:// or postgresql://");
        }
        let (rest, ours) = take_tls_parameters(text)?;
        let mut postgres: Config = rest.parse().map_err(|error| {
            // The parser names the option, never its value.
            anyhow::anyhow!(
                "database.url is not valid: {:#}; characters other than letters, digits, - . _ ~ in \
                 its parts must be percent-encoded (@ is %40)",
                anyhow::Error::new(error)
            )
        })?;
        if postgres.get_hosts().is_empty() && postgres.get_hostaddrs().is_empty() {
            bail!(
                "database.url names no host: write postgres://user:password@host/database, \
                 or …/database?host=/var/run/postgresql for a unix socket"
            );
        }
        let all_unix = postgres.get_hostaddrs().is_empty()
            && postgres
                .get_hosts()
                .iter()
                .all(|host| matches!(host, Host::Unix(_)));
        let (mode, verify) = if all_unix {
            // A socket has no TLS, and libpq ignores sslmode there.
            (SslMode::Disable, Verify::Nothing)
        } else {
            ours.decide()?
        };
        postgres.ssl_mode(mode);
        Ok(Self { postgres, verify })
    }
}

/// The parameters that tokio-postgres must not see.
#[derive(Debug, Default)]
struct TlsParameters {
    mode: Option<String>,
    root: Option<String>,
}

impl TlsParameters {
    /// The table of libpq's manual (section "SSL support"), with the system's certificates in the
    /// place of a missing `~/.postgresql/root.crt`.
    fn decide(self) -> anyhow::Result<(SslMode, Verify)> {
        let system = self.root.as_deref() == Some("system");
        let file = self.root.filter(|_| !system).map(PathBuf::from);
        let default = if system { "verify-full" } else { "prefer" };
        let mode = self.mode.as_deref().unwrap_or(default);
        Ok(match (mode, file) {
            // With the public authorities anybody can have a valid certificate: only the name tells.
            ("disable" | "prefer" | "require" | "verify-ca", _) if system => {
                bail!("database.url: sslrootcert=system needs sslmode=verify-full, not {mode}")
            }
            ("disable", _) => (SslMode::Disable, Verify::Nothing),
            ("prefer", _) => (SslMode::Prefer, Verify::Nothing),
            ("require", None) => (SslMode::Require, Verify::Nothing),
            // So that a file given is a file used: libpq does the same.
            ("require" | "verify-ca", Some(root)) => (SslMode::Require, Verify::Chain(root)),
            ("verify-ca", None) => {
                bail!("database.url: sslmode=verify-ca needs sslrootcert=/path/to/ca.pem")
            }
            ("verify-full", root) => (SslMode::Require, Verify::Full(root)),
            ("allow", _) => bail!("database.url: sslmode=allow is not supported; write prefer"),
            _ => bail!(
                "database.url: unknown sslmode; known are disable, prefer, require, verify-ca \
                 and verify-full"
            ),
        })
    }
}

/// Takes `sslmode` and `sslrootcert` out of the URL's parameters.
fn take_tls_parameters(url: &str) -> anyhow::Result<(String, TlsParameters)> {
    // As tokio-postgres does: everything before the first @ is user and password.
    let credentials_end = url.find('@').unwrap_or(0);
    let mut ours = TlsParameters::default();
    let Some(query) = url[credentials_end..].find('?') else {
        return Ok((url.to_owned(), ours));
    };
    let (base, query) = url.split_at(credentials_end + query);
    let mut rest = Vec::new();
    for pair in query[1..].split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match key {
            "sslmode" => &mut ours.mode,
            "sslrootcert" => &mut ours.root,
            _ => {
                rest.push(pair);
                continue;
            }
        };
        let value = percent_decode_str(value)
            .decode_utf8()
            .with_context(|| format!("database.url: {key} is not UTF-8"))?;
        *slot = Some(value.into_owned());
    }
    let separator = if rest.is_empty() { "" } else { "?" };
    Ok((format!("{base}{separator}{}", rest.join("&")), ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> anyhow::Result<Target> {
        Target::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn sslmode_means_what_it_means_to_libpq() {
        let root = || PathBuf::from("/etc/ca.pem");
        let table = [
            ("", SslMode::Prefer, Verify::Nothing, "libpq's default"),
            ("sslmode=disable", SslMode::Disable, Verify::Nothing, ""),
            ("sslmode=prefer", SslMode::Prefer, Verify::Nothing, ""),
            (
                "sslmode=require",
                SslMode::Require,
                Verify::Nothing,
                "encrypts, verifies nothing",
            ),
            (
                "sslmode=require&sslrootcert=%2Fetc%2Fca.pem",
                SslMode::Require,
                Verify::Chain(root()),
                "a root makes require verify",
            ),
            (
                "sslmode=verify-ca&sslrootcert=/etc/ca.pem",
                SslMode::Require,
                Verify::Chain(root()),
                "",
            ),
            (
                "application_name=x&sslmode=verify-full&sslrootcert=/etc/ca.pem",
                SslMode::Require,
                Verify::Full(Some(root())),
                "among other parameters",
            ),
            (
                "sslmode=verify-full",
                SslMode::Require,
                Verify::Full(None),
                "the system's roots",
            ),
            (
                "sslrootcert=system",
                SslMode::Require,
                Verify::Full(None),
                "as libpq 16",
            ),
        ];
        for (query, mode, verify, why) in table {
            let target = parse(&format!("postgres://u:p@db.example/notes?{query}")).unwrap();
            assert_eq!(target.postgres.get_ssl_mode(), mode, "{query} {why}");
            assert_eq!(target.verify, verify, "{query} {why}");
            assert_eq!(target.postgres.get_dbname(), Some("notes"), "{query}");
        }
    }

    #[test]
    fn a_unix_socket_has_no_tls() {
        for url in [
            "postgres://u:p@%2Fvar%2Frun%2Fpostgresql/notes?sslmode=verify-full",
            "postgresql:///notes?user=u&host=/var/run/postgresql",
        ] {
            let target = parse(url).unwrap();
            assert_eq!(target.postgres.get_ssl_mode(), SslMode::Disable, "{url}");
        }
    }

    #[test]
    fn several_hosts_pass_through() {
        let target = parse("postgres://u:p@a:1,b:2/notes?target_session_attrs=read-write").unwrap();
        assert_eq!(target.postgres.get_hosts().len(), 2);
        assert_eq!(target.postgres.get_ports(), [1, 2]);
    }

    #[test]
    fn mistakes_are_named_without_the_password() {
        let table = [
            ("mysql://u:s3cret@h/d", "postgres://"),
            ("host=h password=s3cret", "postgres://"),
            ("postgres://u:s3cret@h/d?sslmode=maybe", "unknown sslmode"),
            ("postgres://u:s3cret@h/d?sslmode=allow", "prefer"),
            ("postgres://u:s3cret@h/d?sslmode=verify-ca", "sslrootcert"),
            (
                "postgres://u:s3cret@h/d?sslmode=require&sslrootcert=system",
                "verify-full",
            ),
            ("postgres://u:s3cret@h:x/d", "port"),
            ("postgres://u:s3cret@h/d?colour=blue", "colour"),
            ("postgres://u:s3cret@/d", "names no host"),
            ("postgres:///d?password=s3cret", "names no host"),
        ];
        for (url, expected) in table {
            let message = format!("{:#}", parse(url).unwrap_err());
            assert!(message.contains(expected), "{url}: {message}");
            assert!(!message.contains("s3cret"), "{url}: {message}");
        }
    }
}
