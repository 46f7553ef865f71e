//! A database on the network, with a password and a certificate.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use rcgen::{CertificateParams, KeyPair};

use super::{Site, names};
use crate::support::command::{free_port, run};
use crate::support::database::{TestDatabase, make_traversable};
use crate::support::server::PATIENCE;

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A PostgreSQL that takes nothing but TLS with a password.
struct Remote {
    process: Child,
    port: u16,
}

impl Remote {
    fn start(directory: &Path) -> Self {
        let cluster = directory.join("cluster");
        let password = directory.join("password");
        std::fs::write(&password, "s3cret, '\"").unwrap();
        give(&password);
        std::fs::create_dir(&cluster).unwrap();
        give(&cluster);
        let mut initdb = as_postgres(&format!("{BIN}/initdb"));
        initdb
            .args(["--username=owner", "--auth=scram-sha-256", "--pgdata"])
            .arg(&cluster)
            .arg(format!("--pwfile={}", password.display()));
        run(initdb).assert_status(0);

        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key);
        let certificate = certificate.unwrap().pem();
        std::fs::write(directory.join("root.pem"), &certificate).unwrap();
        for (name, text) in [
            ("server.crt", certificate),
            ("server.key", key.serialize_pem()),
            (
                "pg_hba.conf",
                "hostssl all all 127.0.0.1/32 scram-sha-256\n".to_owned(),
            ),
        ] {
            let file = cluster.join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            give(&file);
        }
        let port = free_port();
        let mut command = as_postgres(&format!("{BIN}/postgres"));
        command
            .arg("-D")
            .arg(&cluster)
            .args(["-c", "ssl=on", "-c", "unix_socket_directories="])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                &format!("port={port}"),
            ]);
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        Self { process, port }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.process.id().cast_signed());
        kill(pid, Signal::SIGINT).unwrap();
        self.process.wait().unwrap();
    }
}

fn as_postgres(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if let Some(user) = postgres() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

fn give(path: &Path) {
    if let Some(user) = postgres() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

/// PostgreSQL does not run as root.
fn postgres() -> Option<User> {
    let is_root = Uid::effective().is_root();
    is_root.then(|| User::from_name("postgres").unwrap().unwrap())
}

#[test]
fn a_database_behind_tls_and_a_password_is_backed_up_and_restored() {
    let site = Site::on(TestDatabase::empty());
    make_traversable(site.directory.path());
    let remote = Remote::start(site.directory.path());
    let url = |database: &str, root: &str| {
        format!(
            "postgres://owner:s3cret%2C%20%27%22@localhost:{}/{database}?sslmode=verify-full&sslrootcert={}",
            remote.port,
            site.path(root).display()
        )
    };
    let unibody = |arguments: &[&str]| {
        let mut command = site.command_on(&url("postgres", "root.pem"), arguments);
        // What would lead libpq elsewhere.
        command
            .env("PGHOST", "nowhere.invalid")
            .env("PGSSLMODE", "disable");
        run(command)
    };
    let begun = Instant::now();
    while unibody(&["migrate"]).status != 0 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    unibody(&["seed", "--count", "20"]).assert_status(0);
    unibody(&["backup", "notes.dump"])
        .assert_status(0)
        .assert_last_line(&["restored for a look"]);
    unibody(&["restore", "--clean", "notes.dump"]).assert_status(0);
    let migrated = unibody(&["migrate"]).assert_status(0);
    assert!(!migrated.stdout.contains("applied"), "{migrated:#?}");
    assert_eq!(names(&site.path("tmp")), [] as [&str; 0]);
}
