//! From a file into the transaction of a connection.
//!
//! `pg_restore` only reads the file and prints it as SQL, section by section; the connection and its
//! transaction are ours. So what was loaded can be compared with the manifest before it is committed,
//! and what is emptied for it is emptied in the same transaction.

use std::process::Stdio;

use anyhow::{Context as _, anyhow, bail};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio_postgres::{Client, CopyInSink};

use super::archive::Archive;
use super::figures::query_one;
use super::manifest::differences;
use super::programs::{Program, unless_closed};
use super::script::{Splitter, Step, statements};
use super::{Event, Told, dump, figures};
use crate::database::client_programs::ClientPrograms;
use crate::database::explain;

/// Bytes of rows that are sent at once.
const CHUNK: usize = 128 * 1024;

/// Rows between two reports.
const REPORT_EVERY: u64 = 10_000;

/// What of a dump is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Who owns what: everything belongs to the role that restores.
    Owners,
    /// That, and who may do what: roles that this server does not have.
    Privileges,
    /// All that reaches beyond the database: for one that is only looked at.
    Surroundings,
}

impl Leave {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Owners => &["--no-owner"],
            Self::Privileges => &["--no-owner", "--no-privileges"],
            Self::Surroundings => &[
                "--no-owner",
                "--no-privileges",
                "--no-publications",
                "--no-subscriptions",
                "--no-security-labels",
                "--no-tablespaces",
            ],
        }
    }
}

/// Loads all of `archive` in the transaction that `client` is in, and compares it with the manifest.
///
/// # Errors
/// What does not fit, or what PostgreSQL and `pg_restore` say. The transaction is of no use then.
pub(super) async fn load(
    client: &Client,
    programs: &ClientPrograms,
    mut archive: Archive,
    leave: Leave,
    told: &Told,
) -> anyhow::Result<Archive> {
    const TRANSACTION: &str = "SELECT pg_current_xact_id()";
    let server = dump::server_version(client).await?;
    let transaction = query_one(client, TRANSACTION).await?;
    let of = archive.manifest.as_ref().map(super::Manifest::rows);
    for section in ["pre-data", "data", "post-data"] {
        let (mut pg_restore, feeding) = print(programs, archive, &[section], leave)?;
        let output = pg_restore.child.stdout.take().context("no pipe")?;
        let loaded = if section == "data" {
            rows(client, output, server, of, told).await
        } else {
            whole(client, output, server).await
        };
        // What PostgreSQL refuses is told rather than that `pg_restore` had to stop for it.
        loaded.with_context(|| format!("PostgreSQL does not take the dump ({section})"))?;
        pg_restore.end().await?;
        let (back, fed) = feeding.await.context("reading the backup failed inside")?;
        fed?;
        archive = back;
    }
    if query_one(client, TRANSACTION).await? != transaction {
        return Err(Committed.into());
    }
    if let Some(manifest) = &archive.manifest {
        let found = figures::figures(client).await?;
        let wrong = differences(&manifest.tables, &found);
        if !wrong.is_empty() {
            bail!(
                "what was restored differs from what was dumped: {}",
                wrong.join("; ")
            );
        }
    }
    Ok(archive)
}

/// What was loaded can't be taken back.
#[derive(Debug, thiserror::Error)]
#[error(
    "the dump has a COMMIT in it, so it could not be restored in one transaction: what came before it is in the \
     database now, and what was there may be gone"
)]
pub(super) struct Committed;

/// Lets `pg_restore` read all of an archive that has no manifest to tell whether it is whole.
///
/// # Errors
/// What `pg_restore` says.
pub(super) async fn read_through(
    programs: &ClientPrograms,
    archive: Archive,
) -> anyhow::Result<Archive> {
    let (mut pg_restore, feeding) = print(programs, archive, &[], Leave::Owners)?;
    let mut output = pg_restore.child.stdout.take().context("no pipe")?;
    tokio::io::copy(&mut output, &mut tokio::io::sink()).await?;
    pg_restore.end().await?;
    let (archive, fed) = feeding.await.context("reading the backup failed inside")?;
    fed?;
    Ok(archive)
}

type Feeding = tokio::task::JoinHandle<(Archive, anyhow::Result<()>)>;

/// Starts `pg_restore`, and a thread that gives it the archive.
fn print(
    programs: &ClientPrograms,
    mut archive: Archive,
    sections: &[&str],
    leave: Leave,
) -> anyhow::Result<(Program, Feeding)> {
    let mut command = programs.command("pg_restore");
    command.args(["--file=-", "--exit-on-error"]);
    command.args(leave.options()).stdin(Stdio::piped());
    for section in sections {
        command.arg(format!("--section={section}"));
    }
    let mut pg_restore = Program::start("pg_restore", &mut command)?;
    let mut input = pg_restore.stdin_file()?;
    let feeding = tokio::task::spawn_blocking(move || {
        let fed = unless_closed(archive.copy_to(&mut input));
        (archive, fed)
    });
    Ok((pg_restore, feeding))
}

async fn whole(client: &Client, mut output: ChildStdout, server: u32) -> anyhow::Result<()> {
    let mut section = Vec::new();
    output.read_to_end(&mut section).await?;
    let section = String::from_utf8(section);
    let section = section
        .map_err(|_| anyhow!("the dump is not in UTF-8: make it with pg_dump --encoding=UTF8"))?;
    run(client, &statements(&section, server)).await
}

async fn rows(
    client: &Client,
    output: ChildStdout,
    server: u32,
    of: Option<u64>,
    told: &Told,
) -> anyhow::Result<()> {
    let mut lines = BufReader::with_capacity(CHUNK, output);
    let mut splitter = Splitter::new(server);
    let mut table: Option<Table> = None;
    let mut line = Vec::new();
    let mut done = 0;
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).await? == 0 {
            break;
        }
        match splitter.line(&line)? {
            Step::Wait => {}
            Step::Run(statements) => run(client, &statements).await?,
            Step::Copy { before, copy } => {
                run(client, &before).await?;
                let sink = client.copy_in(&copy).await.map_err(said)?;
                table = Some(Table {
                    sink: Box::pin(sink),
                    chunk: BytesMut::with_capacity(2 * CHUNK),
                });
            }
            Step::Row => {
                table
                    .as_mut()
                    .context("a row of no table")?
                    .row(&line)
                    .await?;
                done += 1;
                if done % REPORT_EVERY == 0 {
                    told(Event::Rows { done, of });
                }
            }
            Step::End => table.take().context("an end of no table")?.end().await?,
        }
    }
    told(Event::Rows { done, of });
    run(client, &splitter.finish()?).await
}

/// A table being filled.
struct Table {
    sink: std::pin::Pin<Box<CopyInSink<Bytes>>>,
    chunk: BytesMut,
}

impl Table {
    async fn row(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.chunk.extend_from_slice(line);
        if self.chunk.len() >= CHUNK {
            let chunk = self.chunk.split().freeze();
            self.sink.send(chunk).await.map_err(said)?;
        }
        Ok(())
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.sink.send(self.chunk.freeze()).await.map_err(said)?;
        self.sink.as_mut().finish().await.map_err(said)?;
        Ok(())
    }
}

async fn run(client: &Client, statements: &str) -> anyhow::Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    client.batch_execute(statements).await.map_err(said)
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn said(error: tokio_postgres::Error) -> anyhow::Error {
    anyhow!(explain(&error))
}
