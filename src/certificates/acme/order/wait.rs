//! How long, and how often, the CA is asked whether it has got further.

use std::time::Duration;

use instant_acme::Error;
use tokio::time::{Instant, sleep};

use super::Job;
use crate::certificates::acme::problem::Failure;

/// For the CA's verdict, and again for the certificate.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between the first two looks; each pause is longer than the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, whatever the CA asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Pauses between looks, as the CA asks for them, within limits.
pub(super) struct Wait<'a> {
    job: &'a Job<'a>,
    pause: Duration,
    deadline: Instant,
}

impl<'a> Wait<'a> {
    pub(super) fn new(job: &'a Job<'a>) -> Self {
        Self {
            job,
            pause: FIRST_PAUSE,
            deadline: Instant::now() + PATIENCE,
        }
    }

    pub(super) async fn pause(&mut self) -> Result<(), Failure> {
        if Instant::now() > self.deadline {
            return Err(self.job.failure(&Error::Timeout(None)));
        }
        let asked = self.job.directory.client.retry_after();
        sleep(asked.map_or(self.pause, |asked| asked.clamp(FIRST_PAUSE, LONGEST_PAUSE))).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
