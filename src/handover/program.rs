//! Starting the program anew.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use tokio::process::Command;

use super::channel::Channel;
use super::started::Started;

/// Tells a process that the one whose work it is to take over is at its standard input.
pub(super) const CALLED: &str = "UNIBODY_HANDOVER";

/// What says something about this process that is not true of the next.
const ABOUT_US: [&str; 5] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "WATCHDOG_PID",
    "MAINPID",
];

/// Starts the program by the path and with the arguments that this process was started with. Its
/// standard input is the other end of the conversation.
pub(super) fn start() -> anyhow::Result<(Started, Channel)> {
    let mut arguments = std::env::args_os();
    // Not `current_exe`: that is the file this process runs, and it may have been replaced.
    let program = arguments
        .next()
        .context("this process doesn't know by which path it was started")?;
    let (ours, theirs) = Channel::pair().context("no socket to talk to a new process")?;
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env(CALLED, "stdin")
        .stdin(OwnedFd::from(theirs));
    for name in ABOUT_US {
        command.env_remove(name);
    }
    let child = command.spawn().with_context(|| {
        format!(
            "{} can't be started: is it a program, and executable?",
            Path::new(&program).display()
        )
    })?;
    Ok((Started::new(child), ours))
}
