//! Open files: every connection is one, and a forwarded one is two.
//!
//! 1. [`prepare`] takes at start what the system allows: the usual soft limit of 1024 is for programs that
//!    can't count further.
//! 2. Where that is too little for `server.max_connections`, the owner is told, and fewer connections are
//!    let in ([`connections_within`]). Nothing else then runs out of files: static files, the pool and the
//!    admin listener go on.
//! 3. What uses more than was reckoned with can still take the last one. Nobody is accepted then, and
//!    clients wait in the kernel's queue; [`watch`] says so once, and once when it is over.

use std::fs::File;
use std::io;
use std::time::Duration;

use nix::libc::{EMFILE, ENFILE};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;

/// Listeners, the database's pool, files being read, the log.
const OTHERS: u64 = 256;
/// Of a limit so small that [`OTHERS`] would leave little, they get this part.
const LEAST_SHARE: u64 = 4;
/// How often is looked whether any are left.
const LOOK: Duration = Duration::from_secs(1);

/// Takes as many as the system allows, and says so if that is too few for `config`.
pub fn prepare(config: &Config) {
    let (allowed, needed) = (raise(), needed(config));
    if allowed < needed {
        let room = connections_within(allowed, !config.upstreams.is_empty());
        tracing::warn!(
            "open files: {allowed} are allowed here, and server.max_connections = {} needs {needed}: no more than {room} connections are let in; {}",
            config.server.max_connections,
            remedy(needed)
        );
    }
}

/// Raises the soft limit to the hard one; returns how many open files are allowed from here on.
fn raise() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return u64::MAX;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// How many open files are allowed without asking anybody: what [`prepare`] takes.
#[must_use]
pub fn allowed() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard)
}

/// How many open files `server.max_connections` takes, and what else is open beside them.
#[must_use]
pub fn needed(config: &Config) -> u64 {
    let connections = u64::try_from(config.server.max_connections).unwrap_or(u64::MAX);
    connections
        .saturating_mul(each(!config.upstreams.is_empty()))
        .saturating_add(OTHERS)
}

/// How many connections there may be with so many open files, whatever `server.max_connections` says.
#[must_use]
pub fn connections_within(allowed: u64, forwards: bool) -> usize {
    let left = allowed - OTHERS.min(allowed / LEAST_SHARE);
    usize::try_from(left / each(forwards)).unwrap_or(usize::MAX)
}

/// What to do about too few.
#[must_use]
pub fn remedy(needed: u64) -> String {
    format!(
        "raise the limit (LimitNOFILE={needed} in systemd, `ulimits: nofile: {needed}` in Compose, `ulimit -n {needed}` in a shell), or lower server.max_connections"
    )
}

fn each(forwards: bool) -> u64 {
    if forwards { 2 } else { 1 }
}

/// Says when no file can be opened any more, and when that is over.
pub(super) async fn watch() {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut exhausted = false;
    loop {
        looks.tick().await;
        let now = is_exhausted(File::open("/dev/null"));
        if now && !exhausted {
            tracing::error!(
                "no file can be opened any more: new connections wait until others end; raise the limit of open files (LimitNOFILE in systemd) or lower server.max_connections"
            );
        }
        if exhausted && !now {
            tracing::info!("files can be opened again: connections are accepted");
        }
        exhausted = now;
    }
}

fn is_exhausted(opened: io::Result<File>) -> bool {
    let code = opened.err().and_then(|error| error.raw_os_error());
    matches!(code, Some(EMFILE | ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_everything_else() {
        let table = [
            (10_256, false, 10_000, "a part of a usual limit"),
            (10_256, true, 5000, "forwarding takes two"),
            (1024, false, 768, "a shell's usual limit"),
            (64, false, 48, "a tiny one is shared"),
            (0, false, 0, "none at all"),
        ];
        for (allowed, forwards, expected, why) in table {
            assert_eq!(connections_within(allowed, forwards), expected, "{why}");
        }
        assert!(connections_within(u64::MAX, true) > 1 << 40, "no limit");
    }

    #[test]
    fn only_a_lack_of_files_is_exhaustion() {
        let table = [
            (Ok(File::open("/dev/null").unwrap()), false, "opened"),
            (Err(EMFILE), true, "the process has none left"),
            (Err(ENFILE), true, "the machine has none left"),
            (Err(nix::libc::EACCES), false, "forbidden"),
        ];
        for (opened, expected, why) in table {
            let opened = opened.map_err(io::Error::from_raw_os_error);
            assert_eq!(is_exhausted(opened), expected, "{why}");
        }
    }
}
