//! Twenty upgrades in a row under load, with clients that count every failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tokio::time::timeout;

use super::{assert_refused, setup, upgrade, upgrade_and_watch, wait_for_end};
use crate::support::handshake::Handshakes;
use crate::support::http::client;
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server};

const UPGRADES: usize = 20;
/// So many of them are asked for twice, for the first new process is told to stop while both serve.
const TAKEN_BACK: usize = 4;
/// What is asked over HTTP/2, with a number behind it.
const NUMBERED: [&str; 2] = ["/healthz?n=", "/?n="];
/// Between two requests of a client: the machine has other things to do as well.
const PACE: Duration = Duration::from_millis(2);

/// What the clients of one kind have seen.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    /// Connections that were ended in order and followed by another.
    reconnected: AtomicUsize,
    failed: std::sync::Mutex<Vec<String>>,
}

impl Tally {
    fn fail(&self, what: impl std::fmt::Display) {
        self.failed.lock().unwrap().push(what.to_string());
    }

    fn count(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn reconnect(&self) {
        self.reconnected.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until so many more are answered, however slow the machine is.
    fn wait_for(&self, more: usize) {
        let (begin, so_far) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        while self.answered.load(Ordering::Relaxed) < so_far + more {
            assert!(begin.elapsed() < PATIENCE, "nobody is answered any more");
            thread::sleep(PACE);
        }
    }

    fn assert_clean(&self, kind: &str) {
        let failed = self.failed.lock().unwrap();
        let answered = self.answered.load(Ordering::Relaxed);
        let reconnected = self.reconnected.load(Ordering::Relaxed);
        assert!(
            failed.is_empty(),
            "{kind}: {} of {answered} requests failed, the first: {}",
            failed.len(),
            failed[0]
        );
        assert!(
            answered > UPGRADES * 10,
            "{kind}: there was load: {answered}"
        );
        assert!(
            reconnected >= UPGRADES,
            "{kind}: it went along with the upgrades: {reconnected}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_upgrades_in_a_row_fail_no_request() {
    let mut server = setup("drain = \"20s\"", "").start();
    let (plain, tls) = (server.http.unwrap(), server.https.unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let [http1, http2, anew, writers] = [(); 4].map(|()| Arc::new(Tally::default()));
    let written = Arc::new(std::sync::Mutex::new(Vec::new()));

    let mut threads = Vec::new();
    for path in ["/healthz", "/api/notes?limit=1"] {
        let (over, tally) = (over.clone(), http1.clone());
        threads.push(thread::spawn(move || ask_http1(plain, path, &over, &tally)));
    }
    {
        let (over, tally) = (over.clone(), anew.clone());
        threads.push(thread::spawn(move || ask_anew(plain, &over, &tally)));
    }
    {
        let (over, tally, written) = (over.clone(), writers.clone(), written.clone());
        threads.push(thread::spawn(move || write(plain, &over, &tally, &written)));
    }
    let mut tasks = Vec::new();
    for path in NUMBERED {
        let (over, tally) = (over.clone(), http2.clone());
        tasks.push(tokio::spawn(async move {
            ask_http2(tls, path, &over, &tally).await
        }));
    }

    let mut before = Vec::new();
    let clients = [&http1, &http2, &anew, &writers].map(Arc::clone);
    let server = tokio::task::spawn_blocking(move || {
        for number in 0..UPGRADES {
            before.push(server.pid());
            if number < TAKEN_BACK {
                take_back(&mut server, &clients);
            }
            upgrade(&mut server);
            for clients in &clients {
                clients.wait_for(11);
            }
        }
        for pid in before {
            wait_for_end(pid);
        }
        server
    });
    let mut server = server.await.unwrap();
    over.store(true, Ordering::Relaxed);
    let mut asked = Vec::new();
    for task in tasks {
        asked.push(task.await.unwrap());
    }
    for thread in threads {
        thread.join().unwrap();
    }
    http1.assert_clean("HTTP/1.1");
    http2.assert_clean("HTTP/2");
    anew.assert_clean("a connection each");
    writers.assert_clean("POST");
    // A line is written a moment after its answer.
    for (path, asked) in NUMBERED.into_iter().zip(&asked) {
        let last = format!("\"GET {path}{} HTTP/2.0\"", asked - 1);
        if !server.log().contains(&last) {
            server.wait_for_line(&last);
        }
    }
    // What ended processes have written may still be on its way.
    while server.log().matches("every request was finished").count() < UPGRADES + TAKEN_BACK {
        server.wait_for_line("every request was finished");
    }
    let log = server.log();
    for (path, asked) in NUMBERED.into_iter().zip(asked) {
        for number in 0..asked {
            let times = log
                .matches(&format!("\"GET {path}{number} HTTP/2.0\""))
                .count();
            assert_eq!(times, 1, "{path}{number} was begun once");
        }
    }
    let ended = log.matches("every request was finished").count();
    assert_eq!(ended, UPGRADES + TAKEN_BACK);
    assert!(!log.contains("connections cut"), "{log}");
    let written = std::mem::take(&mut *written.lock().unwrap());
    assert_all_there_once(&server, &written).await;
}

/// Has a new process serve as well, and stops it.
fn take_back(server: &mut Server, clients: &[Arc<Tally>]) {
    let old = server.pid();
    let (asking, new) = upgrade_and_watch(server, "5m");
    for clients in clients {
        clients.wait_for(11);
    }
    kill(new, Signal::SIGTERM).unwrap();
    let asked = asking.wait_with_output().unwrap();
    assert_refused(&asked, old, &["it was asked to stop"]);
    wait_for_end(new);
}

#[tokio::test]
async fn what_is_under_way_is_finished_by_the_process_that_began_it() {
    let setup = setup(
        "drain = \"60s\"",
        "[[route]]\npath = \"/\"\napp = true\n[[route]]\npath = \"/files/\"\nfiles = \"files\"",
    );
    let files = setup.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    let large = std::fs::File::create(files.join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    let mut server = setup.start();
    let old = server.pid();
    let address = server.http.unwrap();

    let mut download = Raw::connect(address);
    download.send("GET /files/large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(download.head().status, 200);
    let mut post = Raw::connect(address);
    post.send(
        "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: 16\r\n\r\n",
    );
    assert_eq!(post.head().status, 100, "the handler waits for the body");
    // Asks for nothing yet: it is served once more, however late it asks.
    let mut idle = Raw::connect(address);
    idle.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(idle.answer().status, 200);

    upgrade(&mut server);
    let healthz = client().get(server.plain_url("/healthz"));
    assert_eq!(healthz.send().await.unwrap().status(), 200, "the new one");
    idle.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let last = idle.answer();
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close"))
    );
    post.send("{\"title\":\"late\"}");
    let answer = post.answer();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (201, Some("close"))
    );
    let mut read = 0;
    let mut piece = vec![0; 64 * 1024];
    while read < LARGE {
        let length = download.0.read(&mut piece).unwrap();
        assert!(length > 0, "cut after {read} bytes");
        read += length as u64;
    }
    // It was begun when nobody knew that it would be the last, so the connection would stay.
    drop(download);
    wait_for_end(old);
    server.line_with("every request was finished");
    assert_all_there_once(&server, &["late".to_owned()]).await;
}

const LARGE: u64 = 32 * 1024 * 1024;

/// Asks again and again over one connection, until the server says that it was the last answer.
fn ask_http1(address: SocketAddr, path: &str, over: &AtomicBool, tally: &Tally) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    converse(
        address,
        over,
        tally,
        || request.clone(),
        |status| status == 200,
    );
}

/// Asks over a connection for each request, so that whoever accepts has some.
fn ask_anew(address: SocketAddr, over: &AtomicBool, tally: &Tally) {
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let is_right = |status| status == 200;
    converse(address, over, tally, || request.to_owned(), is_right);
}

/// Posts one note after the other, each once.
fn write(
    address: SocketAddr,
    over: &AtomicBool,
    tally: &Tally,
    written: &std::sync::Mutex<Vec<String>>,
) {
    let mut number = 0;
    let request = || {
        number += 1;
        let title = format!("note {number}");
        let document = format!("{{\"title\":\"{title}\"}}");
        written.lock().unwrap().push(title);
        format!(
            "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{document}",
            document.len()
        )
    };
    converse(address, over, tally, request, |status| status == 201);
}

fn converse(
    address: SocketAddr,
    over: &AtomicBool,
    tally: &Tally,
    mut request: impl FnMut() -> String,
    is_right: impl Fn(u16) -> bool,
) {
    'connections: while !over.load(Ordering::Relaxed) {
        let mut connection = match TcpStream::connect(address) {
            Ok(connection) => connection,
            Err(error) => {
                tally.fail(format!("not connected: {error}"));
                continue;
            }
        };
        connection.set_nodelay(true).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answers = BufReader::new(connection.try_clone().unwrap());
        while !over.load(Ordering::Relaxed) {
            if let Err(error) = connection.write_all(request().as_bytes()) {
                tally.fail(format!("not sent: {error}"));
                continue 'connections;
            }
            match read_answer(&mut answers) {
                Ok((status, is_last)) if is_right(status) => {
                    tally.count();
                    if is_last {
                        tally.reconnect();
                        continue 'connections;
                    }
                }
                Ok((status, _)) => tally.fail(format!("answered {status}")),
                Err(error) => {
                    tally.fail(format!("not answered: {error}"));
                    continue 'connections;
                }
            }
            thread::sleep(PACE);
        }
    }
}

/// Reads one whole answer: its status, and whether the connection ends with it.
fn read_answer(answers: &mut impl BufRead) -> std::io::Result<(u16, bool)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if answers.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).expect("a length");
    let length: u64 = length.lines().next().unwrap().parse().unwrap();
    let read = answers.take(length).read_to_end(&mut Vec::new())?;
    if read as u64 != length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, head.contains("\r\nconnection: close")))
}

/// The same over HTTP/2: a connection is good until the server says GOAWAY, which it must before it
/// refuses anything. Each request has a number; returns how many there were.
async fn ask_http2(address: SocketAddr, path: &str, over: &AtomicBool, tally: &Tally) -> usize {
    let mut number = 0;
    loop {
        let mut sender = match connect_http2(address).await {
            Ok(sender) => sender,
            Err(error) => {
                tally.fail(format!("not connected: {error}"));
                continue;
            }
        };
        loop {
            // After a GOAWAY nothing can be begun, and nothing was.
            sender = match sender.ready().await {
                Ok(ready) => ready,
                Err(_) => break,
            };
            let request = http_request(&format!("{path}{number}"));
            let Ok((answer, _)) = sender.send_request(request, true) else {
                break;
            };
            let answered = async {
                let (head, mut body) = answer.await?.into_parts();
                let body = crate::support::http2::read_to_end(&mut body).await?;
                Ok::<_, h2::Error>((head.status, body.len()))
            };
            match timeout(PATIENCE, answered).await {
                Ok(Ok((status, length))) if status == 200 && length > 0 => {
                    tally.count();
                    number += 1;
                    if over.load(Ordering::Relaxed) {
                        return number;
                    }
                }
                Ok(Ok((status, length))) => {
                    tally.fail(format!("{status}, {length} bytes"));
                    return number;
                }
                // The server has not begun with it, and says so (RFC 9113, section 6.8): so it is asked
                // again. Whether that is true, the access log tells at the end.
                Ok(Err(error)) if error.is_go_away() && error.is_remote() => break,
                Ok(Err(error)) => {
                    tally.fail(error);
                    break;
                }
                Err(_) => {
                    tally.fail("no answer");
                    return number;
                }
            }
            tokio::time::sleep(PACE).await;
        }
        tally.reconnect();
    }
}

fn http_request(path: &str) -> http::Request<()> {
    http::Request::get(format!("https://localhost{path}"))
        .body(())
        .unwrap()
}

async fn connect_http2(
    address: SocketAddr,
) -> Result<SendRequest<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let tls = Handshakes::new(&["h2"])
        .connect(address, "localhost")
        .await?;
    let (sender, connection) = h2::client::handshake(tls.stream).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Asserts that each of these titles was given to one note, and no other was.
pub(super) async fn assert_all_there_once(server: &Server, written: &[String]) {
    let client = client();
    let mut path = "/api/notes?limit=200".to_owned();
    let mut found = Vec::new();
    loop {
        let page = client.get(server.plain_url(&path)).send().await.unwrap();
        assert_eq!(page.status(), 200);
        let next = page.headers().get("link").map(|link| {
            let link = link.to_str().unwrap();
            link[1..link.find('>').unwrap()].to_owned()
        });
        for note in page.json::<Vec<Value>>().await.unwrap() {
            found.push(note["title"].as_str().unwrap().to_owned());
        }
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    found.sort();
    let mut written = written.to_vec();
    written.sort();
    assert_eq!(found, written);
}
