//! A unix socket over which messages go, and file descriptors with them.
//!
//! A message is its length (four bytes, big-endian) and that many bytes of JSON. File descriptors
//! travel beside the first of them (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// What the kernel passes at once (`SCM_MAX_FD`).
const MAX_DESCRIPTORS: usize = 253;
/// Bytes of the largest message: a thousand mistakes in a configuration need less.
const MAX_MESSAGE: usize = 1024 * 1024;

/// One end of the conversation.
#[derive(Debug)]
pub(super) struct Channel(UnixStream);

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Two ends of the same conversation.
    pub(super) fn pair() -> io::Result<(Self, std::os::unix::net::UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self(UnixStream::from_std(ours)?), theirs))
    }

    /// Sends `message`, and the descriptors with it.
    ///
    /// # Errors
    /// Nobody is there any more, or there are more descriptors than can be passed.
    pub(super) async fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(io::Error::other(format!(
                "{} sockets are more than can be passed at once",
                descriptors.len()
            )));
        }
        let bytes = frame(message)?;
        let mut rest = &bytes[..];
        let mut descriptors = descriptors;
        while !rest.is_empty() {
            let sent = self
                .0
                .async_io(Interest::WRITABLE, || {
                    let mut space =
                        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
                    let mut beside = SendAncillaryBuffer::new(&mut space);
                    if !descriptors.is_empty() {
                        // There is room for as many as there may be.
                        beside.push(SendAncillaryMessage::ScmRights(descriptors));
                    }
                    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                    Ok(sendmsg(&self.0, &[IoSlice::new(rest)], &mut beside, flags)?)
                })
                .await?;
            rest = &rest[sent..];
            descriptors = &[];
        }
        Ok(())
    }

    /// Waits for a message and the descriptors that come with it.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side has gone, `InvalidData` when it says something else.
    pub(super) async fn receive<M: DeserializeOwned>(&self) -> io::Result<(M, Vec<OwnedFd>)> {
        let mut descriptors = Vec::new();
        let mut length = [0; 4];
        self.fill(&mut length, &mut descriptors).await?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_MESSAGE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message of a size that no unibody sends",
            ));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, &mut descriptors).await?;
        Ok((serde_json::from_slice(&bytes)?, descriptors))
    }

    /// Reads until `bytes` are full.
    async fn fill(&self, bytes: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut full = 0;
        while full < bytes.len() {
            let rest = &mut bytes[full..];
            let read = self
                .0
                .async_io(Interest::READABLE, || {
                    receive_some(self.0.as_fd(), rest, descriptors)
                })
                .await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            full += read;
        }
        Ok(())
    }
}

/// Sends `message` over a socket that blocks, before there is a runtime.
///
/// # Errors
/// Nobody is there any more.
pub(super) fn send_blocking(
    stream: &std::os::unix::net::UnixStream,
    message: &impl Serialize,
) -> io::Result<()> {
    io::Write::write_all(&mut &*stream, &frame(message)?)
}

fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

fn receive_some(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    // Processes that we start later (PostgreSQL) must not inherit them.
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut beside, flags)?;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, two) = UnixStream::pair().unwrap();
        (Channel::new(one), Channel::new(two))
    }

    #[tokio::test]
    async fn a_listening_socket_goes_on_listening_elsewhere() {
        let (old, new) = pair();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        old.send(&"take it", &[socket.as_fd()]).await.unwrap();
        drop(socket);
        let (message, mut passed) = new.receive::<String>().await.unwrap();
        assert_eq!((message.as_str(), passed.len()), ("take it", 1));
        let flags = rustix::io::fcntl_getfd(&passed[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        // The connection that waited in its queue came along.
        let (mut connection, _) = TcpListener::from(passed.remove(0)).accept().unwrap();
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[tokio::test]
    async fn messages_keep_their_bounds_whatever_their_size() {
        let (old, new) = pair();
        let large = "x".repeat(MAX_MESSAGE - 2);
        let sending = async {
            old.send(&"one", &[]).await.unwrap();
            old.send(&large, &[]).await.unwrap();
        };
        let receiving = async {
            let (one, _) = new.receive::<String>().await.unwrap();
            let (two, _) = new.receive::<String>().await.unwrap();
            (one, two)
        };
        let ((), (one, two)) = tokio::join!(sending, receiving);
        assert_eq!((one.as_str(), two.len()), ("one", large.len()));
    }

    #[tokio::test]
    async fn whoever_goes_or_babbles_is_an_error() {
        let (old, new) = pair();
        drop(old);
        let gone = new.receive::<String>().await.unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::UnexpectedEof);

        let (ours, mut theirs) = Channel::pair().unwrap();
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let babble = ours.receive::<String>().await.unwrap_err();
        assert_eq!(babble.kind(), io::ErrorKind::InvalidData);
    }
}
