//! What the system tells of processes that are not our children.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Whether the number belongs to a process, be it a zombie.
pub(super) fn is_alive(pid: Pid) -> bool {
    matches!(kill(pid, None), Ok(()) | Err(Errno::EPERM))
}

/// Whether the process has ended, but its parent has not taken note. An orphan's parent is process 1,
/// and that of many a container (`tail`, `su`) never does. `false` where the system doesn't tell.
pub(super) fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the program's name, which may contain anything (proc_pid_stat(5)).
    let name_end = stat.iter().rposition(|&byte| byte == b')');
    name_end.is_some_and(|end| stat[end..].starts_with(b") Z"))
}

/// Whether the process works in `directory`, as every process of a server does in its cluster's;
/// `None` where the system doesn't tell.
pub(super) fn works_in(pid: Pid, directory: &Path) -> Option<bool> {
    if !Path::new("/proc/self/cwd").exists() {
        return None;
    }
    // Unreadable means another user's.
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
    Some(cwd.is_ok_and(|cwd| cwd == directory))
}

/// Whether any process works in `directory`.
pub(super) fn anyone_works_in(directory: &Path) -> bool {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .any(|pid| works_in(Pid::from_raw(pid), directory) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart_by_where_they_work() {
        let us = Pid::this();
        assert!(is_alive(us));
        let cwd = std::env::current_dir().unwrap();
        if let Some(answer) = works_in(us, &cwd) {
            assert!(answer);
            assert_eq!(works_in(us, Path::new("/nowhere")), Some(false));
            assert!(anyone_works_in(&cwd));
            assert!(!anyone_works_in(Path::new("/nowhere")));
        }
    }
}
