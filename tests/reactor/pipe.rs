//! A watched descriptor that notes what happens to it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use torsade::{Descriptor, Failure, Watch};

use support::Log;

/// One end of a pipe that notes what happens to it.
pub(crate) struct Pipe<E: AsFd + 'static> {
    pub(crate) end: E,
    pub(crate) log: Log,
    pub(crate) then: fn(&Watch<Self>, &mut E) -> io::Result<()>,
}

impl<E: AsFd + 'static> AsFd for Pipe<E> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl<E: AsFd + 'static> Descriptor for Pipe<E> {
    fn do_read(&mut self, watch: &Watch<Self>) -> io::Result<()> {
        self.log.note("read");
        (self.then)(watch, &mut self.end)
    }

    fn do_write(&mut self, watch: &Watch<Self>) -> io::Result<()> {
        self.log.note("write");
        (self.then)(watch, &mut self.end)
    }

    fn connection_lost(&mut self, reason: &Failure) {
        self.log.note(format_args!("lost {reason}"));
    }
}
