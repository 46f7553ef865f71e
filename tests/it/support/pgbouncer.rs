//! A real PgBouncer in front of a test's database.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use tempfile::TempDir;

use super::database::TestDatabase;
use super::server::PATIENCE;

/// PgBouncer on a unix socket; ends when dropped.
pub struct PgBouncer {
    process: Child,
    /// `postgres://…` of the database through it.
    pub url: String,
    _directory: TempDir,
}

impl PgBouncer {
    /// In front of `database`, with this `pool_mode`.
    pub fn before(database: &TestDatabase, pool_mode: &str) -> Self {
        let url = url::Url::parse(&database.url).unwrap();
        let socket = percent_decode_str(url.host_str().unwrap()).decode_utf8();
        let socket = socket.unwrap().into_owned();
        let (user, password) = (url.username(), url.password().unwrap());
        let name = url.path().trim_start_matches('/');
        let directory = tempfile::Builder::new()
            .prefix("unibody-it-")
            .tempdir()
            .unwrap();
        let at = directory.path();
        fs::write(
            at.join("pgbouncer.ini"),
            format!(
                "[databases]\n{name} = host={socket} user={user} password={password}\n\
                 [pgbouncer]\nlisten_addr =\nunix_socket_dir = {at}\nlisten_port = 6432\n\
                 auth_type = any\npool_mode = {pool_mode}\ndefault_pool_size = 40\n\
                 max_client_conn = 200\nlogfile = {at}/log\n",
                at = at.display(),
            ),
        )
        .unwrap();
        // PgBouncer refuses root, and must enter the server's socket directory.
        let owner = fs::metadata(&socket).unwrap();
        std::os::unix::fs::chown(at, Some(owner.uid()), Some(owner.gid())).unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("pgbouncer");
        command
            .arg(at.join("pgbouncer.ini"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        if nix::unistd::Uid::effective().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let process = command
            .spawn()
            .expect("pgbouncer is installed (Debian: apt install pgbouncer)");
        let url = format!(
            "postgres:///{name}?user={user}&port=6432&host={}",
            at.display()
        );
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(at.join(".s.PGSQL.6432")).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer is not up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            process,
            url,
            _directory: directory,
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Only a process that has ended already can't be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
