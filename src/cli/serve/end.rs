//! The end: what was begun is finished.

use tokio::task::{JoinHandle, JoinSet};

use super::live::Live;
use super::signals::{Asked, Signals};
use super::succession::Relieved;

/// How the work of this process comes to its end.
#[expect(clippy::large_enum_variant, reason = "one is made")]
pub(super) enum End {
    /// By a signal.
    Stopped,
    /// By a signal, while the process before this one still serves as well.
    HandedBack,
    /// By the process before this one.
    TakenBack,
    /// Another process does it.
    Relieved(Relieved),
}

impl End {
    /// Whether somebody else takes clients from the same queues.
    fn is_followed(&self) -> bool {
        matches!(self, Self::HandedBack | Self::Relieved(_))
    }
}

/// Finishes what was begun, for at most `server.drain`. `telling` and `departing` end by themselves.
pub(super) async fn finish(
    live: Live,
    end: End,
    telling: Option<JoinHandle<()>>,
    mut departing: JoinSet<()>,
    signals: &mut Signals,
) {
    let Live {
        config,
        edge,
        mut keeping,
        ..
    } = live;
    let drain = config.server.drain;
    match &end {
        End::Relieved(relieved) => {
            tracing::info!(
                to = relieved.by.program.pid,
                ?drain,
                "finishing what was begun"
            );
        }
        End::HandedBack => {
            tracing::info!(?drain, "stopping, as the process before this one goes on");
        }
        End::Stopped | End::TakenBack => tracing::info!(?drain, "stopping"),
    }
    let connections = async {
        if end.is_followed() {
            edge.hand_over(drain).await
        } else {
            edge.stop(drain).await
        }
    };
    let telling = async {
        if let Some(telling) = telling {
            // It panics nowhere; were it to, nobody could be told any more.
            let _ = telling.await;
        }
    };
    // They may still need the embedded database, and systemd kills what is left when this process has ended.
    let departed = async { while departing.join_next().await.is_some() {} };
    // What is still to be told of certificates has as much time as running requests.
    let drained = async { tokio::join!(connections, keeping.finish(drain), telling, departed).0 };
    tokio::select! {
        cut = drained => match cut {
            0 => tracing::info!("every request was finished"),
            cut => tracing::warn!(connections = cut, "server.drain is over: connections cut"),
        },
        () = until_cut(&end, signals) => tracing::warn!("second signal: stopping at once"),
    }
    departing.shutdown().await;
    keeping.cut().await;
}

/// Resolves with the signal that ends what still drains, and passes on what is asked for until then.
async fn until_cut(end: &End, signals: &mut Signals) {
    // The process before this one may have been told by the same signal as this one (Ctrl-C), and who puts a
    // container beside another stops the old one.
    let mut is_expected = matches!(end, End::TakenBack | End::Relieved(_));
    loop {
        match (signals.next().await, end) {
            (Asked::Stop, _) if is_expected => {
                tracing::info!("stopping already: another signal cuts what is under way");
                is_expected = false;
            }
            (Asked::Stop, _) => return,
            (Asked::Reload, End::Relieved(relieved)) => {
                relieved.pass_on_reload();
            }
            (Asked::Reload | Asked::HandOver, _) => {}
        }
    }
}
