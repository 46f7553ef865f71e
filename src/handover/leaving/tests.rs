//! What becomes of a process that was told to serve and doesn't go on.

use std::future::{pending, ready};
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::*;

/// As long as nothing goes wrong, nobody waits so long.
const PATIENCE: Duration = Duration::from_mins(1);
const DRAIN: Duration = Duration::from_secs(30);

/// A process that is ready, and what it says.
struct New {
    successor: Successor,
    channel: Channel,
    pid: u32,
    directory: TempDir,
}

impl New {
    /// A child of ours that notes a SIGTERM, and goes on.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // It has an end, should nobody end it.
        let script = "trap 'touch asked' TERM; trap 'touch done' WINCH; touch begun; \
            for _ in $(seq 3000); do sleep 0.02; done";
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir(directory.path())
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        wait_until(|| directory.path().join("begun").exists());
        Self::of(Some(Started::new(child)), pid, directory)
    }

    fn of(child: Option<Started>, pid: u32, directory: TempDir) -> Self {
        let (channel, theirs) = Channel::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let program = Program {
            pid,
            ..Program::this()
        };
        let ready = Ready {
            program,
            keeps_database: false,
            stays: true,
        };
        Self {
            successor: Successor {
                candidate: Candidate { channel, child },
                ready,
                watch: PATIENCE,
            },
            channel: Channel::new(UnixStream::from_std(theirs).unwrap()),
            pid,
            directory,
        }
    }

    async fn says(&self, news: News) {
        self.channel.send(&news, &[]).await.unwrap();
    }
}

/// What it was told, until the conversation has ended.
async fn heard(channel: &Channel) -> Vec<String> {
    let mut words = Vec::new();
    while let Ok((word, _)) = channel.receive::<Word>().await {
        words.push(match word {
            Word::Begin => "begin".to_owned(),
            Word::Refused(reason) => reason,
        });
    }
    words
}

fn wait_until(is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z"))
}

fn was_asked(directory: &Path) -> bool {
    directory.join("asked").exists()
}

#[tokio::test(start_paused = true)]
async fn one_that_is_sent_away_is_told_and_killed_only_when_its_time_is_over() {
    for (is_late, said) in [(true, "did not begin"), (false, "was asked to stop")] {
        let New {
            successor,
            channel,
            pid,
            directory,
        } = New::start();
        let relapse = if is_late {
            successor.begin(pending()).await
        } else {
            channel.send(&News::Serving, &[]).await.unwrap();
            successor.begin(ready(())).await
        };
        let Relapse { reason, departing } = relapse.unwrap_err();
        assert!(reason.to_string().contains(said), "{reason}");
        let heard = heard(&channel).await;
        let last = heard.last().expect("it is told");
        assert!(last.contains(said), "{heard:?}");
        assert!(is_running(pid), "{said}");
        // The clock is not the process's: its time is over at once.
        departing.unwrap().gone(DRAIN).await;
        wait_until(|| !is_running(pid));
        assert!(
            !was_asked(directory.path()),
            "{said}: a signal could be its second"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_by_itself_is_left_alone() {
    for serves in [true, false] {
        let new = New::start();
        if serves {
            new.says(News::Serving).await;
        }
        new.says(News::Failed("because".to_owned())).await;
        let Relapse { reason, departing } = new.successor.begin(pending()).await.unwrap_err();
        assert!(reason.to_string().contains("because"), "{reason}");
        assert_eq!(heard(&new.channel).await, ["begin"]);
        departing.unwrap().gone(DRAIN).await;
        let pid = Pid::from_raw(new.pid.cast_signed());
        // It heeds what it was sent before first, as signals go by their numbers.
        kill(pid, Signal::SIGWINCH).unwrap();
        wait_until(|| new.directory.path().join("done").exists());
        assert!(!was_asked(new.directory.path()), "{serves}");
        kill(pid, Signal::SIGKILL).unwrap();
    }
}

#[tokio::test]
async fn one_that_somebody_else_has_started_is_on_its_own_when_there_is_hurry() {
    let new = New::of(None, 4711, tempfile::tempdir().unwrap());
    new.says(News::Serving).await;
    let heir = new.successor.begin(ready(())).await.unwrap();
    assert_eq!(heir.program.pid, 4711);
    assert!(!heir.reload(), "its number may be another program's here");
    assert_eq!(heard(&new.channel).await, ["begin"]);
}
