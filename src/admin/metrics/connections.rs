//! Connections and their handshakes, by kind of listener; what compression makes of bodies.

use super::exposition::Exposition;
use crate::edge::{Figures, HandshakeFigures};

pub(super) fn all(out: &mut Exposition, edge: &Figures) {
    let kinds = edge.connections();
    out.counter(
        "unibody_connections_accepted_total",
        "Connections accepted, those that were refused afterwards included.",
    );
    for each in &kinds {
        out.sample(&[("listener", each.listener)], each.accepted);
    }
    out.family("unibody_connections_open", "Connections open now.");
    for each in &kinds {
        out.sample(&[("listener", each.listener)], each.open);
    }
    out.counter(
        "unibody_connections_refused_total",
        "Connections ended before anything was served, by the setting that wants it.",
    );
    for each in &kinds {
        for (reason, count) in &each.refused {
            out.sample(&[("listener", each.listener), ("reason", reason)], count);
        }
    }
    for handshakes in kinds.iter().filter_map(|each| each.handshakes.as_ref()) {
        shaken(out, handshakes);
    }
    compressed(out, edge);
}

fn shaken(out: &mut Exposition, handshakes: &HandshakeFigures) {
    out.counter(
        "unibody_tls_handshakes_total",
        "TLS handshakes done, by kind (full, resumed) and version.",
    );
    for (kind, version, count) in &handshakes.done {
        out.sample(&[("kind", kind), ("version", version)], count);
    }
    out.counter(
        "unibody_tls_handshakes_failed_total",
        "TLS handshakes that came to nothing; slow ones took longer than timeouts.tls_handshake.",
    );
    for (reason, count) in &handshakes.failed {
        out.sample(&[("reason", reason)], count);
    }
    out.histogram(
        "unibody_tls_handshake_duration_seconds",
        "How long TLS handshakes have taken, the client's share included.",
    );
    out.latencies(&[], &handshakes.took);
}

fn compressed(out: &mut Exposition, edge: &Figures) {
    let families = [
        (
            "unibody_compression_input_bytes_total",
            "Bytes of answers compressed on their way, before.",
        ),
        (
            "unibody_compression_output_bytes_total",
            "Bytes of answers compressed on their way, after.",
        ),
    ];
    let codings = edge.compression();
    for (side, (family, help)) in families.into_iter().enumerate() {
        out.counter(family, help);
        for (coding, bytes) in &codings {
            out.sample(&[("coding", coding.name())], bytes[side]);
        }
    }
}
