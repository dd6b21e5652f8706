//! Any descriptor, watched by the loop: [`Descriptor`], [`Watch`].
//!
//! # The idea
//!
//! A program gives the reactor a descriptor that it has opened itself (a pipe, a device, a
//! library's socket). The reactor owns the descriptor from then on, and calls its hooks when it is
//! readable or writable. The [`Watch`] is an inert handle: it records requests, and the loop passes
//! them to the driver before it waits.
//!
//! # Invariants
//!
//! 1. The descriptor is in its slot except while one of its hooks runs; nothing else calls into it.
//! 2. It is removed from the driver before it is dropped or given back.
//! 3. `connection_lost` is called once, unless [`Watch::remove`] took the descriptor back.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::panic::Location;
use std::rc::{Rc, Weak};

use super::{Handler, Reactor, Registration, Tracked};
use crate::driver::{self, Event, Interest};
use crate::failure::Failure;
use crate::report::{self, Origin};

/// The hooks of a file descriptor that the reactor watches; see [`Reactor::watch`].
///
/// # Order
///
/// A hook is called in each turn in which the descriptor is ready (level-triggered). When the
/// descriptor is both readable and writable, `do_read` is called first. A hook that fails or panics
/// ends the watch; `connection_lost` is called once, last.
///
/// `as_fd` must return the same open descriptor for as long as it is watched.
pub trait Descriptor: AsFd + 'static {
    /// Reads from the descriptor, which is readable or has an error or the end of file to report.
    /// The descriptor should be nonblocking: a read that blocks stops the loop.
    ///
    /// # Errors
    ///
    /// An error ends the watch, and is the reason that [`Descriptor::connection_lost`] gets. Return
    /// `Ok` for [`io::ErrorKind::WouldBlock`].
    #[doc(alias = "doRead")]
    fn do_read(&mut self, watch: &Watch<Self>) -> io::Result<()>
    where
        Self: Sized;

    /// Writes to the descriptor, which is writable. By default calls [`Watch::remove_writer`].
    ///
    /// # Errors
    ///
    /// As for [`Descriptor::do_read`].
    #[doc(alias = "doWrite")]
    fn do_write(&mut self, watch: &Watch<Self>) -> io::Result<()>
    where
        Self: Sized,
    {
        watch.remove_writer();
        Ok(())
    }

    /// Called when the watch has ended: a hook failed or panicked, or the reactor ended. Not called
    /// after [`Watch::remove`]. The descriptor is dropped afterwards.
    fn connection_lost(&mut self, reason: &Failure) {
        let _ = reason;
    }
}

/// A [`Watch`] whose type of descriptor is not known; see [`Reactor::watches`]. Clones are handles
/// to the same descriptor; dropping a handle does not end the watch.
#[derive(Clone)]
pub struct AnyWatch(Weak<dyn AnyWatched>);

/// What an [`AnyWatch`] needs of a watched descriptor.
trait AnyWatched {
    fn set_reading(&self, reading: bool);
    fn set_writing(&self, writing: bool);
    fn is_reading(&self) -> bool;
    fn is_writing(&self) -> bool;
    fn is_leaving(&self) -> bool;
    fn remove(self: Rc<Self>) -> Option<Box<dyn Any>>;
    fn location(&self) -> &'static Location<'static>;
}

/// A handle to a watched descriptor; see [`Reactor::watch`]. Clones are handles to the same
/// descriptor; dropping a handle does not end the watch.
pub struct Watch<D: Descriptor>(Weak<Watched<D>>);

struct Watched<D> {
    registration: Registration,
    location: &'static Location<'static>,
    /// `None` only while a hook runs, and after the watch has ended (invariant 1).
    descriptor: Cell<Option<Box<D>>>,
    reading: Cell<bool>,
    writing: Cell<bool>,
    /// Whether the watch ends when the hook that is running returns.
    leaving: Cell<bool>,
}

impl Reactor {
    /// Watches a descriptor: calls its hooks when it is ready for `interest`, which the returned
    /// [`Watch`] can change. The reactor owns the descriptor until the watch ends.
    ///
    /// # Errors
    ///
    /// Fails with the system's error when the descriptor cannot be watched, such as a regular file
    /// or a descriptor that is watched already; and with [`io::ErrorKind::Unsupported`] on an
    /// in-memory reactor.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{self, Read, Write};
    /// use std::os::fd::{AsFd, BorrowedFd};
    /// use std::os::unix::net::UnixStream;
    /// use torsade::reactor::Interest;
    /// use torsade::{Descriptor, Failure, Reactor, Watch};
    ///
    /// struct Pipe(UnixStream, Reactor);
    ///
    /// impl AsFd for Pipe {
    ///     fn as_fd(&self) -> BorrowedFd<'_> {
    ///         self.0.as_fd()
    ///     }
    /// }
    ///
    /// impl Descriptor for Pipe {
    ///     fn do_read(&mut self, _watch: &Watch<Self>) -> io::Result<()> {
    ///         let mut buf = [0; 16];
    ///         let n = self.0.read(&mut buf)?;
    ///         assert_eq!(&buf[..n], b"psst");
    ///         self.1.stop().map_err(io::Error::other)
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Failure> {
    /// let reactor = Reactor::new()?;
    /// let (reader, mut writer) = UnixStream::pair()?;
    /// reactor.watch(Pipe(reader, reactor.clone()), Interest::Read)?;
    /// writer.write_all(b"psst")?;
    /// reactor.run()
    /// # }
    /// ```
    #[doc(alias("addReader", "addWriter", "add_reader", "add_writer", "AsyncFd"))]
    #[track_caller]
    pub fn watch<D: Descriptor>(&self, descriptor: D, interest: Interest) -> io::Result<Watch<D>> {
        let location = Location::caller();
        let descriptor = Box::new(descriptor);
        let watched = self.register(|registration| Watched {
            registration,
            location,
            descriptor: Cell::new(None),
            reading: Cell::new(interest.reads()),
            writing: Cell::new(interest.writes()),
            leaving: Cell::new(false),
        })?;
        let added = {
            let descriptor = driver::Descriptor(descriptor.as_fd());
            watched
                .registration
                .add_or_leave(self, &descriptor, interest)
        };
        watched.descriptor.set(Some(descriptor));
        added?;
        Ok(Watch(Rc::downgrade(&watched)))
    }

    /// Returns a handle to each descriptor that the program watches, in no particular order.
    /// Connections and ports of the reactor are not among them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::io::{self, Read};
    /// # use std::os::fd::{AsFd, BorrowedFd};
    /// use std::os::unix::net::UnixStream;
    /// use torsade::reactor::Interest;
    /// use torsade::{Descriptor, Reactor, Watch};
    ///
    /// # struct Pipe(UnixStream);
    /// # impl AsFd for Pipe {
    /// #     fn as_fd(&self) -> BorrowedFd<'_> { self.0.as_fd() }
    /// # }
    /// # impl Descriptor for Pipe {
    /// #     fn do_read(&mut self, _watch: &Watch<Self>) -> io::Result<()> { Ok(()) }
    /// # }
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let reactor = Reactor::new()?;
    /// let (one, _other) = UnixStream::pair()?;
    /// reactor.watch(Pipe(one), Interest::Read)?; // a `Descriptor`
    /// assert!(reactor.watches()[0].is_reading());
    ///
    /// reactor.watches()[0].remove_reader();
    /// assert!(!reactor.watches()[0].is_reading());
    ///
    /// let removed: Vec<_> = reactor.watches().iter().filter_map(|watch| watch.remove()).collect();
    /// assert!(removed[0].is::<Pipe>());
    /// assert!(reactor.watches().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("getReaders", "getWriters", "removeAll"))]
    pub fn watches(&self) -> Vec<AnyWatch> {
        let handlers = self.inner().all_handlers().into_iter();
        handlers
            .filter_map(|(_, handler)| handler.as_watch())
            .filter(AnyWatch::is_watched)
            .collect()
    }
}

impl<D: Descriptor> Watch<D> {
    /// Lets the reactor call `do_read` when the descriptor is readable.
    #[doc(alias = "addReader")]
    pub fn add_reader(&self) {
        self.request(|watched| watched.reading.set(true));
    }

    /// Stops the calls of `do_read`.
    #[doc(alias = "removeReader")]
    pub fn remove_reader(&self) {
        self.request(|watched| watched.reading.set(false));
    }

    /// Lets the reactor call `do_write` when the descriptor is writable.
    #[doc(alias = "addWriter")]
    pub fn add_writer(&self) {
        self.request(|watched| watched.writing.set(true));
    }

    /// Stops the calls of `do_write`.
    #[doc(alias = "removeWriter")]
    pub fn remove_writer(&self) {
        self.request(|watched| watched.writing.set(false));
    }

    /// Returns whether the reactor still watches the descriptor.
    pub fn is_watched(&self) -> bool {
        self.0
            .upgrade()
            .is_some_and(|watched| !watched.leaving.get())
    }

    /// Ends the watch and returns the descriptor; its `connection_lost` is not called.
    ///
    /// Returns `None` when the watch has ended already, and inside a hook of the same descriptor:
    /// the watch then ends when the hook returns, and the descriptor is dropped.
    #[doc(alias("removeReader", "removeWriter", "removeAll"))]
    pub fn remove(&self) -> Option<D> {
        let watched = self.0.upgrade()?;
        if watched.leaving.replace(true) {
            return None;
        }
        let descriptor = watched.descriptor.take();
        let reactor = watched.registration.reactor();
        let descriptor = descriptor?;
        if let Some(reactor) = reactor {
            watched.leave(&reactor, &descriptor);
        }
        Some(*descriptor)
    }

    fn request(&self, change: impl FnOnce(&Watched<D>)) {
        let Some(watched) = self.0.upgrade() else {
            return;
        };
        change(&watched);
        watched.registration.request_attention();
    }
}

impl AnyWatch {
    /// Lets the reactor call `do_read` when the descriptor is readable.
    #[doc(alias = "addReader")]
    pub fn add_reader(&self) {
        self.with(|watched| watched.set_reading(true));
    }

    /// Stops the calls of `do_read`.
    #[doc(alias = "removeReader")]
    pub fn remove_reader(&self) {
        self.with(|watched| watched.set_reading(false));
    }

    /// Lets the reactor call `do_write` when the descriptor is writable.
    #[doc(alias = "addWriter")]
    pub fn add_writer(&self) {
        self.with(|watched| watched.set_writing(true));
    }

    /// Stops the calls of `do_write`.
    #[doc(alias = "removeWriter")]
    pub fn remove_writer(&self) {
        self.with(|watched| watched.set_writing(false));
    }

    /// Returns whether the reactor still watches the descriptor.
    pub fn is_watched(&self) -> bool {
        self.with(|watched| !watched.is_leaving()).unwrap_or(false)
    }

    /// Returns whether the reactor calls `do_read` when the descriptor is readable.
    pub fn is_reading(&self) -> bool {
        self.with(AnyWatched::is_reading).unwrap_or(false)
    }

    /// Returns whether the reactor calls `do_write` when the descriptor is writable.
    pub fn is_writing(&self) -> bool {
        self.with(AnyWatched::is_writing).unwrap_or(false)
    }

    /// Returns the line that called [`Reactor::watch`]; `None` when the watch has ended.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.with(AnyWatched::location)
    }

    /// Ends the watch and returns the descriptor, as [`Watch::remove`] does.
    pub fn remove(&self) -> Option<Box<dyn Any>> {
        self.0.upgrade()?.remove()
    }

    fn with<R>(&self, ask: impl FnOnce(&(dyn AnyWatched + 'static)) -> R) -> Option<R> {
        self.0.upgrade().map(|watched| ask(&*watched))
    }
}

impl<D: Descriptor> AnyWatched for Watched<D> {
    fn set_reading(&self, reading: bool) {
        self.reading.set(reading);
        self.registration.request_attention();
    }

    fn set_writing(&self, writing: bool) {
        self.writing.set(writing);
        self.registration.request_attention();
    }

    fn is_reading(&self) -> bool {
        self.reading.get()
    }

    fn is_writing(&self) -> bool {
        self.writing.get()
    }

    fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    fn remove(self: Rc<Self>) -> Option<Box<dyn Any>> {
        let descriptor = Watch(Rc::downgrade(&self)).remove()?;
        Some(Box::new(descriptor))
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

impl<D: Descriptor> Watched<D> {
    /// Takes the descriptor out, calls it, and puts it back.
    fn visit(
        self: &Rc<Self>,
        call: impl FnOnce(&mut D, &Watch<D>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let Some(mut descriptor) = self.descriptor.take() else {
            return Ok(());
        };
        let watch = Watch(Rc::downgrade(self));
        let result = report::catch(self.location, || call(&mut descriptor, &watch));
        self.descriptor.set(Some(descriptor));
        match result {
            Ok(result) => result.map_err(Failure::from),
            Err(panic) => {
                report::deliver(Origin::Descriptor, panic.clone(), self.location);
                Err(panic)
            }
        }
    }

    fn leave(&self, reactor: &Reactor, descriptor: &D) {
        // The descriptor may be broken in any way; it leaves the table all the same.
        let descriptor = driver::Descriptor(descriptor.as_fd());
        self.registration.leave_with(reactor, &descriptor);
    }

    fn end(self: Rc<Self>, reactor: Option<&Reactor>, reason: Option<&Failure>) {
        self.leaving.set(true);
        let Some(mut descriptor) = self.descriptor.take() else {
            return;
        };
        if let Some(reactor) = reactor {
            self.leave(reactor, &descriptor);
        }
        if let Some(reason) = reason {
            report::contain_rarely(Origin::Descriptor, self.location, || {
                descriptor.connection_lost(reason)
            });
        }
        report::discard(descriptor, self.location);
    }

    fn after(self: Rc<Self>, reactor: &Reactor, result: Result<(), Failure>) {
        match result {
            _ if self.leaving.get() => self.end(Some(reactor), None),
            Err(failure) => self.end(Some(reactor), Some(&failure)),
            Ok(()) => self.arm(reactor),
        }
    }

    /// Passes the interest to the driver, if it has changed.
    fn arm(self: Rc<Self>, reactor: &Reactor) {
        let wanted = Interest::of(self.reading.get(), self.writing.get());
        if wanted == self.registration.interest() {
            return;
        }
        let Some(descriptor) = self.descriptor.take() else {
            return;
        };
        let result = {
            let descriptor = driver::Descriptor(descriptor.as_fd());
            self.registration.set_interest(reactor, &descriptor, wanted)
        };
        self.descriptor.set(Some(descriptor));
        if let Err(error) = result {
            self.end(Some(reactor), Some(&error.into()));
        }
    }
}

impl<D: Descriptor> Tracked for Watched<D> {
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, reason: &Failure) {
        self.end(reactor, Some(reason));
    }

    fn kind(&self) -> &'static str {
        "descriptor"
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

impl<D: Descriptor> Handler for Watched<D> {
    fn registration(&self) -> &Registration {
        &self.registration
    }

    fn ready(self: Rc<Self>, reactor: &Reactor, event: Event) {
        let mut result = Ok(());
        if (event.readable() || event.hangup()) && self.reading.get() {
            result = self.visit(|descriptor, watch| descriptor.do_read(watch));
        }
        if result.is_ok()
            && (event.writable() || event.hangup())
            && self.writing.get()
            && !self.leaving.get()
        {
            result = self.visit(|descriptor, watch| descriptor.do_write(watch));
        }
        self.after(reactor, result);
    }

    fn attend(self: Rc<Self>, reactor: &Reactor) {
        self.after(reactor, Ok(()));
    }

    fn as_watch(self: Rc<Self>) -> Option<AnyWatch> {
        let watched: Rc<dyn AnyWatched> = self;
        Some(AnyWatch(Rc::downgrade(&watched)))
    }
}

impl<D: Descriptor> Clone for Watch<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Descriptor> fmt::Debug for Watch<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("is_watched", &self.is_watched())
            .finish()
    }
}

impl fmt::Debug for AnyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyWatch")
            .field("is_reading", &self.is_reading())
            .field("is_writing", &self.is_writing())
            .finish()
    }
}
