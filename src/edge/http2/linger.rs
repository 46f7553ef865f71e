//! A client that is refused and goes on sending what nobody reads.
//!
//! Dropping its stream resets it with `NO_ERROR`, as RFC 9113, section 8.1 has it. Some clients, the curl of
//! Debian 12 among them, find that before they have looked at the answer, and tell of a failure instead.
//! So they have a moment to see by themselves that there is nothing more to send. Not where the answer is a
//! good one: that curl would neither send on nor stop then.

use std::time::Duration;

use pingora_core::protocols::http::ServerSession;
use pingora_proxy::Session;
use tokio::time::timeout;

/// How long the client has.
const LINGER: Duration = Duration::from_secs(1);

/// Waits until the client has stopped sending the body of its request, if it does so soon. Of that no more
/// than `most` bytes are taken.
pub(in crate::edge) async fn linger(session: &mut Session, most: u64) {
    let answered = session.response_written().map(|head| head.status.as_u16());
    if answered.is_none_or(|status| status < 400) {
        return;
    }
    let ServerSession::H2(stream) = session.as_downstream_mut() else {
        return;
    };
    let stopped = async {
        let mut read = 0;
        while !stream.is_body_done() && read < most {
            match stream.read_body_bytes().await {
                Ok(Some(bytes)) => read += bytes.len().max(1) as u64,
                // Its end, or a reset.
                Ok(None) | Err(_) => return,
            }
        }
        if !stream.is_body_done() {
            let _ = stream.idle().await;
        }
    };
    // Who goes on is reset now.
    let _ = timeout(LINGER, stopped).await;
}
