//! The end: what was begun is finished.

use tokio::task::JoinHandle;

use super::live::Live;
use super::signals::Signals;
use super::succession::Relieved;

/// Finishes what was begun, for at most `server.drain`. `telling` ends by itself.
pub(super) async fn finish(
    live: Live,
    relieved: Option<Relieved>,
    telling: Option<JoinHandle<()>>,
    signals: &mut Signals,
) {
    let Live {
        config,
        edge,
        mut keeping,
        ..
    } = live;
    let drain = config.server.drain;
    if let Some(relieved) = &relieved {
        tracing::info!(to = relieved.by.pid, ?drain, "finishing what was begun");
    } else {
        tracing::info!(?drain, "stopping");
    }
    let connections = async {
        match relieved {
            Some(_) => edge.hand_over(drain).await,
            None => edge.stop(drain).await,
        }
    };
    let telling = async {
        if let Some(telling) = telling {
            // It panics nowhere; were it to, nobody could be told any more.
            let _ = telling.await;
        }
    };
    // What is still to be told of certificates has as much time as running requests.
    let drained = async { tokio::join!(connections, keeping.finish(drain), telling).0 };
    tokio::select! {
        cut = drained => match cut {
            0 => tracing::info!("every request was finished"),
            cut => tracing::warn!(connections = cut, "server.drain is over: connections cut"),
        },
        () = signals.stop() => tracing::warn!("second signal: stopping at once"),
    }
    keeping.cut().await;
}
