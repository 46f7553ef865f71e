//! The end of a connection that nobody takes for the end of an answer.
//!
//! To HTTP/1.0 a body without a length ends where the connection does (RFC 1945, section 7.2.2). What breaks off in
//! the middle must not end like that: the connection is reset.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use pingora_core::protocols::Stream;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Has the connection of `stream` reset when it is dropped.
///
/// # Errors
/// What the system says: no more files can be opened.
pub(super) fn instead_of_a_close(stream: &Stream) -> io::Result<()> {
    let socket = handle(stream.id())?;
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    Ok(())
}

/// Another handle to the open file of this number. Pingora tells no more of a socket; the kernel takes a
/// number at one end of a unix socket and gives a handle at the other.
fn handle(number: RawFd) -> io::Result<OwnedFd> {
    let (near, far) = UnixStream::pair()?;
    let numbers = [number];
    let beside = [ControlMessage::ScmRights(&numbers)];
    let byte = [IoSlice::new(&[0])];
    sendmsg::<()>(near.as_raw_fd(), &byte, &beside, MsgFlags::empty(), None)?;

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    recvmsg(&far, &mut bytes, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let mut received = beside.drain();
    let handle = received.find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
        _ => None,
    });
    handle.ok_or_else(|| ErrorKind::NotFound.into())
}
