//! A client that keeps every byte of an answer.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::edge::Edge;
use crate::support::handshake::Handshakes;
use crate::support::server::PATIENCE;

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// One connection.
pub struct Talk {
    stream: Pin<Box<dyn Stream>>,
    /// Read, and not yet part of an answer.
    ahead: Vec<u8>,
}

impl Talk {
    pub async fn plain(edge: &Edge) -> Self {
        let stream = TcpStream::connect(edge.http).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    pub async fn tls(edge: &Edge) -> Self {
        let clients = Handshakes::new(&["http/1.1"]);
        let handshake = clients.connect(edge.https, "localhost").await.unwrap();
        Self::over(handshake.stream)
    }

    fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::pin(stream),
            ahead: Vec::new(),
        }
    }

    /// Sends a request and reads its answer, byte for byte.
    pub async fn ask(&mut self, request: &[u8], is_head: bool) -> Vec<u8> {
        self.send(request).await;
        self.answer(is_head).await
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A server that has closed already is seen when its answer is read.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next answer; `is_head` says that it answers HEAD.
    pub async fn answer(&mut self, is_head: bool) -> Vec<u8> {
        let head = loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.more().await, "{}", self.ahead.escape_ascii());
        };
        let text = String::from_utf8_lossy(&self.ahead[..head]).to_lowercase();
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            lines.find(|line| line.0 == name).map(|line| line.1)
        };
        let has_content = !is_head && !text.starts_with("http/1.1 304");
        let end = if !has_content {
            head
        } else if field("transfer-encoding").is_some() {
            loop {
                if let Some(end) = find(&self.ahead[head..], b"\r\n0\r\n\r\n") {
                    break head + end + 7;
                }
                assert!(self.more().await, "a body without end");
            }
        } else if let Some(length) = field("content-length") {
            let end = head + length.parse::<usize>().unwrap();
            while self.ahead.len() < end {
                assert!(self.more().await, "a body too short");
            }
            end
        } else {
            while self.more().await {}
            self.ahead.len()
        };
        let rest = self.ahead.split_off(end);
        std::mem::replace(&mut self.ahead, rest)
    }

    /// What comes until the server closes the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.ahead)
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        match read.expect("the server is silent") {
            Ok(0) => false,
            Ok(read) => {
                self.ahead.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => false,
            // Closed without TLS's own goodbye.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
