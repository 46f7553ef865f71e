//! A real nginx to forward to.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::server::PATIENCE;

/// nginx on a unix socket, with a configuration of the test's own.
pub struct Nginx {
    process: Child,
    directory: TempDir,
}

impl Nginx {
    /// Starts it with `server` as the contents of its one `server` block.
    pub fn start(server: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{ access_log off; {temporary} client_max_body_size 0;\n\
             server {{ listen unix:{path}/socket; root {path}; {server} }} }}\n"
        );
        fs::write(directory.path().join("nginx.conf"), config).unwrap();
        let mut process = Command::new("nginx")
            .args(["-e", "stderr", "-p"])
            .arg(directory.path())
            .arg("-c")
            .arg(directory.path().join("nginx.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nginx is installed (Debian: apt install nginx-light)");
        let nginx_says = process.stderr.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(directory.path().join("socket")).is_err() {
            if let Some(status) = process.try_wait().unwrap() {
                let said: Vec<_> = BufReader::new(nginx_says)
                    .lines()
                    .map_while(Result::ok)
                    .collect();
                panic!("nginx ended with {status}: {}", said.join("\n"));
            }
            assert!(Instant::now() < deadline, "nginx is not up");
            sleep(Duration::from_millis(20));
        }
        Self { process, directory }
    }

    /// A file in the directory that it serves.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The `[[upstream]]` named "backend" with this server alone, and further keys.
    pub fn table(&self, keys: &str) -> String {
        format!(
            "[[upstream]]\nname = \"backend\"\nservers = [\"unix:{}\"]\n{keys}\n",
            self.path("socket").display()
        )
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Only a process that has ended already can't be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
