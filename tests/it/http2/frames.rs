//! A client that sends whatever frames it likes (RFC 9113, section 4).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::support::handshake::Handshakes;
use crate::support::server::{PATIENCE, Server};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One connection.
pub struct Frames(TlsStream<TcpStream>);

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frames {
    /// Connects, agrees on HTTP/2 and says nothing.
    pub async fn connect_silent(server: &Server) -> Self {
        let tls = Handshakes::new(&["h2"]);
        let tls = tls.connect(server.https.unwrap(), "localhost").await;
        Self(tls.unwrap().stream)
    }

    /// Connects and sends the preface and empty settings.
    pub async fn connect(server: &Server) -> Self {
        let mut frames = Self::connect_silent(server).await;
        frames.send_bytes(PREFACE).await;
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }

    /// Sends bytes; a peer that has closed already is no failure, the frames it sent tell.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send_bytes(&frame(kind, flags, stream, payload)).await;
    }

    /// Whether what is sent from here on is taken: a connection that is gone answers with a reset.
    pub async fn is_listened_to(&mut self) -> bool {
        for _ in 0..20 {
            let opened_window = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
            if self.0.write_all(&opened_window).await.is_err() || self.0.flush().await.is_err() {
                return false;
            }
        }
        true
    }

    /// The next frame; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.read()).await.unwrap()
    }

    /// Skips frames until one of `kind`; `None` when the connection ends before.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Every frame until the server closes the connection.
    pub async fn until_end(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }
}

impl Frame {
    /// The error code of a `RST_STREAM` or `GOAWAY`.
    pub fn code(&self) -> u32 {
        let code = self.payload[if self.kind == GOAWAY { 4 } else { 0 }..].first_chunk();
        u32::from_be_bytes(*code.unwrap())
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The header block (RFC 7541) of a GET of `/word`, or of a POST to the notes.
pub fn header_block(method: &str) -> Vec<u8> {
    // Indexed `:method` and `:scheme`.
    let (method, path) = match method {
        "GET" => (0x82, "/word"),
        _ => (0x83, "/api/notes"),
    };
    let mut block = vec![method, 0x87];
    // Names from the static table, values as they are: `:authority`, `:path`, `content-type`.
    push_literal(&mut block, &[0x01], "localhost");
    push_literal(&mut block, &[0x04], path);
    push_literal(&mut block, &[0x0f, 0x10], "application/json");
    block
}

/// Adds a field whose name is written out, to [`header_block`].
pub fn push_field(block: &mut Vec<u8>, name: &str, value: &str) {
    let mut literal = vec![0, u8::try_from(name.len()).unwrap()];
    literal.extend_from_slice(name.as_bytes());
    push_literal(block, &literal, value);
}

fn push_literal(block: &mut Vec<u8>, name: &[u8], value: &str) {
    block.extend_from_slice(name);
    block.push(u8::try_from(value.len()).unwrap());
    block.extend_from_slice(value.as_bytes());
}
