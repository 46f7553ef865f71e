//! Servers to forward to that do exactly what a test says, byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::server::PATIENCE;

/// A server on a free port of 127.0.0.1, or on a unix socket.
pub struct Upstream {
    /// As `[[upstream]] servers` writes it.
    pub address: String,
    requests: Receiver<Received>,
}

/// A request as it came over the wire.
#[derive(Debug)]
pub struct Received {
    /// The head with its empty line, as it was sent.
    pub head: String,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

/// One connection from the proxy.
pub struct Connection {
    stream: BufReader<Box<dyn Socket>>,
    number: usize,
    requests: Sender<Received>,
}

trait Socket: Read + Write + Send {}
impl Socket for TcpStream {}
impl Socket for UnixStream {}

impl Upstream {
    /// Runs `script` on every connection, each on a thread of its own.
    pub fn scripted(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::scripted_at("127.0.0.1:0", script)
    }

    /// The same at `address`.
    pub fn scripted_at(
        address: impl ToSocketAddrs,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accept = move || {
            let stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream) as Box<dyn Socket>
        };
        Self::serve(address, accept, script)
    }

    /// The same on a unix socket at `path`.
    pub fn scripted_on(
        path: &Path,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let accept = move || {
            let stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream) as Box<dyn Socket>
        };
        Self::serve(format!("unix:{}", path.display()), accept, script)
    }

    /// Answers every request with `answer`, and keeps connections open.
    pub fn answering(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::scripted(move |connection| {
            while connection.request().is_some() {
                connection.send(&answer);
            }
        })
    }

    /// Answers every request with 200 and `body`.
    pub fn saying(body: &str) -> Self {
        Self::answering(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn serve(
        address: String,
        accept: impl Fn() -> Box<dyn Socket> + Send + 'static,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let (sender, requests) = channel();
        let script = Arc::new(script);
        let numbers = AtomicUsize::new(0);
        thread::spawn(move || {
            loop {
                let mut connection = Connection {
                    stream: BufReader::new(accept()),
                    number: numbers.fetch_add(1, Ordering::Relaxed),
                    requests: sender.clone(),
                };
                let script = script.clone();
                thread::spawn(move || script(&mut connection));
            }
        });
        Self { address, requests }
    }

    /// The `[[upstream]]` named "backend" with this server alone, and further keys.
    pub fn table(&self, keys: &str) -> String {
        table(&[self], keys)
    }

    /// The next request that any connection has read.
    pub fn request(&self) -> Received {
        self.requests
            .recv_timeout(PATIENCE)
            .expect("a request at the upstream")
    }

    /// A request that was read already, if there is one.
    pub fn request_that_came(&self) -> Option<Received> {
        self.requests.try_recv().ok()
    }

    /// Whether a request was read that nobody has asked for.
    pub fn has_more_requests(&self) -> bool {
        self.requests.try_recv().is_ok()
    }
}

/// The `[[upstream]]` named "backend" with these servers, and further keys.
pub fn table(servers: &[&Upstream], keys: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|server| &server.address).collect();
    format!("[[upstream]]\nname = \"backend\"\nservers = {servers:?}\n{keys}\n")
}

impl Connection {
    /// Reads one request with its body and tells the test; `None` when the proxy has closed.
    pub fn request(&mut self) -> Option<()> {
        let head = self.head()?;
        let received = Received {
            body: self.body(&head)?,
            head,
            connection: self.number,
        };
        // The test may have seen enough.
        let _ = self.requests.send(received);
        Some(())
    }

    /// Reads a head and leaves the body; `None` when the proxy has closed.
    pub fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        Some(head)
    }

    /// Reads the next `length` bytes, or `None` when the proxy has closed before.
    pub fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Sends `bytes`; whether the proxy still takes them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Waits until the proxy closes; `false` when it sends something instead.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    fn body(&mut self, head: &str) -> Option<Vec<u8>> {
        if let Some(length) = header(head, "content-length") {
            return self.read(length.parse().unwrap());
        }
        if header(head, "transfer-encoding").is_none() {
            return Some(Vec::new());
        }
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            self.stream.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let chunk = self.read(size + 2)?;
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}

impl Received {
    /// The value of a header, whatever its case; the first where there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
