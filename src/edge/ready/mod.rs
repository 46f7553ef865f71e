//! Ready answers: what the normal way said once is said again without it.
//!
//! 1. The door or [`http2`](super::http2) reads a simple request ([`heeded`]) and asks with a [`Question`]:
//!    everything of the request that the normal way heeds. It is looked up in the [`table`].
//! 2. What is not there and is asked for a second time is recorded: a [`Tape`] keeps the bytes that
//!    Pingora writes, if whoever answers [offers](offer) the answer with its [`Freshness`]. An
//!    HTTP/1.1 connection keeps it itself, for HTTP/2 a [`Recorder`] does.
//! 3. The [`Recording`] made of the tape is the answer byte for byte, or field for field. Only
//!    `Date`, `Age`, `Connection` and the request id, which belong to one request, are put in anew.
//! 4. When the producer says that things have changed, the recording is not used any more, and the
//!    next request goes the normal way.
//!
//! It is recorded at the end of the way, and not put together from the answer's parts, because only
//! there it is what the client gets: modules, framing and Pingora's own lines included. So there is
//! one implementation of every header, and a feature that changes answers needs no word here. A
//! feature that looks at one more thing of a request does: that thing belongs into [`Question`], or
//! its requests do not count as simple.

mod fields;
mod given;
mod heeded;
mod lines;
mod question;
mod recorder;
mod recording;
mod table;
mod tape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use pingora_proxy::Session;

pub(super) use self::given::{Given, Source};
pub(super) use self::heeded::{Heeded, is_forwarding};
pub(super) use self::lines::Patches;
pub(super) use self::question::{Question, Shape};
pub(super) use self::recorder::Recorder;
pub(super) use self::recording::Recording;
pub(super) use self::table::Sought;
use self::table::Table;
pub(super) use self::tape::Tape;
use super::exchange::Exchange;
use super::freshness::Freshness;

/// The ready answers of one configuration: another one starts with none.
pub(crate) struct ReadyAnswers {
    table: Arc<Table>,
}

impl ReadyAnswers {
    /// None yet, and never more than take `max_bytes` of memory.
    pub(super) fn new(max_bytes: u64) -> Self {
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        Self {
            table: Arc::new(Table::new(max_bytes)),
        }
    }

    /// Looks for the answer to `question` and lets `replay` use it.
    pub(super) fn seek<T>(
        &self,
        question: &Question<&[u8]>,
        replay: impl FnOnce(&Recording) -> Option<T>,
    ) -> Sought<T> {
        self.table.seek(question, replay)
    }

    /// Bytes that the recordings take.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

/// Tells the connection of `session` that the answer about to be written may be said again to
/// whoever asks the same, for as long as the exchange's [`Freshness`] says.
pub(super) fn offer(session: &Session, exchange: &Exchange) {
    // Whom a route lets in, and how often, is decided anew for each request.
    let is_for_all = exchange.route.as_ref().is_some_and(|route| {
        let policy = exchange.snapshot.policies.of(route.index());
        policy.asks_nothing()
    });
    if is_for_all
        && let Some(freshness) = &exchange.freshness
        && let Some(cells) = exchange.cells()
        && let Some(tape) = tape(session)
    {
        let table = &exchange.snapshot.ready.table;
        tape.begin(table, freshness, &exchange.id, cells);
    }
}

/// Tells it that the answer was written whole, and how many bytes of content the log says it had.
pub(super) fn complete(session: &mut Session, body_bytes: u64) {
    let Some(tape) = tape(session) else {
        return;
    };
    tape.complete(body_bytes);
    let recorder = session.downstream_modules_ctx.get_mut::<Recorder>();
    if let Some(tape) = recorder.and_then(Recorder::take_out)
        && let Some(written) = session.response_written()
    {
        tape.keep_under(written);
    }
}

fn tape(session: &Session) -> Option<&Tape> {
    match session.as_downstream().stream() {
        Some(stream) => super::door::tape_of(stream),
        None => session.downstream_modules_ctx.get::<Recorder>()?.tape(),
    }
}
