//! The answer to a head that is not let in.
//!
//! No request exists yet, so nothing of the normal way can answer: the few bytes are written here,
//! with the same headers as every other answer, and the connection ends.

use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use http::{HeaderValue, header};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use tokio::io::AsyncWriteExt;

use super::head::Refusal;
use super::wire::Wire;
use crate::config::AccessFormat;
use crate::edge::access_log::Line;
use crate::edge::connection::Peer;
use crate::edge::security_headers::SecurityHeaders;
use crate::edge::{Edge, error_page, request_id};
use crate::telemetry::Tally;

/// Scanners send these all day; each is counted, and the first few of a minute stand in the access log.
static REFUSED: Tally = Tally::new("request heads were refused", 10);

/// Tells the client why, and writes the access log's line.
pub(super) async fn answer(wire: &mut Wire, edge: &Edge, peer: &Peer, refusal: Refusal) {
    let started = Instant::now();
    let id = request_id::make();
    let (content_type, page) =
        error_page::page(None, refusal.status, Some(refusal.reason), None, &id);
    // Content after the answer to a HEAD would be read as another answer (RFC 9112, section 6.3).
    let is_head = wire.ahead().starts_with(b"HEAD ");
    let mut sent = 0;
    if let Ok(head) = head(edge, peer, refusal, content_type, page.len(), &id) {
        let mut bytes = BytesMut::with_capacity(1024);
        bytes.extend_from_slice(status_line(refusal).as_bytes());
        head.header_to_h1_wire(&mut bytes);
        bytes.extend_from_slice(b"\r\n");
        let content = if is_head { &[][..] } else { &page };
        bytes.extend_from_slice(content);
        // A client that is already gone is told nothing; the log line says the rest.
        let told = async {
            wire.send(&[]).await?;
            wire.write_all(&bytes).await?;
            wire.flush().await
        };
        if told.await.is_ok() {
            sent = content.len();
        }
    }
    edge.measures.refused(refusal.status);
    let snapshot = edge.snapshot();
    let log = &snapshot.config.log;
    if log.access == AccessFormat::Off
        || !REFUSED.count(|| format!("{}: {}", peer.address, refusal.reason))
    {
        return;
    }
    let line = Line::refused(peer, refusal.status, sent, started.elapsed(), &id);
    edge.access_log.write(log, &line);
}

fn head(
    edge: &Edge,
    peer: &Peer,
    refusal: Refusal,
    content_type: HeaderValue,
    length: usize,
    id: &str,
) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(refusal.status, Some(16))?;
    head.insert_header(header::DATE, httpdate::fmt_http_date(SystemTime::now()))?;
    head.insert_header(header::CONTENT_TYPE, content_type)?;
    head.insert_header(header::CONTENT_LENGTH, length)?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    head.insert_header(header::CONNECTION, "close")?;
    let general = edge.snapshot().headers.clone();
    SecurityHeaders::without_request(general, peer.tls, request_id::header_value(id))
        .apply(&mut head)?;
    Ok(head)
}

fn status_line(refusal: Refusal) -> String {
    let reason = refusal.status.canonical_reason().unwrap_or("Refused");
    format!("HTTP/1.1 {} {reason}\r\n", refusal.status.as_str())
}
