//! File descriptors that are passed over a UNIX socket: see the module `transport`.

use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;

use super::flags::Flag;
use super::link::ConnCore;
#[cfg(unix)]
use crate::driver::Passing;

impl ConnCore {
    #[inline(never)]
    pub(super) fn note_descriptors(&self) {
        let have_come = self.socket.has_descriptors();
        if have_come != self.flags.has(Flag::DESCRIPTORS) {
            self.flags.set(Flag::DESCRIPTORS, have_come);
        }
    }

    /// Returns whether descriptors have arrived that were not taken.
    #[inline]
    pub(crate) fn has_descriptors(&self) -> bool {
        self.flags.has(Flag::DESCRIPTORS)
    }

    /// Sets whether the handler takes received descriptors. Default: true.
    pub(crate) fn set_descriptors_wanted(&self, asked: bool) {
        #[cfg(unix)]
        let _ = self.with_socket(|socket| {
            if let Some(passing) = socket.passing() {
                passing.set_asked(asked);
            }
        });
        let _ = asked;
    }

    /// Takes the next descriptor that arrived.
    #[cfg(unix)]
    pub(crate) fn take_descriptor(&self) -> Option<OwnedFd> {
        if !self.flags.has(Flag::DESCRIPTORS) {
            return None;
        }
        let taken = self.with_socket(|socket| socket.passing().and_then(Passing::take));
        let taken = taken.flatten();
        self.flags.set(Flag::DESCRIPTORS, taken.is_some());
        taken
    }

    /// Queues a descriptor for the next byte. It is dropped when the connection is ending.
    #[cfg(unix)]
    pub(super) fn send_descriptor(&self, descriptor: OwnedFd) -> io::Result<()> {
        if !self.life().takes_writes() {
            return Ok(());
        }
        let sent = self.with_socket(|socket| {
            let Some(passing) = socket.passing() else {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "descriptors are passed over UNIX sockets only",
                ));
            };
            passing.send(descriptor)?;
            Ok(passing.waiting())
        });
        // Only bytes take descriptors along; without bytes there is nothing to wait for.
        if sent.unwrap_or(Ok(0))? > MANY && self.queued() > 0 {
            self.note_full();
        }
        Ok(())
    }

    /// Returns the number of queued descriptors.
    pub(super) fn descriptors_left(&self) -> usize {
        #[cfg(unix)]
        return self
            .with_socket(|socket| socket.passing().map_or(0, Passing::waiting))
            .unwrap_or(0);
        #[cfg(not(unix))]
        return 0;
    }
}

/// The number of descriptors to be sent above which a connection counts as full.
#[cfg(unix)]
const MANY: usize = 64;
