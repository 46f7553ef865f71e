//! From the database to a file: `pg_dump` and the manifest see the same snapshot.
//!
//! A transaction of ours exports its snapshot, `pg_dump` imports it, and while that writes, ours counts
//! and hashes. So whatever is written meanwhile is in neither.

use std::fs::File;
use std::io::{self, Read, Write as _};

use anyhow::Context as _;
use time::OffsetDateTime;

use super::archive::Writer;
use super::figures::{figures, query, query_one, schema_version};
use super::keys::Sealer;
use super::manifest::Manifest;
use super::programs::Program;
use super::{Event, Source, Told};
use crate::database::client_programs::ClientPrograms;
use crate::database::{NO_TIME_LIMIT, libpq};

/// How long `pg_dump` waits for a table that a migration holds.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";

/// Bytes between two reports.
const REPORT_EVERY: u64 = 1024 * 1024;

/// The transaction.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Dumps the database into `file`, which is on the disk afterwards.
///
/// # Errors
/// What PostgreSQL, `pg_dump` or the file system say, or what to install.
pub(super) async fn dump(
    source: &Source,
    file: File,
    sealer: Option<Sealer>,
    told: &Told,
) -> anyhow::Result<Manifest> {
    let session = source.database.alone().await?;
    let client = &session.client;
    let server = server_version(client).await?;
    let programs = ClientPrograms::for_server(source.settings.bin_dir.as_deref(), server)?;
    query(client, &format!("{BEGIN}; {NO_TIME_LIMIT}"))
        .await
        .context("no transaction could be started")?;
    let taken = OffsetDateTime::now_utc();
    let snapshot = query_one(client, "SELECT pg_export_snapshot()")
        .await
        .context("the database gives no snapshot")?;
    let schema_version = schema_version(client).await?;

    let mut command = programs.command("pg_dump");
    command
        .args(["--format=custom", "--encoding=UTF8", "--no-password"])
        .arg(LOCK_WAIT)
        .arg(format!("--snapshot={snapshot}"))
        .envs(libpq::environment(&source.url, programs.major)?);
    let mut pg_dump = Program::start("pg_dump", &mut command)?;
    let output = pg_dump.stdout_file()?;
    let told = told.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = Writer::new(file, sealer)?;
        copy(output, &mut writer, &told)?;
        io::Result::Ok(writer)
    });
    let writing = async {
        let written = writing.await.context("writing the backup failed inside")?;
        written.context("the backup can't be written")
    };
    let reading = async { figures(client).await.context("the tables can't be counted") };
    // A disk that is full makes `pg_dump` complain of a broken pipe: the cause is told first.
    let (writer, tables) = tokio::try_join!(writing, reading)?;
    pg_dump.end().await?;

    let manifest = Manifest {
        taken,
        unibody: env!("CARGO_PKG_VERSION").to_owned(),
        postgres: server,
        schema_version,
        tables,
        archive_bytes: 0,
        archive_sha256: String::new(),
    };
    let finishing = tokio::task::spawn_blocking(move || writer.finish(manifest)).await;
    let (_, manifest) = finishing
        .context("writing the backup failed inside")?
        .context("the backup can't be written")?;
    Ok(manifest)
}

/// The server's major version.
pub(super) async fn server_version(client: &tokio_postgres::Client) -> anyhow::Result<u32> {
    let number = query_one(client, "SHOW server_version_num").await?;
    let number: u32 = number.parse().context("the server has no version")?;
    Ok(number / 10_000)
}

fn copy(mut from: File, to: &mut Writer, told: &Told) -> io::Result<()> {
    let mut chunk = vec![0; 128 * 1024];
    let (mut bytes, mut reported) = (0, 0);
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return to.flush(),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&chunk[..read])?;
        bytes += read as u64;
        if bytes - reported >= REPORT_EVERY {
            reported = bytes;
            told(Event::Bytes(bytes));
        }
    }
}
