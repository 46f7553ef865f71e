//! Runs an exchange, and says what came of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::exchanges::{Exchange, Step};
use crate::support::server::PATIENCE;

trait Socket: Read + Write {}
impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// A connection to either.
pub struct Client {
    connect: Box<dyn Fn() -> Box<dyn Socket>>,
    stream: BufReader<Box<dyn Socket>>,
}

/// What came of an exchange.
pub struct Exchanged {
    /// Interim ones among them.
    pub answers: Vec<Answer>,
    /// Whether the connection was closed where the exchange asks for that.
    pub is_closed: bool,
}

pub struct Answer {
    pub status: u16,
    /// Each line in lower case up to its value, and how often it is there.
    lines: BTreeMap<String, usize>,
    body: Vec<u8>,
    /// After the last chunk.
    trailers: String,
}

impl Client {
    pub fn of_nginx(socket: &Path) -> Self {
        let socket = socket.to_owned();
        Self::over(move || {
            let stream = UnixStream::connect(&socket).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        })
    }

    pub fn of(address: SocketAddr) -> Self {
        Self::over(move || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        })
    }

    fn over(connect: impl Fn() -> Box<dyn Socket> + 'static) -> Self {
        Self {
            stream: BufReader::new(connect()),
            connect: Box::new(connect),
        }
    }

    pub fn run(mut self, exchange: &Exchange) -> Exchanged {
        let mut exchanged = Exchanged {
            answers: Vec::new(),
            is_closed: false,
        };
        for step in &exchange.steps {
            match step {
                // A server that has closed already is no failure: the answer tells.
                Step::Send(bytes) => drop(self.stream.get_mut().write_all(bytes)),
                Step::Anew => self.stream = BufReader::new((self.connect)()),
                Step::Interim => {
                    let Some(answer) = self.answer(true) else {
                        return exchanged;
                    };
                    exchanged.answers.push(answer);
                }
                Step::Answer => loop {
                    let Some(answer) = self.answer(exchange.is_head) else {
                        return exchanged;
                    };
                    let is_final = answer.status >= 200;
                    exchanged.answers.push(answer);
                    if is_final {
                        break;
                    }
                },
                Step::Closed => {
                    // A reset is an end too.
                    exchanged.is_closed = !matches!(self.stream.read(&mut [0]), Ok(1..));
                }
            }
        }
        exchanged
    }

    /// `None` where the connection has ended.
    fn answer(&mut self, is_bodiless: bool) -> Option<Answer> {
        let head = self.lines();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status?.parse().unwrap();
        let mut answer = Answer {
            status,
            lines: BTreeMap::new(),
            body: Vec::new(),
            trailers: String::new(),
        };
        let (mut length, mut is_chunked) = (0, false);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name = name.to_lowercase();
            match &*name {
                "content-length" => length = value.parse().unwrap(),
                "transfer-encoding" => is_chunked = value == "chunked",
                _ => {}
            }
            let value = if name == "date" { "(now)" } else { value };
            *answer.lines.entry(format!("{name}: {value}")).or_default() += 1;
        }
        if is_bodiless || status < 200 || [204, 304].contains(&status) {
            return Some(answer);
        }
        if is_chunked {
            while let size @ 1.. = self.chunk_size() {
                let body = self.bytes(size + 2);
                answer.body.extend_from_slice(&body[..size]);
            }
            answer.trailers = self.lines();
        } else {
            answer.body = self.bytes(length);
        }
        Some(answer)
    }

    /// Lines up to an empty one.
    fn lines(&mut self) -> String {
        let mut lines = String::new();
        // A reset is an end too.
        while self.stream.read_line(&mut lines).unwrap_or(0) > 2 {}
        lines.trim_end().to_owned()
    }

    fn chunk_size(&mut self) -> usize {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        usize::from_str_radix(line.trim(), 16).unwrap()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}

impl Exchanged {
    pub fn statuses(&self) -> Vec<u16> {
        self.answers.iter().map(|answer| answer.status).collect()
    }
}

impl Answer {
    /// A line for each difference: `-` is only in this one, `+` only in the other.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.status != other.status {
            differences.push(format!("status {} -> {}", self.status, other.status));
        }
        if self.body != other.body {
            let (body, others) = (self.body.len(), other.body.len());
            differences.push(format!("body of {body} bytes -> {others}"));
        }
        if self.trailers != other.trailers {
            let (trailers, others) = (&self.trailers, &other.trailers);
            differences.push(format!("trailers {trailers:?} -> {others:?}"));
        }
        for (sign, one, two) in [('-', self, other), ('+', other, self)] {
            for (line, count) in &one.lines {
                if two.lines.get(line) != Some(count) {
                    differences.push(format!("{sign} {line}"));
                }
            }
        }
        differences
    }
}
