//! Open files: whether there are as many as connections may come.

use super::finding::Finding;
use crate::config::Config;
use crate::edge::open_files::{allowed, connections_within, needed, remedy};

pub(super) fn check(config: &Config) -> Finding {
    judge(
        allowed(),
        needed(config),
        config.server.max_connections,
        !config.upstreams.is_empty(),
    )
}

fn judge(allowed: u64, needed: u64, connections: usize, forwards: bool) -> Finding {
    if allowed >= needed {
        return Finding::ok(format!(
            "open files: {allowed} are allowed, {needed} are needed for server.max_connections = {connections}"
        ));
    }
    let room = connections_within(allowed, forwards).min(connections);
    Finding::warn(
        format!(
            "open files: {allowed} are allowed here, and server.max_connections = {connections} needs {needed}: no more than {room} connections are let in"
        ),
        remedy(needed),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::*;

    #[test]
    fn too_few_are_a_warning_that_says_how_many_connections_that_makes() {
        let table = [
            (10_256, 10_256, false, Grade::Ok, "10256", "just enough"),
            (
                1024,
                10_256,
                false,
                Grade::Warn,
                " 768 ",
                "one a connection",
            ),
            (
                1024,
                20_256,
                true,
                Grade::Warn,
                " 384 ",
                "forwarding takes two",
            ),
            (u64::MAX, u64::MAX, true, Grade::Ok, "allowed", "no limit"),
        ];
        for (allowed, needed, forwards, grade, words, why) in table {
            let finding = judge(allowed, needed, 10_000, forwards);
            assert_eq!(finding.grade, grade, "{why}");
            assert!(finding.what.contains(words), "{why}: {}", finding.what);
        }
    }
}
