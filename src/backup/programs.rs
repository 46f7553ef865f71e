//! `pg_dump` and `pg_restore` as child processes.

use std::fs::File;
use std::io;
use std::process::Stdio;

use anyhow::{Context as _, anyhow, bail};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

/// Most bytes of a child's complaints that are kept.
const WORDS: u64 = 8 * 1024;

/// A running program. Killed when dropped.
pub(super) struct Program {
    name: &'static str,
    pub(super) child: Child,
    complaints: JoinHandle<String>,
}

impl Program {
    pub(super) fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} can't be run"))?;
        // Just asked for.
        let stderr = child.stderr.take();
        Ok(Self {
            name,
            child,
            complaints: tokio::spawn(collect(stderr)),
        })
    }

    /// What the program prints, for a thread that reads it.
    pub(super) fn stdout_file(&mut self) -> anyhow::Result<File> {
        let stdout = self.child.stdout.take().context("no pipe")?;
        Ok(stdout.into_owned_fd().context("no pipe")?.into())
    }

    /// What the program reads, for a thread that writes it.
    pub(super) fn stdin_file(&mut self) -> anyhow::Result<File> {
        let stdin = self.child.stdin.take().context("no pipe")?;
        Ok(stdin.into_owned_fd().context("no pipe")?.into())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Its own words, when it failed.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        let status = self.child.wait().await.context("a program was lost")?;
        let words = (&mut self.complaints).await.unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let name = self.name;
        if words.is_empty() {
            bail!("{name} failed ({status})");
        }
        bail!("{}", one_line(name, &words))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.complaints.abort();
    }
}

/// A pipe that its reader has closed is no failure of the writer's: `pg_restore` reads no further
/// than it must, and whether it failed it says itself.
pub(super) fn unless_closed(written: io::Result<u64>) -> anyhow::Result<()> {
    match written {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(anyhow!("the backup can't be read ({error})")),
    }
}

async fn collect(stderr: Option<ChildStderr>) -> String {
    let Some(stderr) = stderr else {
        return String::new();
    };
    let mut words = Vec::new();
    let mut limited = stderr.take(WORDS);
    let _ = limited.read_to_end(&mut words).await;
    // Whoever can't say more would wait for ever.
    let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&words).into_owned()
}

/// The complaints of `name`, as the end of a message.
fn one_line(name: &str, words: &str) -> String {
    let lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let bare = lines.map(|line| {
        let line = line.strip_prefix(&format!("{name}: ")).unwrap_or(line);
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    });
    let lines: Vec<_> = bare.take(6).collect();
    let remedy = if words.contains("unsupported version") {
        "; it was made by a newer pg_dump: install newer client programs (postgresql-client)"
    } else {
        ""
    };
    format!("{name}: {}{remedy}", lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_fit_on_one_line() {
        let words = "pg_dump: error: connection failed\n\n\tIs the server running?\n";
        let expected = "pg_dump: connection failed; Is the server running?";
        assert_eq!(one_line("pg_dump", words), expected);
        let words = "pg_restore: error: unsupported version (1.16) in file header";
        assert!(one_line("pg_restore", words).contains("newer pg_dump"));
    }
}
