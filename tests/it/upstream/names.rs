//! Names of servers: requests follow their records.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup, through};
use crate::support::upstream::{Connection, Upstream};

/// The machine's name server, for a server that is started [`Names::seen_by`].
struct Names {
    process: Child,
    hosts: PathBuf,
    resolv: PathBuf,
}

impl Names {
    /// `None` where that is not allowed, which is told: `resolv.conf` can't name another port than 53.
    fn start(directory: &Path) -> Option<Self> {
        // Root of a container may be no root in this.
        let mounts = Command::new("unshare").args(["--mount", "true"]).status();
        if !Uid::effective().is_root() || !mounts.unwrap().success() {
            eprintln!("not tried: only root may be the machine's name server");
            return None;
        }
        let number = std::process::id();
        let address = format!("127.53.{}.{}", number >> 8 & 0xff, number & 0xff);
        let (hosts, resolv) = (directory.join("hosts"), directory.join("resolv.conf"));
        fs::write(&hosts, "").unwrap();
        fs::write(&resolv, format!("nameserver {address}\n")).unwrap();
        let process = Command::new("dnsmasq")
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--user=root",
            ])
            .args([
                "--no-resolv",
                "--no-hosts",
                "--bind-interfaces",
                "--pid-file",
            ])
            .arg(format!("--listen-address={address}"))
            .arg(format!("--addn-hosts={}", hosts.display()))
            .arg("--local-ttl=1")
            .spawn()
            .expect("dnsmasq is installed (script/install test)");
        Some(Self {
            process,
            hosts,
            resolv,
        })
    }

    /// From now on it says these `records`, a line each.
    fn say(&self, records: &str) {
        fs::write(&self.hosts, records).unwrap();
        let process = Pid::from_raw(self.process.id().cast_signed());
        kill(process, Signal::SIGHUP).unwrap();
    }

    /// The same command, to which this is the machine's name server.
    fn seen_by(&self, command: &Command) -> Command {
        let resolv = self.resolv.to_str().unwrap();
        let script = r#"mount --bind "$1" "$(readlink -f /etc/resolv.conf)" && shift && exec "$@""#;
        let arguments = ["--mount", "sh", "-c", script, "sh", resolv];
        through("unshare", &arguments, command)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn saying(word: &'static str) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    move |connection| {
        while connection.request().is_some() {
            let length = word.len();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{word}"
            ));
        }
    }
}

#[test]
fn requests_follow_the_records_of_a_name() {
    let one = Upstream::scripted_at("127.0.0.1:0", saying("one"));
    let port = one.address.rsplit(':').next().unwrap();
    let two = Upstream::scripted_at(format!("127.0.0.2:{port}"), saying("two"));
    let setup = Setup::new().config(&format!(
        "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n[tls]\nredirect = false\n\
         [[upstream]]\nname = \"backend\"\nservers = [\"app.test:{port}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"backend\"\n"
    ));
    let Some(names) = Names::start(setup.directory()) else {
        return;
    };
    let mut server = setup.spawn_as(|command| names.seen_by(&command));
    server.wait_until_ready();
    let get = |server: &Server| {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = raw.answer();
        (answer.status, answer.text())
    };
    assert_eq!(get(&server).0, 502, "nobody knows the name");
    let wait_for = |word: &str| {
        let deadline = Instant::now() + PATIENCE;
        while get(&server) != (200, word.to_owned()) {
            assert!(Instant::now() < deadline, "{word}: {:?}", get(&server));
        }
        for _ in 0..3 {
            assert_eq!(get(&server).1, word);
        }
    };
    names.say("127.0.0.1 app.test\n");
    wait_for("one");
    names.say("127.0.0.2 app.test\n");
    wait_for("two");

    // Several addresses are several servers, also those that come later.
    names.say("127.0.0.1 app.test\n127.0.0.2 app.test\n");
    let deadline = Instant::now() + PATIENCE;
    while get(&server).1 != "one" {
        assert!(Instant::now() < deadline, "both are asked");
    }
    let words = [get(&server).1, get(&server).1];
    assert!(
        words.contains(&"one".to_owned()) && words.contains(&"two".to_owned()),
        "{words:?}"
    );
    drop(two);
}
