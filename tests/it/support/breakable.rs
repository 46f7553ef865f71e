//! A proxy on the wire that breaks when a test says so, the way networks do.
//!
//! | verb | new connections | open connections |
//! |---|---|---|
//! | [`forward`](Breakable::forward) | are passed on | go on |
//! | [`refuse`](Breakable::refuse) | are refused, as by a host where nothing listens | stay as they are |
//! | [`stall`](Breakable::stall) | are accepted | stay open, and not a byte passes |
//! | [`end`](Breakable::end) | as before | end as [`Break`] says |
//!
//! Each verb has taken effect when it returns. It runs on a thread of its own, so that a test may
//! block or not as it likes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Where the proxy leads.
#[derive(Debug, Clone)]
pub enum Target {
    /// A TCP server.
    Tcp(SocketAddr),
    /// A server on a unix socket.
    Unix(PathBuf),
}

/// A running proxy; ends when dropped.
pub struct Breakable {
    address: SocketAddr,
    orders: mpsc::UnboundedSender<(Order, Sender<()>)>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Forward,
    Refuse,
    Stall,
    End(Break),
}

/// How open connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// In order (FIN), both ways.
    Cut,
    /// At once (RST).
    Reset,
    /// The client hears the end (FIN); the target goes on hearing the client.
    HalfClose,
}

impl Breakable {
    /// A proxy on a free port of 127.0.0.1 that forwards to `target`.
    pub fn before(target: Target) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let (sender, address) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let place = Place::reserve();
                sender.send(place.address).unwrap();
                run(&place, &target, received).await;
            });
        });
        let address = address.recv().unwrap();
        let proxy = Self { address, orders };
        proxy.forward();
        proxy
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes everything on, what it held back included.
    pub fn forward(&self) {
        self.order(Order::Forward);
    }

    /// Refuses new connections.
    pub fn refuse(&self) {
        self.order(Order::Refuse);
    }

    /// Accepts connections and passes nothing on.
    pub fn stall(&self) {
        self.order(Order::Stall);
    }

    /// Ends the open connections.
    pub fn end(&self, how: Break) {
        self.order(Order::End(how));
    }

    fn order(&self, order: Order) {
        let (done, wait) = channel();
        self.orders.send((order, done)).unwrap();
        wait.recv().unwrap();
    }
}

/// A port that stays ours while nobody listens on it.
struct Place {
    address: SocketAddr,
    /// Bound and never listening: whoever connects meanwhile is refused.
    _reservation: TcpSocket,
}

impl Place {
    fn reserve() -> Self {
        let reservation = socket((Ipv4Addr::LOCALHOST, 0).into());
        Self {
            address: reservation.local_addr().unwrap(),
            _reservation: reservation,
        }
    }

    fn listen(&self) -> TcpListener {
        socket(self.address).listen(1024).unwrap()
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn run(
    place: &Place,
    target: &Target,
    mut orders: mpsc::UnboundedReceiver<(Order, Sender<()>)>,
) {
    let mut listener = None;
    let (flowing, _) = watch::channel(true);
    let (mut breaking, _) = watch::channel(None);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((order, done)) = order else { return };
                match order {
                    Order::Forward | Order::Stall => {
                        flowing.send_replace(matches!(order, Order::Forward));
                        listener.get_or_insert_with(|| place.listen());
                    }
                    Order::Refuse => listener = None,
                    Order::End(how) => {
                        breaking.send_replace(Some(how));
                        // Those to come have a channel of their own and are not broken.
                        breaking = watch::channel(None).0;
                        while connections.join_next().await.is_some() {}
                    }
                }
                // A test that has failed no longer waits.
                let _ = done.send(());
            }
            Ok(client) = accept(listener.as_ref()) => {
                let (target, flowing) = (target.clone(), flowing.subscribe());
                connections.spawn(connection(client, target, flowing, breaking.subscribe()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

async fn connection(
    mut client: TcpStream,
    target: Target,
    flowing: watch::Receiver<bool>,
    mut breaking: watch::Receiver<Option<Break>>,
) {
    // A target that isn't there ends the connection.
    let Ok(mut server) = connect(&target).await else {
        return;
    };
    let broken = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = tokio::io::split(&mut server);
        let there = pump(&mut from_client, &mut to_server, flowing.clone());
        let back = pump(&mut from_server, &mut to_client, flowing.clone());
        tokio::select! {
            _ = async { tokio::join!(there, back) } => return,
            how = ordered(&mut breaking) => how,
        }
    };
    match broken {
        Break::Cut => {
            let _ = client.shutdown().await;
        }
        Break::Reset => client.set_zero_linger().unwrap(),
        Break::HalfClose => {
            let _ = client.shutdown().await;
            tokio::spawn(async move {
                let (mut from_server, mut to_server) = tokio::io::split(server);
                let mut nowhere = tokio::io::sink();
                tokio::join!(
                    pump(&mut client, &mut to_server, flowing.clone()),
                    pump(&mut from_server, &mut nowhere, flowing.clone()),
                );
            });
        }
    }
}

async fn ordered(breaking: &mut watch::Receiver<Option<Break>>) -> Break {
    let how = breaking
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|how| *how);
    match how {
        Some(how) => how,
        None => std::future::pending().await,
    }
}

/// Passes bytes on, and then the end, while they may flow.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut flowing: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if flowing.wait_for(|flowing| *flowing).await.is_err() {
            return;
        }
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

async fn connect(target: &Target) -> io::Result<Box<dyn Socket>> {
    Ok(match target {
        Target::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}
