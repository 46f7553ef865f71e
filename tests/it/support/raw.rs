//! Sockets with bytes on them, for what no HTTP client would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::server::PATIENCE;

/// A plain connection.
pub struct Raw(pub TcpStream);

/// An answer cut into its parts.
#[derive(Debug)]
pub struct RawAnswer {
    /// 0 when the connection closed without an answer.
    pub status: u16,
    /// The head, lower case.
    pub head: String,
    /// What followed the head until the connection closed.
    pub body: Vec<u8>,
}

impl Raw {
    /// Connects to `address`.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// The same on a connection made elsewhere.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Waits for `time`; `false` as soon as the server has sent something or closed.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(peeked, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Sends bytes; a peer that has closed already is no failure, the answer tells.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.0.write_all(bytes.as_ref());
        self
    }

    /// Sends bytes, all of which the peer has to take.
    pub fn send_undisturbed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.write_all(bytes).unwrap();
        self
    }

    /// Everything until the server closes the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset after the answer is an end too; what came before it counts.
        if let Err(error) = self.0.read_to_end(&mut bytes)
            && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        {
            let said = String::from_utf8_lossy(&bytes);
            panic!("the connection is open after {PATIENCE:?} of silence; it said {said:?}");
        }
        bytes
    }

    /// The one answer before the server closes the connection.
    pub fn last_answer(&mut self) -> RawAnswer {
        RawAnswer::parse(&self.read_to_end())
    }

    /// Reads a head and nothing after it: of an interim answer, or of one to HEAD.
    pub fn head(&mut self) -> RawAnswer {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => bytes.push(byte[0]),
                _ => break,
            }
        }
        RawAnswer::parse(&bytes)
    }

    /// Reads one answer with a `Content-Length` and leaves the connection open.
    pub fn answer(&mut self) -> RawAnswer {
        let mut answer = self.head();
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        answer.body = vec![0; length];
        self.0.read_exact(&mut answer.body).unwrap();
        answer
    }
}

impl RawAnswer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, body) = match end {
            Some(end) => (&bytes[..end], bytes[end + 4..].to_vec()),
            None => (bytes, Vec::new()),
        };
        let head = String::from_utf8_lossy(head).to_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head,
            body,
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found == name).then(|| value.trim())
        })
    }
}
