//! Requests: how many, how they ended, and how long they took.

use super::exposition::Exposition;
use crate::edge::{Figures, RouteFigures, StatusClass};

pub(super) fn all(out: &mut Exposition, edge: &Figures) {
    let routes = edge.routes();
    counted(out, &routes);
    out.counter(
        "unibody_requests_unrouted_total",
        "Requests that came to no route, by the reason.",
    );
    for (reason, count) in edge.unrouted() {
        out.sample(&[("reason", reason)], count);
    }
    out.family(
        "unibody_requests_running",
        "Requests that have begun and not ended; ready answers are too short to be among them.",
    );
    out.sample(&[], edge.running());
    timed(out, &routes);
    moved(out, &routes);
    kept(out, &routes);
}

fn counted(out: &mut Exposition, routes: &[RouteFigures]) {
    out.counter(
        "unibody_requests_total",
        "Requests by route, method and class of the answer's status.",
    );
    for route in routes {
        // A series that begins with its first failure hides that one from `rate()`. All that there
        // could be would be six times as many.
        let told = route
            .requests
            .each()
            .filter(|(_, class, count)| *count > 0 || *class == StatusClass::ServerError);
        for (method, class, count) in told {
            let labels = [
                ("route", route.route.as_str()),
                ("method", method),
                ("status", class.label()),
            ];
            out.sample(&labels, count);
        }
    }
    out.counter(
        "unibody_ready_answers_total",
        "Answers given from memory as they were given before.",
    );
    for route in routes {
        out.sample(&[("route", &route.route)], route.requests.ready());
    }
}

fn kept(out: &mut Exposition, routes: &[RouteFigures]) {
    out.counter(
        "unibody_file_answers_total",
        "Answers made of files, by what sufficed: memory, or the disk. Ready answers are not among them.",
    );
    for route in routes.iter().filter(|route| route.is_files) {
        for (from, count) in [("memory", route.from_memory), ("disk", route.from_disk)] {
            out.sample(&[("route", &route.route), ("from", from)], count);
        }
    }
}

fn timed(out: &mut Exposition, routes: &[RouteFigures]) {
    out.histogram(
        "unibody_request_duration_seconds",
        "From the end of a request's head to the end of its answer, without WebSockets and event streams.",
    );
    for route in routes {
        out.latencies(&[("route", &route.route)], &route.latencies);
    }
    out.histogram(
        "unibody_edge_duration_seconds",
        "From the end of a request's head to the beginning of its answer, without the time of the app or upstream.",
    );
    for route in routes {
        out.latencies(&[("route", &route.route)], &route.on_edge);
    }
    out.histogram(
        "unibody_app_duration_seconds",
        "From the call of the app to the head of its answer.",
    );
    for route in routes.iter().filter(|route| route.is_app) {
        out.latencies(&[("route", &route.route)], &route.answering);
    }
    out.histogram(
        "unibody_app_database_duration_seconds",
        "How long the app has waited for the database and used it, before the head of its answer.",
    );
    for route in routes.iter().filter(|route| route.is_app) {
        out.latencies(&[("route", &route.route)], &route.on_database);
    }
    out.histogram(
        "unibody_upstream_duration_seconds",
        "From the choice of an upstream's server to the head of its answer.",
    );
    for route in routes {
        if let Some(upstream) = &route.upstream {
            let labels = [("route", route.route.as_str()), ("upstream", upstream)];
            out.latencies(&labels, &route.answering);
        }
    }
}

fn moved(out: &mut Exposition, routes: &[RouteFigures]) {
    type Value = fn(&RouteFigures) -> u64;
    let families: [(&str, &str, Value); 2] = [
        (
            "unibody_request_bytes_total",
            "Bytes of requests' content, counted at the end of each.",
            |route| route.received,
        ),
        (
            "unibody_response_bytes_total",
            "Bytes of answers' content as it was sent, counted at the end of each.",
            |route| route.sent,
        ),
    ];
    for (family, help, value) in families {
        out.counter(family, help);
        for route in routes {
            out.sample(&[("route", &route.route)], value(route));
        }
    }
}
