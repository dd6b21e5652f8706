//! Descriptors passed as other programs pass them.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Sends several in one message.
pub fn send_together(socket: &UnixStream, bytes: &[u8], descriptors: &[impl AsFd]) {
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    let pieces = [IoSlice::new(bytes)];
    let sent = sendmsg(socket, &pieces, &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(bytes.len()));
}
