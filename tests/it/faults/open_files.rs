//! Too few open files: known at start, shared out so that nothing else goes without, and survived when the
//! last one is taken.

use std::time::{Duration, Instant};

use crate::support::process;
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Beyond the hard limit of the first test.
const MANY: usize = 110;

fn plain() -> Setup {
    Setup::new()
        .plain()
        .server("max_connections_per_ip = 100000")
}

fn assert_answers(client: &mut Raw, why: &str) {
    assert_eq!(client.send(GET).answer().status, 200, "{why}");
}

fn count(server: &Server, text: &str) -> usize {
    server.log().matches(text).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_is_raised_and_told_and_leaves_files_for_everything_but_connections() {
    let server = plain().start();
    let mut server = server.restart_through("prlimit", &["--nofile=50:128"]);
    assert_eq!(process::open_files_allowed(server.pid()), 128, "raised");
    let told = server.line_with("open files: 128 are allowed here");
    for part in [
        "max_connections = 10000 needs 10256",
        "than 96 conn",
        "LimitNOFILE=10256",
    ] {
        assert!(told.contains(part), "{told}");
    }

    let address = server.http.unwrap();
    let mut first = Raw::connect(address);
    assert_answers(&mut first, "the first");
    let mut clients: Vec<_> = (0..MANY).map(|_| Raw::connect(address)).collect();
    let statuses = clients
        .iter_mut()
        .map(|client| client.send(GET).head().status);
    let inside = statuses.filter(|status| *status == 200).count();
    assert_eq!(inside, 95, "the others are closed at once");
    first.send("GET /api/notes HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(first.answer().status, 200, "the pool has its files");
    server.line_with("connections are refused");
    assert_eq!(count(&server, "connections are refused"), 1, "said once");
    drop(clients);
    // The places are free as soon as the server has seen the ends.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Raw::connect(address).send(GET).head().status != 200 {
        assert!(Instant::now() < deadline, "nobody is let in again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_last_file_is_taken_clients_wait_and_others_go_on() {
    let mut server = plain().admin().start();
    let (address, process) = (server.http.unwrap(), server.pid());
    let mut inside = Raw::connect(address);
    assert_answers(&mut inside, "before");
    let allowed = process::open_files_allowed(process);

    process::allow_open_files(process, 3);
    server.wait_for_line("no file can be opened any more");
    let mut waiting: Vec<_> = (0..20).map(|_| Raw::connect(address)).collect();
    for client in &mut waiting {
        client.send(GET);
    }
    let _asking = Raw::connect(server.admin.unwrap());
    let (begin, cpu) = (Instant::now(), process::cpu(process));
    let mut answered = 0_u32;
    // Long enough for several attempts to accept.
    while begin.elapsed() < Duration::from_secs(3) {
        assert_answers(&mut inside, "the page is in memory");
        answered += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    let used = process::cpu(process).saturating_sub(cpu);
    assert!(answered > 20, "{answered} in 3 s");
    assert!(used < Duration::from_secs(1), "{used:?} of processor time");
    assert_eq!(count(&server, "no file can be opened"), 1);
    assert_eq!(count(&server, "Accept() failed"), 0, "{}", server.log());
    let said = count(&server, "the admin listener cannot accept");
    assert_eq!(said, 1, "ten attempts a second: {}", server.log());

    process::allow_open_files(process, allowed);
    server.wait_for_line("files can be opened again");
    for client in &mut waiting {
        assert_eq!(client.answer().status, 200, "who waited");
    }
}
