//! A descriptor for a reactor to watch, that can be written to at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use torsade::{Descriptor, Watch};

/// One end of a pair of sockets, with the other, and the notice of the first writability.
pub struct Pipe {
    end: UnixStream,
    _other: UnixStream,
    on_writable: fn(),
}

pub fn pipe(on_writable: fn()) -> Pipe {
    let (end, _other) = UnixStream::pair().unwrap();
    Pipe {
        end,
        _other,
        on_writable,
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl Descriptor for Pipe {
    fn do_read(&mut self, _: &Watch<Self>) -> io::Result<()> {
        Ok(())
    }

    fn do_write(&mut self, watch: &Watch<Self>) -> io::Result<()> {
        (self.on_writable)();
        watch.remove_writer();
        Ok(())
    }
}
