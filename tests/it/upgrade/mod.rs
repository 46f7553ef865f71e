//! One process after the other on the same sockets: no request fails, whatever becomes of the next one.

mod both;
mod failing;
mod finding;
mod load;
mod state;
mod systemd;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use nix::unistd::Pid;

use crate::support::server::{PROGRAM, Server, Setup};

/// Plain and TLS listeners, each of which serves everything.
const LISTENERS: &str = r#"
[server]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
hosts = ["localhost", "127.0.0.1"]
"#;

/// A server whose program is a link that a test may turn elsewhere.
pub(crate) fn setup(server: &str, tables: &str) -> Setup {
    let setup = Setup::new().admin().config(&format!(
        "{LISTENERS}{server}\n[tls]\nredirect = false\n{tables}\n"
    ));
    link_program(setup.directory(), Path::new(env!("CARGO_BIN_EXE_unibody")));
    setup
}

/// Puts another program where the server's is.
fn link_program(directory: &Path, program: &Path) {
    let aside = directory.join("program.new");
    symlink(program, &aside).unwrap();
    std::fs::rename(aside, directory.join(PROGRAM)).unwrap();
}

/// Puts a script where the server's program is.
fn write_program(directory: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let aside = directory.join("program.new");
    std::fs::write(&aside, script).unwrap();
    std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(aside, directory.join(PROGRAM)).unwrap();
}

/// Has a new process take over; returns its id.
pub(crate) fn upgrade(server: &mut Server) -> Pid {
    let old = server.pid();
    let asked = server.ask(&["upgrade", "--watch", "200ms"]);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(asked.status.code(), Some(0), "{said}{complaint}");
    let new = succeeded(server, &said);
    assert_ne!(new, old);
    assert!(said.contains(&format!("(process {old})")), "{said}");
    new
}

/// Asks for an upgrade that is watched for so long, and waits until the new process serves, too.
fn upgrade_and_watch(server: &mut Server, watch: &str) -> (Child, Pid) {
    let mut command = server.command(&["upgrade", "--watch", watch]);
    command.env("ADMIN", server.admin.unwrap().to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let asking = command.spawn().unwrap();
    let mut new = server.pid();
    // Nobody may have read yet what was said of the process that serves now.
    while new == server.pid() {
        new = pid_in(&server.wait_for_line("the new process serves, and this one as well"));
    }
    (asking, new)
}

/// Learns from "… (process N) serves now …" who serves.
fn succeeded(server: &mut Server, said: &str) -> Pid {
    let (_, rest) = said.split_once("(process ").expect("it names the process");
    let pid = rest.split(')').next().unwrap().parse().unwrap();
    let pid = Pid::from_raw(pid);
    server.is_succeeded_by(pid);
    pid
}

/// The process id in "… pid=N …".
fn pid_in(line: &str) -> Pid {
    let (_, rest) = line.split_once("pid=").unwrap();
    Pid::from_raw(rest.split(' ').next().unwrap().parse().unwrap())
}

/// Asserts that an upgrade failed, that the command said why in one line, and that `pid` serves on.
fn assert_refused(asked: &Output, pid: Pid, reasons: &[&str]) {
    let complaint = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(
        complaint.contains(&format!("(process {pid}) goes on")),
        "{complaint}"
    );
    for reason in reasons {
        assert!(complaint.contains(reason), "{reason:?}: {complaint}");
    }
}

/// Waits until the process has ended, whosever child it is.
pub(crate) fn wait_for_end(pid: Pid) {
    let begin = std::time::Instant::now();
    while is_running(pid) {
        assert!(
            begin.elapsed() < crate::support::server::PATIENCE,
            "{pid} still runs"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The state follows the name, which is in parentheses.
    stat.is_ok_and(|stat| !stat.contains(") Z"))
}
