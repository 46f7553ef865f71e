//! Backups that the server makes by itself, as `[backup]` says.
//!
//! When the last one was made stands in the database ([`record`]), so restarts and
//! other instances know; a lock there lets one instance at a time make one. A failure is told, counted,
//! and followed by another attempt; a time that was missed is made up. While the database can't be asked
//! nothing is tried, and so nothing fails; since when and why that is so is told.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::due::due;
pub use super::facts::{DueUnknown, Facts};
use super::kept::{LOCK, make};
use super::record::{self, Ours};
use super::{Event, Source, Told};
use crate::config::{self, Schedule};
use crate::database::{Database, SessionLock};
use crate::supervised::{PAUSES, Panics, supervised};

/// Between two looks at the clock and at what others have made: clocks jump, machines sleep.
const LOOK: Duration = Duration::from_mins(1);

/// Between two looks at an instance that is making one.
const OTHERS: Duration = Duration::from_secs(10);

/// After a failure: the first pause, and the longest.
const RETRIES: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// For a backup that is to stop: a private PostgreSQL among it takes seconds.
const FAREWELL: Duration = Duration::from_secs(20);

/// Backups being made in the background.
#[derive(Debug)]
pub struct Scheduled {
    /// What is known of them.
    pub keeper: Arc<Keeper>,
    task: JoinHandle<()>,
}

impl Scheduled {
    /// Begins to make the backups of `settings`, if any are asked for, until `stopped` turns true.
    #[must_use]
    pub fn start(
        settings: Option<&config::Backup>,
        database: &Database,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let keeper = Arc::new(Keeper {
            settings: watch::Sender::new(settings.cloned()),
            facts: watch::Sender::default(),
            panics: Panics::default(),
        });
        let (source, running) = (Source::of(database), Arc::clone(&keeper));
        let task = tokio::spawn(async move { running.run(source, stopped).await });
        Self { keeper, task }
    }

    /// Waits until what was half made has been removed.
    pub async fn ended(self) {
        if timeout(FAREWELL, self.task).await.is_err() {
            tracing::warn!("a backup that was being made has left files or a database behind");
        }
    }
}

/// The task that makes backups, and what is known of it.
#[derive(Debug)]
pub struct Keeper {
    settings: watch::Sender<Option<config::Backup>>,
    facts: watch::Sender<Facts>,
    panics: Panics,
}

impl Keeper {
    /// Goes on as `settings` say; a backup that is just being made is finished as it was begun.
    pub fn follow(&self, settings: Option<&config::Backup>) {
        self.settings.send_if_modified(|current| {
            if current.as_ref() == settings {
                return false;
            }
            *current = settings.cloned();
            true
        });
    }

    /// What is known now; `None` where no backups are asked for.
    #[must_use]
    pub fn facts(&self) -> Option<(Schedule, Facts)> {
        let schedule = self.settings.borrow().as_ref()?.schedule;
        Some((schedule, self.facts.borrow().clone()))
    }

    /// Makes backups until `stopped` turns true; what is half made then is removed.
    async fn run(&self, source: Source, stopped: watch::Receiver<bool>) {
        let mut stop = stopped.clone();
        let keeping = self.go_on_after_panics(|| self.keep(&source, stopped.clone()));
        tokio::select! {
            () = keeping => {}
            // Work that can be stopped stops by itself first, and clears up.
            () = async {
                let _ = stop.wait_for(|stop| *stop).await;
                let _ = self.facts.subscribe().wait_for(|facts| !facts.running).await;
            } => {}
        }
    }

    /// Does `work`, and begins it anew after a panic, which is a failure like any other.
    async fn go_on_after_panics<F: Future<Output = ()>>(&self, mut work: impl FnMut() -> F) {
        supervised("backup", &self.panics, PAUSES, || {
            if self.panics.count() > 0 {
                let words =
                    "it failed inside, the log says where: report it as a mistake of unibody";
                self.facts.send_modify(|facts| {
                    facts.running = false;
                    facts.fail(words.to_owned(), OffsetDateTime::now_utc());
                });
            }
            work()
        })
        .await;
    }

    async fn keep(&self, source: &Source, mut stop: watch::Receiver<bool>) {
        let mut following = self.settings.subscribe();
        let mut failed = 0;
        let mut ours = None;
        loop {
            let settings = following.borrow_and_update().clone();
            let wait = match &settings {
                None => {
                    self.see();
                    Duration::MAX
                }
                Some(settings) => match self.look(settings, source, &mut ours).await {
                    Ok(Look::Later(wait)) => {
                        self.see();
                        failed = 0;
                        wait
                    }
                    Ok(Look::Due(_held)) => {
                        self.see();
                        match self.attempt(settings, source, &mut stop).await {
                            Ok(made) => {
                                ours = Some(made);
                                Duration::ZERO
                            }
                            Err(_) if *stop.borrow() => return,
                            Err(error) => {
                                failed += 1;
                                let pause = pause(settings.schedule, failed);
                                self.note(&error, pause);
                                pause
                            }
                        }
                    }
                    Err(error) => {
                        self.see_nothing(&error);
                        pause(settings.schedule, 1)
                    }
                },
            };
            tokio::select! {
                () = sleep(wait) => {}
                // The sender is ours.
                _ = following.changed() => failed = 0,
            }
        }
    }

    /// Tells and counts a failure.
    fn note(&self, error: &anyhow::Error, pause: Duration) {
        let words = format!("{error:#}");
        tracing::error!("backup: {words}; the next attempt is in {pause:?}");
        let next = OffsetDateTime::now_utc() + pause;
        self.facts.send_modify(|facts| facts.fail(words, next));
    }

    /// Notes that it can be seen whether a backup is due, or need not be.
    fn see(&self) {
        self.facts.send_modify(|facts| facts.due_unknown = None);
    }

    /// Tells why it can't be seen whether a backup is due; the same only once until it could be seen again.
    fn see_nothing(&self, error: &anyhow::Error) {
        let words = format!("{error:#}");
        let now = OffsetDateTime::now_utc();
        self.facts.send_modify(|facts| {
            if facts.see_nothing(words.clone(), now) {
                tracing::warn!(
                    "backup: whether one is due can't be seen, and is looked at again: {words}"
                );
            }
        });
    }

    /// Whether a backup is due, and ours to make.
    ///
    /// # Errors
    /// That this can't be seen, which is no failure of a backup: none was tried.
    async fn look(
        &self,
        settings: &config::Backup,
        source: &Source,
        ours: &mut Option<Ours>,
    ) -> anyhow::Result<Look> {
        if let Some(wait) = self.wait(settings, source, ours).await? {
            return Ok(Look::Later(wait));
        }
        let Some(held) = source.database.try_lock(LOCK).await? else {
            return Ok(Look::Later(OTHERS));
        };
        // Somebody may have made it between the two looks.
        Ok(match self.wait(settings, source, ours).await? {
            Some(wait) => Look::Later(wait),
            None => Look::Due(held),
        })
    }

    /// Makes a backup and records it, if that can be done.
    async fn attempt(
        &self,
        settings: &config::Backup,
        source: &Source,
        stop: &mut watch::Receiver<bool>,
    ) -> anyhow::Result<Ours> {
        self.facts.send_modify(|facts| facts.running = true);
        let told: Told = Arc::new(|event| {
            if let Event::Step(step) = event {
                tracing::debug!("backup: {step}");
            }
        });
        let made = make(source, settings, &told, stop).await;
        self.facts.send_modify(|facts| facts.running = false);
        let (made, last) = made?;
        tracing::info!(
            bytes = made.bytes,
            rows = made.manifest.rows(),
            took = ?made.took,
            "backup: {} is made",
            last.name
        );
        let (ours, recorded) = Ours::note(&source.database, last).await;
        if let Err(error) = recorded {
            // It is as good as any: another instead would only fill the disk.
            tracing::warn!("backup: {error:#}; that is tried again");
        }
        Ok(ours)
    }

    /// How long to wait for the next look; `None` when a backup is due.
    async fn wait(
        &self,
        settings: &config::Backup,
        source: &Source,
        ours: &mut Option<Ours>,
    ) -> anyhow::Result<Option<Duration>> {
        let last = record::last(&source.database, ours).await?;
        let now = OffsetDateTime::now_utc();
        let finished = last.as_ref().map(|last| last.finished);
        let next = due(settings.schedule, finished, now);
        self.facts.send_modify(|facts| facts.look(last, next));
        let wait = Duration::try_from(next - now).unwrap_or_default();
        Ok((!wait.is_zero()).then(|| wait.min(LOOK)))
    }
}

/// What a look has shown.
enum Look {
    /// None is ours to make; when to look again.
    Later(Duration),
    /// One is, for as long as the lock is held.
    Due(SessionLock),
}

/// How long to wait after the `failed`th failure in a row: not longer than backups are apart at first.
fn pause(schedule: Schedule, failed: u32) -> Duration {
    let (first, longest) = RETRIES;
    let first = match schedule {
        Schedule::Every(every) => first.min(every),
        Schedule::At(_) => first,
    };
    let doublings = failed.saturating_sub(1).min(30);
    first.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use time::Time;

    use super::*;

    #[test]
    fn pauses_double_to_an_hour() {
        let minutes = Duration::from_mins;
        let daily = Schedule::At(Time::MIDNIGHT);
        let table = [
            (daily, 1, minutes(1), "the first"),
            (daily, 2, minutes(2), "twice"),
            (daily, 6, minutes(32), ""),
            (daily, 7, minutes(60), "the longest"),
            (daily, u32::MAX, minutes(60), "for ever"),
            (
                Schedule::Every(Duration::from_secs(5)),
                1,
                Duration::from_secs(5),
                "as often as backups are due",
            ),
        ];
        for (schedule, failed, expected, why) in table {
            assert_eq!(pause(schedule, failed), expected, "{failed}: {why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure() {
        let keeper = Keeper {
            settings: watch::Sender::default(),
            facts: watch::Sender::default(),
            panics: Panics::default(),
        };
        let mut begun = 0;
        let working = keeper.go_on_after_panics(|| {
            keeper.facts.send_modify(|facts| facts.running = true);
            begun += 1;
            let number = begun;
            async move { assert_eq!(number, 3, "not yet") }
        });
        working.await;
        let facts = keeper.facts.borrow().clone();
        assert_eq!(facts.failures, 2);
        let error = facts.last_error.unwrap();
        assert!(error.contains("failed inside"), "{error}");
    }
}
