//! `WebSocket`s are told 1012, "Service Restart" (RFC 6455, section 7.4; the IANA's registry).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use super::{How, setup};
use crate::support::server::PATIENCE;

type Socket = WebSocket<TcpStream>;

/// A server whose every WebSocket runs through `script`.
fn upstream(script: impl Fn(Socket) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = std::sync::Arc::new(script);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, script) = (stream.unwrap(), script.clone());
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || script(tungstenite::accept(stream).unwrap()));
        }
    });
    format!("[[upstream]]\nname = \"backend\"\nservers = [\"{address}\"]\n")
}

/// Sends back what it gets, and tells with which status each client says goodbye.
fn echo() -> (String, Receiver<Option<u16>>) {
    let (sender, goodbyes) = channel();
    let upstream = upstream(move |mut socket| {
        let mut goodbye = None;
        loop {
            match socket.read() {
                Ok(Message::Close(frame)) => goodbye = frame.map(|frame| frame.code.into()),
                Ok(message) if message.is_text() => socket.send(message).unwrap(),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // The test may have seen enough.
        let _ = sender.send(goodbye);
    });
    (upstream, goodbyes)
}

fn connect(address: SocketAddr) -> Socket {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut socket, _) = tungstenite::client("ws://localhost/chat", stream).unwrap();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    socket
}

/// What comes until the end in order, which is with a Close of this status.
fn read_until_close(socket: &mut Socket, status: CloseCode) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => {
                let frame = frame.expect("a status");
                assert_eq!(frame.code, status);
                assert_eq!(frame.reason.as_str(), "Service Restart");
                break;
            }
            Ok(message) => messages.push(message),
            Err(error) => panic!("no Close after {} messages: {error}", messages.len()),
        }
    }
    // The library answers, and waits for the end of the connection.
    let end = socket.read().unwrap_err();
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    messages
}

#[test]
fn idle_websockets_are_told_to_come_anew_and_so_are_their_servers() {
    const MANY: usize = 5;
    for how in [How::Sigterm, How::Upgrade] {
        let (upstream, goodbyes) = echo();
        let mut server = setup(&upstream).start();
        let mut sockets: Vec<_> = (0..MANY).map(|_| connect(server.http.unwrap())).collect();
        let ending = how.end(&mut server);
        thread::scope(|scope| {
            for socket in &mut sockets {
                scope.spawn(|| assert_eq!(read_until_close(socket, CloseCode::Restart), []));
            }
        });
        for _ in 0..MANY {
            // The client's answer; or ours, where the machine was too busy for it to come in time.
            let goodbye = goodbyes.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(goodbye, Some(1012 | 1001)), "{how:?}: {goodbye:?}");
        }
        ending.assert_in_order(&mut server);
        if how == How::Upgrade {
            connect(server.http.unwrap());
        }
    }
}

#[test]
fn a_server_whose_client_says_nothing_is_told_that_it_is_going_away() {
    let (upstream, goodbyes) = echo();
    let mut server = setup(&upstream).start();
    let mut socket = connect(server.http.unwrap());
    let ending = How::Sigterm.end(&mut server);
    let mut bytes = Vec::new();
    socket.get_mut().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"\x88\x11\x03\xf4Service Restart");
    assert_eq!(goodbyes.recv_timeout(PATIENCE), Ok(Some(1001)));
    ending.assert_in_order(&mut server);
}

/// Half of each of its two fragments is on its way when the end comes.
#[test]
fn a_large_message_that_is_under_way_arrives_whole() {
    const FRAGMENT: usize = 1024 * 1024;
    let (go_on, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = upstream(move |mut socket| {
        let message = socket.read().unwrap();
        socket.send(message).unwrap();
        if socket.read().unwrap() != Message::text("tell me all") {
            return;
        }
        let wire = socket.get_mut();
        let half = vec![b'x'; FRAGMENT / 2];
        let mut send = |bytes: &[u8]| wire.write_all(bytes).unwrap();
        send(&[[0x02, 127].as_slice(), &(FRAGMENT as u64).to_be_bytes()].concat());
        send(&half);
        wait.lock().unwrap().recv().unwrap();
        send(&half);
        send(b"\x89\x02hi");
        send(&[[0x80, 127].as_slice(), &(FRAGMENT as u64).to_be_bytes()].concat());
        send(&half);
        send(&half);
        send(b"\x81\x04late");
        // Its client's goodbye.
        while socket.read().is_ok() {}
    });
    let mut server = setup(&upstream).start();
    let mut socket = connect(server.http.unwrap());
    let mut idle = connect(server.http.unwrap());
    socket.send(Message::text("tell me all")).unwrap();
    // What has come here has passed; the second half is still to come.
    socket.get_ref().peek(&mut [0]).unwrap();
    let reading = thread::spawn(move || read_until_close(&mut socket, CloseCode::Restart));
    let ending = How::Sigterm.end(&mut server);
    // By then everybody has been told who could be.
    read_until_close(&mut idle, CloseCode::Restart);
    go_on.send(()).unwrap();
    let messages = reading.join().unwrap();
    let whole = Message::binary(vec![b'x'; 2 * FRAGMENT]);
    let pieces = messages.iter().map(Message::len).collect::<Vec<_>>();
    assert!(messages.contains(&whole), "it came in pieces: {pieces:?}");
    // Its turn may be a millisecond after the other's: what was whole by then has come as well.
    let others = [Message::Ping("hi".into()), Message::text("late")];
    let is_whole = |message: &Message| *message == whole || others.contains(message);
    assert!(messages.iter().all(is_whole), "and others: {pieces:?}");
    ending.assert_in_order(&mut server);
}
