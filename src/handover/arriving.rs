//! The side of the new process: it takes what it is offered, prepares, and serves when it is told to.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::channel::{self, Channel};
use super::message::{News, Offer, PROTOCOL, Ready, Word};
use super::program::CALLED;
use super::{Belongings, Passed, Program, place};

/// For an offer: the running process makes it as soon as it has a moment.
const FOR_AN_OFFER: Duration = Duration::from_secs(30);

/// For the running process to end the conversation, beyond the time it has asked for.
const TO_LET_GO: Duration = Duration::from_secs(10);

/// The process that has started this one, before there is a runtime to talk to it.
#[derive(Debug)]
pub struct Caller(StdUnixStream);

/// The process whose work this one takes over.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    /// For how long it stays ready to go on, once this process serves.
    watch: Duration,
}

impl Predecessor {
    fn new(stream: UnixStream) -> Self {
        Self {
            channel: Channel::new(stream),
            watch: Duration::ZERO,
        }
    }
}

/// Whether another process has started this one to take over from it.
#[must_use]
pub fn is_called() -> bool {
    std::env::var_os(CALLED).is_some()
}

/// The process that has started this one to take over from it, if one has. To be asked once, before
/// anything else takes standard input.
///
/// # Errors
/// Standard input is no socket.
pub fn caller() -> anyhow::Result<Option<Caller>> {
    if !is_called() {
        return Ok(None);
    }
    let socket = take_stdin()
        .with_context(|| format!("{CALLED} is set, but standard input is no socket: unset it"))?;
    Ok(Some(Caller(socket)))
}

/// The process that serves from `data_dir`, if there is one.
///
/// # Errors
/// It can't be reached, or is another user's.
pub async fn find(data_dir: &Path) -> anyhow::Result<Option<Predecessor>> {
    let found = place::connect(data_dir).await?;
    Ok(found.map(Predecessor::new))
}

impl Caller {
    /// Tells it why this process will not serve.
    pub fn failed(self, reason: &str) {
        // Whoever is gone needn't be told.
        let _ = channel::send_blocking(&self.0, &News::Failed(reason.to_owned()));
    }

    /// Goes on with it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(self) -> anyhow::Result<Predecessor> {
        let listen = || {
            self.0.set_nonblocking(true)?;
            UnixStream::from_std(self.0)
        };
        let stream = listen().context("standard input is no usable socket")?;
        Ok(Predecessor::new(stream))
    }
}

impl Predecessor {
    /// Waits for what it hands over.
    ///
    /// # Errors
    /// It makes no offer, or one that this version doesn't understand.
    pub async fn belongings(&mut self) -> anyhow::Result<Belongings> {
        let offer = timeout(FOR_AN_OFFER, self.channel.receive::<Offer>());
        let (offer, descriptors) = offer
            .await
            .context("the running process makes no offer")?
            .context("the running process makes no offer that this version understands")?;
        if offer.protocol > PROTOCOL {
            bail!(
                "the running unibody {} hands over in a way that this version ({}) doesn't know: stop it and start this one",
                offer.from.version,
                Program::this().version
            );
        }
        let expected = offer.sockets.len() + usize::from(offer.lock);
        if descriptors.len() != expected {
            bail!(
                "the running process offers {expected} descriptors, and {} came: is the limit of open files (ulimit -n) too low?",
                descriptors.len()
            );
        }
        tracing::info!(
            pid = offer.from.pid,
            version = offer.from.version,
            sockets = offer.sockets.len(),
            "taking over from the running process"
        );
        self.watch = offer.watch;
        let mut descriptors = descriptors.into_iter();
        let sockets = offer
            .sockets
            .into_iter()
            .zip(&mut descriptors)
            .map(|(asked, descriptor)| Passed {
                asked,
                socket: TcpListener::from(descriptor),
            })
            .collect();
        Ok(Belongings {
            sockets,
            lock: descriptors.next(),
        })
    }

    /// Tells it why this process will not serve.
    pub async fn failed(self, reason: &str) {
        // Whoever is gone needn't be told.
        let _ = self
            .channel
            .send(&News::Failed(reason.to_owned()), &[])
            .await;
    }

    /// Says that this process could serve, and waits until it is told to. A process that has died
    /// instead of answering is taken over from just the same: nobody else serves now.
    ///
    /// # Errors
    /// Why it will not be let.
    pub async fn ready(&self, keeps_database: bool) -> anyhow::Result<()> {
        let ready = Ready {
            program: Program::this(),
            keeps_database,
            stays: true,
        };
        // Who hears nothing any more may have said why before it left.
        let _ = self.channel.send(&News::Ready(ready), &[]).await;
        match self.channel.receive::<Word>().await {
            Ok((Word::Begin, _)) => Ok(()),
            Ok((Word::Refused(reason), _)) => bail!("the running process goes on: {reason}"),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(error).context("the running process answers something else")
            }
            Err(error) => {
                tracing::warn!(%error, "the running process has gone: serving in its place");
                Ok(())
            }
        }
    }

    /// Says that this process serves, and goes on until the other one has left it alone with that.
    ///
    /// # Errors
    /// It is not to go on.
    pub async fn serving(&self) -> anyhow::Result<()> {
        // If it has gone meanwhile, there is nothing left for it to do.
        let _ = self.channel.send(&News::Serving, &[]).await;
        let word = timeout(self.watch + TO_LET_GO, self.channel.receive::<Word>());
        match word.await {
            Ok(Ok((Word::Refused(reason), _))) => {
                bail!("the process before this one takes it back: {reason}")
            }
            // It has ended the conversation.
            _ => Ok(()),
        }
    }
}

/// Standard input, and nothing in its place.
fn take_stdin() -> io::Result<StdUnixStream> {
    let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    // Anything else would be read from by mistake.
    rustix::net::sockopt::socket_domain(&socket)?;
    let nothing = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(nothing)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> (Channel, Predecessor) {
        let (theirs, ours) = Channel::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (
            theirs,
            Predecessor::new(UnixStream::from_std(ours).unwrap()),
        )
    }

    #[tokio::test]
    async fn who_was_refused_before_it_was_ready_does_not_serve() {
        let (theirs, predecessor) = conversation();
        let refused = Word::Refused("it took too long".to_owned());
        theirs.send(&refused, &[]).await.unwrap();
        drop(theirs);
        let error = predecessor.ready(false).await.unwrap_err().to_string();
        assert!(error.contains("goes on: it took too long"), "{error}");
    }

    #[tokio::test]
    async fn who_is_left_without_a_word_serves() {
        let (theirs, predecessor) = conversation();
        drop(theirs);
        predecessor.ready(false).await.unwrap();
    }
}
