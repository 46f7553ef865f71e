//! The private PostgreSQL of a unibody that is running just now, for commands beside it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use anyhow::Context as _;

use super::lock::LOCK;
use super::{files, url};
use crate::config::Secret;

/// Line of `postmaster.pid` that holds the socket's directory (PostgreSQL's `miscadmin.h`), from 0.
const SOCKET_LINE: usize = 4;

/// Where the private PostgreSQL of `data_dir` is, if a running unibody keeps it; `None` when there is
/// no such process, and [`start`](super::start) may be called.
///
/// # Errors
/// Files of the data directory that can't be read: run the command as the user that runs the server.
pub fn url_of_running(data_dir: &Path) -> anyhow::Result<Option<Secret>> {
    if !is_locked(&data_dir.join(LOCK))? {
        return Ok(None);
    }
    let read = |name: &str| {
        let path = data_dir.join(name);
        files::read(&path).with_context(|| {
            format!(
                "{} can't be read: run this command as the user that runs the server",
                path.display()
            )
        })
    };
    let password = Secret::new(read("postgres.password")?);
    let state = read("postgres/postmaster.pid")?;
    let socket = state
        .lines()
        .nth(SOCKET_LINE)
        .context("the server's PostgreSQL is just starting: try again in a moment")?;
    Ok(Some(url(Path::new(socket.trim()), &password)))
}

fn is_locked(path: &Path) -> anyhow::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "{} can't be opened: run this command as the user that runs the server",
                    path.display()
                )
            });
        }
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} can't be examined", path.display()))
        }
    }
}
