//! HTTP/1.1 as servers of the tests' own speak it: one request, one answer.

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request that was read to its end.
pub struct Request {
    pub method: String,
    pub path: String,
    pub host: String,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// What is answered.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Reads one; `None` when the connection ends before it does.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let mut first = text.lines().next()?.split(' ');
        let header = |name: &str| {
            text.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
        while bytes.len() < head + length {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        Some(Self {
            method: first.next()?.to_owned(),
            path: first.next()?.to_owned(),
            host: header("host")?,
            content_type: header("content-type"),
            body: bytes[head..].to_vec(),
        })
    }
}

impl Answer {
    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} x\r\n", self.status);
        for (name, value) in &self.headers {
            bytes.extend([name, ": ", value, "\r\n"]);
        }
        bytes.extend(["Content-Length: ", &self.body.len().to_string(), "\r\n\r\n"]);
        let mut bytes = bytes.into_bytes();
        bytes.extend(&self.body);
        bytes
    }
}
