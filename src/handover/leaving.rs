//! The side of the running process: it offers what it has, and goes on until somebody else serves.

use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::channel::Channel;
use super::message::{News, Offer, PROTOCOL, Ready, Word};
pub use super::place::Place;
pub use super::started::Departing;
use super::started::{Started, TO_END};
use super::{Belongings, Program, program};

/// From "begin" to "serving": nothing is left to do but to accept.
const TO_BEGIN: Duration = Duration::from_secs(10);
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

/// The process that serves in the place of this one.
#[derive(Debug)]
pub struct Heir {
    /// Which process it is.
    pub program: Program,
    child: Option<Started>,
}

/// Why a process that was told to serve doesn't go on.
#[derive(Debug)]
pub struct Relapse {
    /// In words.
    pub reason: anyhow::Error,
    /// It may still have something to finish. None where somebody else has started it.
    pub departing: Option<Departing>,
}

/// What ends a process that was told to serve.
enum Fault {
    /// It stops, and has said why.
    StopsByItself(anyhow::Error),
    /// It is not to go on.
    Unwanted(anyhow::Error),
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
            child: Some(child),
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
    /// on its own. When `hurry` resolves it is watched no longer: one that this process has started is not to
    /// go on then, any other is on its own.
    ///
    /// # Errors
    /// It doesn't serve, or not for so long. This process serves on, and the other one finishes what it has
    /// begun.
    pub async fn begin(mut self, hurry: impl Future<Output = ()>) -> Result<Heir, Relapse> {
        let mut hurry = pin!(hurry);
        let proven = match self.serves(hurry.as_mut()).await {
            Ok(()) => self.stays(hurry).await,
            failed => failed,
        };
        let Candidate { channel, child } = self.candidate;
        let (reason, stops_by_itself) = match proven {
            Ok(()) => {
                let mut child = child;
                if let Some(started) = &mut child {
                    started.let_go();
                }
                return Ok(Heir {
                    program: self.ready.program,
                    child,
                });
            }
            Err(Fault::StopsByItself(reason)) => (reason, true),
            Err(Fault::Unwanted(reason)) => (reason, false),
        };
        let departing = child.map(|started| started.depart(stops_by_itself));
        if !stops_by_itself {
            // No signal: it may have had one already (Ctrl-C reaches both), and a second one would cut what
            // it is answering.
            let _ = channel
                .send(&Word::Refused(format!("{reason:#}")), &[])
                .await;
        }
        Err(Relapse { reason, departing })
    }

    async fn serves(&self, hurry: Pin<&mut impl Future<Output = ()>>) -> Result<(), Fault> {
        let begun = async {
            let channel = &self.candidate.channel;
            channel.send(&Word::Begin, &[]).await?;
            channel.receive::<News>().await
        };
        let begun = tokio::select! {
            biased;
            begun = timeout(TO_BEGIN, begun) => begun,
            // Any other takes a moment, and is on its own then.
            () = hurry, if self.candidate.child.is_some() => return Err(Fault::Unwanted(stopped())),
        };
        let unwanted = match begun {
            Ok(Ok((News::Serving, _))) => return Ok(()),
            Ok(Ok((News::Failed(reason), _))) => return Err(Fault::StopsByItself(anyhow!(reason))),
            Ok(Ok((News::Ready(_), _))) => anyhow!("the new process repeats itself"),
            Ok(Err(error)) => anyhow!(error).context("the new process ended before it served"),
            Err(_) => anyhow!("the new process was ready, but then did not begin to serve"),
        };
        Err(Fault::Unwanted(unwanted))
    }

    /// Waits whether it goes on serving, while this process does as well.
    async fn stays(&mut self, hurry: Pin<&mut impl Future<Output = ()>>) -> Result<(), Fault> {
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
            () = hurry => return match self.candidate.child {
                Some(_) => Err(Fault::Unwanted(stopped())),
                None => Ok(()),
            },
            () = sleep(watch) => return Ok(()),
        };
        if let Ok((News::Failed(reason), _)) = said {
            let reason = anyhow!("the new process served, and then stopped: {reason}");
            return Err(Fault::StopsByItself(reason));
        }
        let served = since.elapsed();
        let how = self.candidate.how_it_ended().await;
        Err(Fault::Unwanted(anyhow!(
            "the new process ended{how} {served:.1?} after it had begun to serve; what it wrote stands in the log"
        )))
    }
}

impl Heir {
    /// Has it read its configuration again; `false` where it isn't this process's child, and can't be told.
    #[must_use]
    pub fn reload(&self) -> bool {
        let child = self.child.as_ref();
        // A script in between would not survive the signal.
        let it = child.filter(|child| child.pid() == Some(self.program.pid));
        if let Some(child) = it {
            child.signal(Signal::SIGHUP);
        }
        it.is_some()
    }
}

fn stopped() -> anyhow::Error {
    anyhow!("the running process was asked to stop")
}

/// Resolves when the child has ended; never where there is none.
async fn ended(child: &mut Option<Started>) -> ExitStatus {
    match child {
        Some(started) => started.ended().await,
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

#[cfg(test)]
mod tests;
