//! The side of the running process: it offers what it has, and goes on until somebody else serves.

use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::channel::Channel;
use super::message::{News, Offer, PROTOCOL, Ready, Word};
pub use super::place::Place;
use super::{Belongings, Program, program};

/// From "begin" to "serving": nothing is left to do but to accept.
const TO_BEGIN: Duration = Duration::from_secs(10);
/// For a process that is not wanted any more to end in order.
const TO_END: Duration = Duration::from_secs(2);
/// For last words that are on their way.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A process that might take over.
#[derive(Debug)]
pub struct Candidate {
    channel: Channel,
    child: Option<Started>,
}

/// A process that is ready to serve. Dropped, it is sent away.
#[derive(Debug)]
pub struct Successor {
    candidate: Candidate,
    ready: Ready,
    watch: Duration,
}

/// A child of ours. Asked to end when dropped, unless it was let go.
#[derive(Debug)]
struct Started {
    child: Child,
    is_free: bool,
}

impl Candidate {
    /// Starts the program anew: by the path and with the arguments that this process was started
    /// with, so whatever lies there now is the new version.
    ///
    /// # Errors
    /// There is no such program any more, or it can't be executed.
    pub fn start() -> anyhow::Result<Self> {
        let (child, channel) = program::start()?;
        Ok(Self {
            channel,
            child: Some(Started {
                child,
                is_free: false,
            }),
        })
    }

    pub(super) fn came(channel: Channel) -> Self {
        Self {
            channel,
            child: None,
        }
    }

    /// Tells it that there will be no handover. It ends then.
    pub async fn refuse(mut self, reason: &str) {
        self.send_away(reason).await;
    }

    /// Offers it `belongings` and waits until it is ready, for at most `patience`. One that isn't is
    /// sent away. One that is will be watched for so long once it serves.
    ///
    /// # Errors
    /// Why it isn't, in its own words where it has said so.
    pub async fn prepare(
        mut self,
        belongings: &Belongings,
        patience: Duration,
        watch: Duration,
    ) -> anyhow::Result<Successor> {
        let prepared = match timeout(patience, self.converse(belongings, watch)).await {
            Ok(prepared) => prepared,
            Err(_) => Err(anyhow!(
                "the new process was not ready after {patience:?}; its own lines in the log tell what it waits for"
            )),
        };
        match prepared {
            Ok(ready) => Ok(Successor {
                candidate: self,
                ready,
                watch,
            }),
            Err(error) => {
                self.send_away(&format!("{error:#}")).await;
                Err(error)
            }
        }
    }

    async fn converse(
        &mut self,
        belongings: &Belongings,
        watch: Duration,
    ) -> anyhow::Result<Ready> {
        let offer = Offer {
            protocol: PROTOCOL,
            from: Program::this(),
            sockets: belongings.sockets.iter().map(|one| one.asked).collect(),
            lock: belongings.lock.is_some(),
            watch,
        };
        let descriptors: Vec<BorrowedFd<'_>> = belongings
            .sockets
            .iter()
            .map(|passed| passed.socket.as_fd())
            .chain(belongings.lock.as_ref().map(AsFd::as_fd))
            .collect();
        let said = async {
            self.channel.send(&offer, &descriptors).await?;
            self.channel.receive::<News>().await
        };
        let said = tokio::select! {
            biased;
            said = said => said.ok(),
            _ = ended(&mut self.child) => None,
        };
        let said = match said {
            Some((news, _)) => Some(news),
            // It may have said why it ends, a moment ago.
            None => match timeout(LAST_WORDS, self.channel.receive::<News>()).await {
                Ok(Ok((news, _))) => Some(news),
                _ => None,
            },
        };
        match said {
            Some(News::Ready(ready)) => Ok(ready),
            Some(News::Failed(reason)) => bail!(reason),
            Some(News::Serving) => bail!("the new process serves without being asked to"),
            None => {
                let how = self.how_it_ended().await;
                bail!(
                    "the new process ended{how} without a word to this one: is it unibody? What it wrote stands in the log"
                )
            }
        }
    }

    /// ` (signal: 9)`, where that is known.
    async fn how_it_ended(&mut self) -> String {
        match timeout(TO_END, ended(&mut self.child)).await {
            Ok(status) => format!(" ({status})"),
            Err(_) => String::new(),
        }
    }

    async fn send_away(&mut self, reason: &str) {
        // Whoever is gone needn't be told.
        let _ = self
            .channel
            .send(&Word::Refused(reason.to_owned()), &[])
            .await;
        if let Some(started) = &mut self.child {
            started.end().await;
        }
    }
}

impl Successor {
    /// Which process it is.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.ready.program
    }

    /// Whether it keeps the embedded database running from the moment it serves.
    #[must_use]
    pub fn keeps_database(&self) -> bool {
        self.ready.keeps_database
    }

    /// Has it serve, and returns when it has done so for as long as it is to be watched. From then on it is
    /// on its own. One that this process has not started is no longer watched when `hurry` resolves.
    ///
    /// # Errors
    /// It doesn't, or not for so long. It is sent away, and this process serves on.
    pub async fn begin(mut self, hurry: impl Future<Output = ()>) -> anyhow::Result<Program> {
        let failure = match self.serves().await {
            Ok(()) => match self.stays(hurry).await {
                Ok(()) => {
                    if let Some(started) = &mut self.candidate.child {
                        started.is_free = true;
                    }
                    return Ok(self.ready.program);
                }
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        self.candidate.send_away(&format!("{failure:#}")).await;
        Err(failure)
    }

    async fn serves(&self) -> anyhow::Result<()> {
        let begun = async {
            let channel = &self.candidate.channel;
            channel.send(&Word::Begin, &[]).await?;
            channel.receive::<News>().await
        };
        match timeout(TO_BEGIN, begun).await {
            Ok(Ok((News::Serving, _))) => Ok(()),
            Ok(Ok((News::Failed(reason), _))) => Err(anyhow!(reason)),
            Ok(Ok((News::Ready(_), _))) => Err(anyhow!("the new process repeats itself")),
            Ok(Err(error)) => Err(anyhow!(error).context("the new process ended before it served")),
            Err(_) => Err(anyhow!(
                "the new process was ready, but then did not begin to serve"
            )),
        }
    }

    /// Waits whether it goes on serving, while this process does as well.
    async fn stays(&mut self, hurry: impl Future<Output = ()>) -> anyhow::Result<()> {
        if !self.ready.stays || self.watch.is_zero() {
            return Ok(());
        }
        let (pid, watch) = (self.ready.program.pid, self.watch);
        tracing::info!(
            pid,
            ?watch,
            "the new process serves, and this one as well for so long"
        );
        let since = Instant::now();
        let said = tokio::select! {
            biased;
            said = self.candidate.channel.receive::<News>() => said,
            () = hurry, if self.candidate.child.is_none() => return Ok(()),
            () = sleep(watch) => return Ok(()),
        };
        if let Ok((News::Failed(reason), _)) = said {
            bail!("the new process served, and then stopped: {reason}");
        }
        let served = since.elapsed();
        let how = self.candidate.how_it_ended().await;
        bail!(
            "the new process ended{how} {served:.1?} after it had begun to serve; what it wrote stands in the log"
        )
    }
}

impl Started {
    /// Ends it: in order if it will, else at once.
    async fn end(&mut self) {
        self.is_free = true;
        terminate(&self.child);
        if timeout(TO_END, self.child.wait()).await.is_err() {
            // It is our child and not waited for, so its number is still its own.
            let _ = self.child.kill().await;
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.is_free {
            terminate(&self.child);
        }
    }
}

/// Asks it to stop, unless it has ended.
fn terminate(child: &Child) {
    if let Some(pid) = child.id() {
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
    }
}

/// Resolves when the child has ended; never where there is none.
async fn ended(child: &mut Option<Started>) -> ExitStatus {
    match child {
        Some(started) => match started.child.wait().await {
            Ok(status) => status,
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// A place for processes that somebody else starts to find this one.
///
/// # Errors
/// One line: another unibody is found there, or a socket can't be made.
pub fn be_found(data_dir: &std::path::Path) -> anyhow::Result<Place> {
    Place::open(data_dir)
        .context("no other process can take over from this one (serve --take-over)")
}
