//! `backup.command`: where a backup goes that is verified.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a command may take for one backup: an upload that hangs must not end all backups.
const LIMIT: Duration = Duration::from_hours(6);

/// What of a command's words is told.
const WORDS: usize = 500;

/// Bytes that are kept of each of its pipes.
const KEPT: usize = 8 * 1024;

/// How long the words of one that has failed are waited for: what it has left behind may never end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Gives `file`, called `name`, to a command of the shell's.
///
/// # Errors
/// Its exit status, with the end of what it said.
pub(super) async fn to_command(command: &str, name: &str, file: File) -> anyhow::Result<()> {
    within(LIMIT, command, name, file).await
}

async fn within(limit: Duration, command: &str, name: &str, file: File) -> anyhow::Result<()> {
    let size = file.metadata()?.len();
    let shell = Command::new("/bin/sh")
        .args(["-c", command])
        .env("UNIBODY_BACKUP_NAME", name)
        .env("UNIBODY_BACKUP_SIZE", size.to_string())
        .stdin(Stdio::from(file))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("backup.command can't be run: /bin/sh is missing")?;
    let mut running = Running { shell };
    let (stdout, stderr) = (running.shell.stdout.take(), running.shell.stderr.take());
    let said = tokio::spawn(async { tokio::join!(end_of(stderr), end_of(stdout)) });
    let Ok(ended) = timeout(limit, running.shell.wait()).await else {
        bail!("backup.command has not ended for {limit:?}, and was killed");
    };
    let status = ended.context("backup.command was lost")?;
    if status.success() {
        return Ok(());
    }
    let said = timeout(LAST_WORDS, said).await;
    let (stderr, stdout) = said.ok().and_then(Result::ok).unwrap_or_default();
    bail!(
        "backup.command failed ({status}): {}",
        last_words(&[stderr, stdout].concat())
    )
}

/// A shell and all that it has begun: killed when dropped before the shell has ended. Without the others, a
/// pipeline would go on that nobody waits for any more.
struct Running {
    shell: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // None once it was waited for: the number may be another's then.
        let leader = self.shell.id().and_then(|id| i32::try_from(id).ok());
        if let Some(leader) = leader {
            // Those that have ended by themselves meanwhile need nobody.
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}

/// The last [`KEPT`] bytes of what is said there. Reads all of it: whoever can't say more would wait.
async fn end_of(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(2 * KEPT);
    let Some(mut pipe) = pipe else {
        return kept;
    };
    while let Ok(1..) = pipe.read_buf(&mut kept).await {
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    kept
}

/// The end of what was said, on one line.
fn last_words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let words: Vec<_> = said.split_whitespace().collect();
    let mut words = words.join(" ");
    let from = words.len().saturating_sub(WORDS);
    let from = (from..=words.len()).find(|&at| words.is_char_boundary(at));
    words.drain(..from.unwrap_or_default());
    words
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_pipeline_that_is_given_up_ends_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("alive");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        // The shell and both of its programs have it open as long as they live.
        let command = format!(
            "exec 3>'{}'; {{ echo >&3; sleep 600; }} | cat",
            pipe.display()
        );
        let (say_begun, begun) = oneshot::channel();
        let (say_gone, gone) = oneshot::channel();
        std::thread::spawn(move || {
            let mut pipe = File::open(pipe).unwrap();
            pipe.read_exact(&mut [0]).unwrap();
            say_begun.send(()).unwrap();
            pipe.read_to_end(&mut Vec::new()).unwrap();
            let _ = say_gone.send(());
        });
        let mut running = Box::pin(to_command(&command, "a", tempfile::tempfile().unwrap()));
        tokio::select! {
            ended = &mut running => panic!("{ended:?}"),
            begun = begun => begun.unwrap(),
        }
        drop(running);
        let gone = timeout(Duration::from_secs(20), gone).await;
        gone.expect("a part of it goes on").unwrap();
    }

    #[tokio::test]
    async fn one_that_never_ends_is_given_up() {
        let limit = Duration::from_millis(50);
        let file = tempfile::tempfile().unwrap();
        let error = within(limit, "sleep 600 | cat", "a", file)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("was killed"), "{error}");
    }

    #[tokio::test]
    async fn of_many_words_the_last_are_told() {
        let command = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo 'and the end' >&2; exit 3";
        let file = tempfile::tempfile().unwrap();
        let error = to_command(command, "a", file)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("and the end"), "{error}");
        assert!(error.len() < 2 * WORDS, "{error}");

        let long = vec![b'x'; 100 * KEPT];
        assert_eq!(end_of(Some(long.as_slice())).await.len(), KEPT);
    }
}
