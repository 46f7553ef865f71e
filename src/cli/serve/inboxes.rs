//! What a running server is told to do, and by whom.

use std::pin::pin;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc};

use super::database::DatabaseSide;
use super::live::Live;
use super::signals::{Asked, Signals};
use super::succession::{Relieved, Request, Succession};
use super::watching::{Look, Watching};
use crate::admin::reload;
use crate::handover::notify::Systemd;

/// From where a running server is told what to do.
pub(super) struct Inboxes {
    pub(super) signals: Signals,
    pub(super) reloads: mpsc::Receiver<reload::Wish>,
    pub(super) watching: Watching,
    pub(super) succession: Succession,
    pub(super) systemd: Systemd,
}

/// What a running server is to do.
#[expect(clippy::large_enum_variant, reason = "few are made, and none is kept")]
enum Next {
    Reload(Option<reload::Wish>),
    HandOver(Request),
}

impl Inboxes {
    /// Does what is asked for until the server is to stop, or another process has taken over.
    pub(super) async fn work(
        &mut self,
        live: &mut Live,
        database: &DatabaseSide,
    ) -> Option<Relieved> {
        loop {
            let next = tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::Stop => return None,
                    Asked::Reload => Next::Reload(None),
                    Asked::HandOver => Next::HandOver(Request::by_signal()),
                },
                Some(wish) = self.reloads.recv() => Next::Reload(Some(wish)),
                () = self.watching.changed() => Next::Reload(None),
                request = self.succession.asked() => Next::HandOver(request),
            };
            match next {
                Next::Reload(wish) => {
                    self.systemd.reloading();
                    let look = Look::at(live.source.path());
                    let outcome = tokio::select! {
                        outcome = live.reload() => outcome,
                        () = self.signals.stop() => return None,
                    };
                    self.systemd.ready();
                    if !matches!(outcome, reload::Outcome::Reloaded { .. }) {
                        self.systemd.status("serving; the last reload failed");
                    }
                    self.watching.follow(look, &live.config);
                    if let Some(wish) = wish {
                        wish.answer(outcome);
                    }
                }
                Next::HandOver(request) => {
                    let hurry = Notify::new();
                    let relieved =
                        self.succession
                            .hand_over(request, live, database, hurry.notified());
                    let mut relieved = pin!(relieved);
                    let relieved = tokio::select! {
                        relieved = relieved.as_mut() => relieved,
                        () = self.signals.stop() => {
                            hurry.notify_one();
                            // Where the other process serves already, this one may leave at once.
                            return relieved.now_or_never().flatten();
                        }
                    };
                    if relieved.is_some() {
                        return relieved;
                    }
                }
            }
        }
    }
}
