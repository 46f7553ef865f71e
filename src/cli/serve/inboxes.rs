//! What a running server is told to do, and by whom.

use std::iter;
use std::pin::pin;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::database::DatabaseSide;
use super::end::End;
use super::live::Live;
use super::signals::{Asked, Signals};
use super::succession::{Relieved, Reply, Request, Succession};
use super::watching::{Look, Watching};
use crate::admin::reload;
use crate::handover::Program;
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
    HandOver(Request, Reply),
}

/// How a handover went, and what was asked for meanwhile.
struct HandedOver {
    relieved: anyhow::Result<Relieved>,
    is_stopping: bool,
    reload_waits: bool,
}

impl Inboxes {
    /// Does what is asked for until the server is to stop, or another process has taken over.
    pub(super) async fn work(&mut self, live: &mut Live, database: &DatabaseSide) -> End {
        loop {
            let next = tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::Stop => return End::Stopped,
                    Asked::Reload => Next::Reload(None),
                    Asked::HandOver => {
                        let (request, reply) = Request::by_signal();
                        Next::HandOver(request, reply)
                    }
                },
                Some(wish) = self.reloads.recv() => Next::Reload(Some(wish)),
                () = self.watching.changed() => Next::Reload(None),
                (request, reply) = self.succession.asked() => Next::HandOver(request, reply),
            };
            match next {
                Next::Reload(wish) => {
                    if let Some(end) = self.reload(live, wish).await {
                        return end;
                    }
                }
                Next::HandOver(request, reply) => {
                    let HandedOver {
                        relieved,
                        is_stopping,
                        reload_waits,
                    } = self.hand_over(request, live, database).await;
                    self.tell(&relieved, is_stopping, reload_waits);
                    reply.tell(&relieved, is_stopping);
                    match relieved {
                        Ok(relieved) => return End::Relieved(relieved),
                        Err(_) if is_stopping => return End::Stopped,
                        Err(_) if reload_waits => {
                            if let Some(end) = self.reload(live, None).await {
                                return end;
                            }
                        }
                        Err(_) => {}
                    }
                }
            }
        }
    }

    /// Reloads, and tells how that went; returns the end, where it comes meanwhile.
    async fn reload(&mut self, live: &mut Live, wish: Option<reload::Wish>) -> Option<End> {
        self.systemd.reloading();
        let look = Look::at(live.source.path());
        let outcome = tokio::select! {
            outcome = live.reload() => outcome,
            () = self.signals.stop() => return Some(End::Stopped),
        };
        self.systemd.ready();
        if !matches!(outcome, reload::Outcome::Reloaded { .. }) {
            self.systemd.status("serving; the last reload failed");
        }
        self.watching.follow(look, &live.config);
        if let Some(wish) = wish {
            wish.answer(outcome);
        }
        None
    }

    async fn hand_over(
        &mut self,
        request: Request,
        live: &Live,
        database: &DatabaseSide,
    ) -> HandedOver {
        let (hurry, hurried) = watch::channel(false);
        let handing_over = self.succession.hand_over(request, live, database, hurried);
        let mut handing_over = pin!(handing_over);
        let mut reload_waits = false;
        loop {
            tokio::select! {
                relieved = handing_over.as_mut() => return HandedOver {
                    relieved,
                    is_stopping: false,
                    reload_waits,
                },
                () = self.signals.stop() => break,
                Some(wish) = self.reloads.recv() => {
                    reload_waits = true;
                    // An upgrade may take longer than anybody waits for a reload.
                    let words = "an upgrade is under way: the reload is passed on when that is over, and the log tells how it went";
                    wish.answer(reload::Outcome::Failed(words.to_owned()));
                }
            }
        }
        hurry.send_replace(true);
        HandedOver {
            relieved: handing_over.await,
            is_stopping: true,
            reload_waits,
        }
    }

    /// Tells how a handover went.
    fn tell(&mut self, relieved: &anyhow::Result<Relieved>, is_stopping: bool, reload_waits: bool) {
        match relieved {
            Ok(relieved) => {
                let Program { pid, version } = &relieved.by.program;
                tracing::info!(pid, version, "another process has taken over");
                self.pass_on_reloads(relieved, reload_waits);
                self.systemd.handed_over(*pid);
            }
            Err(error) if is_stopping => tracing::info!("not handed over: {error:#}"),
            Err(error) => {
                tracing::error!("not handed over, this process goes on: {error:#}");
                self.systemd.status("serving; the last upgrade failed");
            }
        }
    }

    /// Whoever has asked for a reload meanwhile doesn't wait in vain. One was put off where a `reload_waits`.
    fn pass_on_reloads(&mut self, relieved: &Relieved, reload_waits: bool) {
        self.reloads.close();
        let wishes: Vec<_> = iter::from_fn(|| self.reloads.try_recv().ok()).collect();
        let is_signalled = self.signals.take_reload();
        if wishes.is_empty() && !is_signalled && !reload_waits {
            return;
        }
        let then = if relieved.pass_on_reload() {
            "it was asked to reload, and its log tells how that went"
        } else {
            "ask again"
        };
        let pid = relieved.by.program.pid;
        for wish in wishes {
            let words = format!("process {pid} has taken over meanwhile: {then}");
            wish.answer(reload::Outcome::Failed(words));
        }
        if is_signalled {
            // systemd waits for the process that it has asked, and hears no other one yet.
            self.systemd.reloading();
            self.systemd.ready();
        }
    }

    /// Nothing is heard any more but signals; whoever waits learns that. Returns what waits for processes
    /// that still finish what they have begun, too.
    pub(super) fn close(self) -> (Signals, JoinSet<()>) {
        // The next process has sockets of its own to the same queues.
        (self.signals, self.succession.close())
    }
}
