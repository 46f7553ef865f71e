//! Open files: every connection is one, and a forwarded one is two.

use nix::sys::resource::{Resource, getrlimit};

use super::finding::Finding;
use crate::config::Config;

/// Listeners, the database's pool, files being served, the log.
const OTHERS: u64 = 256;

pub(super) fn check(config: &Config) -> Option<Finding> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let connections = u64::try_from(config.server.max_connections).unwrap_or(u64::MAX);
    Some(judge(limit, connections, !config.upstreams.is_empty()))
}

fn judge(limit: u64, connections: u64, forwards: bool) -> Finding {
    let each = if forwards { 2 } else { 1 };
    let needed = connections.saturating_mul(each).saturating_add(OTHERS);
    if limit >= needed {
        return Finding::ok(format!(
            "open files: {limit} are allowed, {needed} are needed for server.max_connections = {connections}"
        ));
    }
    Finding::warn(
        format!(
            "open files: {limit} are allowed here, and server.max_connections = {connections} needs {needed}: new connections are refused before that"
        ),
        format!(
            "raise the limit (LimitNOFILE={needed} in systemd, `ulimits: nofile: {needed}` in Compose, `ulimit -n {needed}` in a shell), or lower server.max_connections"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::*;

    #[test]
    fn there_are_as_many_files_as_connections_and_some() {
        let table = [
            (1024, 10_000, false, Grade::Warn, "a shell's usual limit"),
            (10_256, 10_000, false, Grade::Ok, "just enough"),
            (10_255, 10_000, false, Grade::Warn, "one short"),
            (10_256, 10_000, true, Grade::Warn, "forwarding takes two"),
            (20_256, 10_000, true, Grade::Ok, "two each"),
            (u64::MAX, u64::MAX, true, Grade::Ok, "no limit at all"),
        ];
        for (limit, connections, forwards, grade, why) in table {
            assert_eq!(judge(limit, connections, forwards).grade, grade, "{why}");
        }
    }
}
