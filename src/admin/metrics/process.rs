//! The process and its runtime: the names that every Prometheus exporter gives them.
//!
//! What the system doesn't tell has no sample; Linux tells all.

use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use time::OffsetDateTime;
use tokio::runtime::Handle;

use super::exposition::Exposition;
use crate::admin::sampler::process as machine;

pub(super) fn all(out: &mut Exposition, started: OffsetDateTime) {
    out.family("unibody_build_info", "1, with the version of the program.");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.family(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
    );
    out.sample(&[], started.unix_timestamp());
    out.counter(
        "process_cpu_seconds_total",
        "Processor time used, the system's on its behalf included, in seconds.",
    );
    out.sample_if_any(cpu_seconds());
    out.family(
        "process_resident_memory_bytes",
        "Memory in use (RSS), in bytes.",
    );
    out.sample_if_any(machine::memory());
    let files = machine::open_files();
    out.family("process_open_fds", "Open file descriptors.");
    out.sample_if_any(files.map(|(open, _)| open));
    out.family(
        "process_max_fds",
        "The most file descriptors that may be open.",
    );
    out.sample_if_any(files.map(|(_, most)| most));
    out.family("process_threads", "Threads of the operating system.");
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count);
    out.sample_if_any(threads.ok());
    runtime(out);
}

fn runtime(out: &mut Exposition) {
    let runtime = Handle::current().metrics();
    let workers = runtime.num_workers();
    let gauges = [
        (
            "unibody_runtime_workers",
            "Threads that run tasks.",
            workers,
        ),
        (
            "unibody_runtime_tasks",
            "Tasks that have not ended: connections, HTTP/2 streams, background work.",
            runtime.num_alive_tasks(),
        ),
        (
            "unibody_runtime_queue_depth",
            "Tasks in the queue that all workers take from.",
            runtime.global_queue_depth(),
        ),
    ];
    for (family, help, value) in gauges {
        out.family(family, help);
        out.sample(&[], value);
    }
    out.counter(
        "unibody_runtime_busy_seconds_total",
        "Time that each worker was not waiting for something to do, in seconds.",
    );
    for worker in 0..workers {
        let busy = runtime.worker_total_busy_duration(worker);
        out.sample(&[("worker", &worker.to_string())], busy.as_secs_f64());
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of centuries are exact"
)]
fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let used = usage.user_time() + usage.system_time();
    Some(used.num_microseconds() as f64 / 1e6)
}
