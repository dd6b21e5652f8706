//! [`DeferredQueue`]: a queue whose readers may come before the items.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use futures::stream::{FusedStream, Stream};

use super::errors::{LockError, QueueOverflow};
use super::grant_queue::{self, GrantQueue, Resource};
use super::grants::Granted;
use crate::debug::DumpItem;
use crate::defer::{self, Deferred, Resolver, WaitSource};
use crate::index::Indexed;
use crate::report;
use crate::slots::shrink_queue;
use crate::task::{Wait, budget};

/// A queue of items; both items and readers are first come, first served.
///
/// Clones are handles to the same queue. When the last handle is dropped, waiting Deferreds fail
/// with [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned), and the
/// [`stream`](DeferredQueue::stream)s end after the last item. So a task that reads until the
/// senders are gone needs a `stream`, and no clone: `while let Ok(x) = queue.get().await` never
/// ends, because `queue` is a handle itself.
///
/// # Examples
///
/// ```
/// use torsade::locks::DeferredQueue;
/// use torsade::{Failure, testing};
///
/// testing::run(async |reactor| {
///     let queue = DeferredQueue::new();
///     let jobs = queue.clone();
///     let sum = reactor.spawn(async move {
///         let mut sum = 0;
///         while sum < 42 {
///             sum += jobs.get().await?;
///         }
///         Ok::<_, Failure>(sum)
///     });
///     queue.put(40)?;
///     queue.put(2)?;
///     assert_eq!(sum.await??, 42);
///     Ok(())
/// });
/// ```
pub struct DeferredQueue<T: 'static> {
    handle: Rc<Handle<T>>,
}

/// The items of a queue as a stream; see [`DeferredQueue::stream`].
#[must_use = "a stream does nothing unless it is polled"]
pub struct Items<T: 'static> {
    shared: Rc<Shared<T>>,
    /// `Some` while it waits for an item.
    next: Option<Next<T>>,
    location: &'static Location<'static>,
}

/// A stream that waits in the queue.
struct Next<T: 'static> {
    deferred: Deferred<T>,
    shared: Rc<Shared<T>>,
}

/// The description of free space in a full queue, for dumps: a Deferred that waits for space waits
/// for this.
struct FreeSpace<T: 'static>(Weak<Shared<T>>);

/// The state that all handles of a queue own together.
struct Handle<T: 'static>(Rc<Shared<T>>);

struct Shared<T: 'static> {
    queue: GrantQueue<Self>,
    items: RefCell<VecDeque<T>>,
    /// The Deferreds that wait for space.
    putters: RefCell<Indexed<(T, Resolver<()>)>>,
    next_putter: Cell<u64>,
    admitting: Cell<bool>,
    size: Option<usize>,
    backlog: Option<usize>,
    /// The number of waiters that are streams.
    streams: Cell<usize>,
    /// Whether the last handle was dropped.
    is_over: Cell<bool>,
}

impl<T: 'static> DeferredQueue<T> {
    /// Makes a queue without limits.
    #[track_caller]
    pub fn new() -> Self {
        Self::with_limits(None, None)
    }

    /// Makes a queue that stores at most `size` items and lets at most `backlog` Deferreds wait for
    /// an item; `None` is no limit.
    ///
    /// With a size of 0, an item can be put only while a Deferred waits for one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::DeferredQueue;
    /// let queue = DeferredQueue::with_limits(1, None);
    /// assert!(queue.put('a').is_ok());
    /// assert_eq!(queue.put('b').unwrap_err().0, 'b');
    /// ```
    #[doc(alias("maxsize", "bounded"))]
    #[track_caller]
    pub fn with_limits(size: impl Into<Option<usize>>, backlog: impl Into<Option<usize>>) -> Self {
        Self {
            handle: Rc::new(Handle(Rc::new(Shared {
                queue: GrantQueue::new(),
                items: RefCell::default(),
                putters: RefCell::default(),
                next_putter: Cell::new(0),
                admitting: Cell::new(false),
                size: size.into(),
                backlog: backlog.into(),
                streams: Cell::new(0),
                is_over: Cell::new(false),
            }))),
        }
    }

    /// Puts an item at the end of the queue.
    ///
    /// # Order
    ///
    /// If a Deferred with a callback is next, its callback runs inside this call, with the item. A
    /// waiting task is woken; the item stays in the queue until the task takes it.
    ///
    /// # Errors
    ///
    /// Fails with [`QueueOverflow`], which has the item, when the queue is full or a Deferred of
    /// [`put_when_room`](DeferredQueue::put_when_room) waits.
    #[doc(alias("put_nowait", "try_send"))]
    pub fn put(&self, item: T) -> Result<(), QueueOverflow<T>> {
        let shared = self.shared();
        let is_next = shared.putters.borrow().is_empty();
        if !is_next || !shared.has_room() {
            return Err(QueueOverflow(item));
        }
        shared.items.borrow_mut().push_back(item);
        grant_queue::serve(shared);
        Ok(())
    }

    /// Puts an item at the end of the queue as soon as there is space; the Deferred fires when the
    /// item is in the queue.
    ///
    /// # Order
    ///
    /// First come, first served. While a Deferred waits for space, [`put`](DeferredQueue::put)
    /// fails.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred before the item is in the queue drops the item. Dropping a Deferred
    /// that was never polled does not: the item is put into the queue all the same.
    ///
    /// # Errors
    ///
    /// [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned) when the last handle of
    /// the queue is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::DeferredQueue;
    /// # torsade::testing::run(async |reactor| {
    /// let queue = DeferredQueue::with_limits(1, None);
    /// queue.put('a')?;
    /// let waits = queue.put_when_room('b');
    /// assert_eq!(queue.get().await?, 'a');
    /// waits.await?;
    /// assert_eq!(queue.get().await?, 'b');
    /// # Ok(())
    /// # });
    /// ```
    #[doc(alias = "send")]
    #[track_caller]
    pub fn put_when_room(&self, item: T) -> Deferred<()> {
        let item = match self.put(item) {
            Ok(()) => return Deferred::succeed(()),
            Err(QueueOverflow(item)) => item,
        };
        let shared = self.shared();
        let number = shared.next_putter.replace(shared.next_putter.get() + 1);
        let (deferred, resolver) = Deferred::pair();
        let mut putters = shared.putters.borrow_mut();
        putters.insert(number, (item, resolver));
        drop(putters);
        let weak: Weak<Shared<T>> = Rc::downgrade(shared);
        defer::note_waits_for(&deferred, || Rc::new(FreeSpace(weak.clone())));
        deferred.on_cancel_itself(move || {
            if let Some(shared) = weak.upgrade() {
                let putter = shared.putters.borrow_mut().remove(number);
                drop(putter);
            }
        })
    }

    /// Waits for the first item, and returns it.
    ///
    /// # Order
    ///
    /// Waiters are served in the order of these calls. A waiter that has missed its
    /// [offer](crate::locks) keeps its position for the next item.
    ///
    /// # Cancel safety
    ///
    /// No item is lost: an item leaves the queue only when the Deferred returns it or calls a
    /// callback with it. A Deferred that is dropped or cancelled before that leaves the item in the
    /// queue.
    ///
    /// # Errors
    ///
    /// [`LockError::QueueUnderflow`] when `backlog` Deferreds wait already;
    /// [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned) when the last handle of
    /// the queue is dropped.
    #[doc(alias = "recv")]
    #[track_caller]
    pub fn get(&self) -> Deferred<T> {
        let shared = self.shared();
        if let Some(backlog) = shared.backlog {
            let waiting = grant_queue::waiting(&**shared).saturating_sub(shared.streams.get());
            if waiting >= backlog && !grant_queue::is_free(shared, 1) {
                return Deferred::fail(LockError::QueueUnderflow { waiting: backlog });
            }
        }
        shared.join(Location::caller())
    }

    /// Returns the first item, if there is one for which no Deferred waits.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::DeferredQueue;
    /// let queue = DeferredQueue::new();
    /// assert_eq!(queue.try_get(), None);
    /// queue.put(1).unwrap();
    /// assert_eq!(queue.try_get(), Some(1));
    /// ```
    #[doc(alias("get_nowait", "try_recv"))]
    pub fn try_get(&self) -> Option<T> {
        let item = grant_queue::try_take(self.shared(), 1)?;
        self.shared().admit();
        Some(item)
    }

    /// Returns a stream of the items, which takes an item from the queue each time it is polled and
    /// one is there.
    ///
    /// Streams and Deferreds wait in the same queue. A stream does not keep the queue open: it ends
    /// when the last handle is dropped and the queue is empty. It does not count towards the
    /// `backlog`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use futures::StreamExt;
    /// # use torsade::locks::DeferredQueue;
    /// # torsade::testing::run(async |_reactor| {
    /// let queue = DeferredQueue::new();
    /// for n in 1..=3 {
    ///     queue.put(n)?;
    /// }
    /// let items = queue.stream();
    /// drop(queue);
    /// assert_eq!(items.collect::<Vec<_>>().await, [1, 2, 3]);
    /// # Ok(())
    /// # });
    /// ```
    #[track_caller]
    pub fn stream(&self) -> Items<T> {
        Items {
            shared: self.shared().clone(),
            next: None,
            location: Location::caller(),
        }
    }

    /// Returns the number of stored items.
    #[doc(alias("pending", "qsize"))]
    pub fn len(&self) -> usize {
        self.shared().left()
    }

    /// Returns whether no item is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of Deferreds and streams that wait for an item.
    pub fn waiting(&self) -> usize {
        grant_queue::waiting(&**self.shared())
    }

    fn shared(&self) -> &Rc<Shared<T>> {
        &self.handle.0
    }
}

impl<T: 'static> Clone for DeferredQueue<T> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
        }
    }
}

impl<T: 'static> Default for DeferredQueue<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> fmt::Debug for DeferredQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredQueue")
            .field("len", &self.len())
            .field("waiting", &self.waiting())
            .finish()
    }
}

impl<T: 'static> Stream for Items<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut next = match self.next.take() {
            Some(next) => next,
            // The cost lets the loop turn.
            None if self.is_terminated() => return budget::metered(cx, |_| Poll::Ready(None)),
            None => Next::join(&self.shared, self.location),
        };
        match Pin::new(&mut next.deferred).poll(cx) {
            // It fails only when it is abandoned.
            Poll::Ready(item) => Poll::Ready(item.ok()),
            Poll::Pending => {
                self.next = Some(next);
                Poll::Pending
            }
        }
    }
}

impl<T: 'static> FusedStream for Items<T> {
    fn is_terminated(&self) -> bool {
        self.shared.is_over.get() && self.shared.left() == 0
    }
}

impl<T: 'static> Unpin for Items<T> {}

impl<T: 'static> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("len", &self.shared.left())
            .finish()
    }
}

impl<T: 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        let putters = self.0.putters.take();
        for (item, resolver) in putters {
            let location = resolver.location();
            drop(resolver);
            report::discard(item, location);
        }
        grant_queue::end(&self.0);
    }
}

impl<T: 'static> Drop for Shared<T> {
    /// The items are dropped one after the other, and a panic of one does not skip the rest.
    fn drop(&mut self) {
        for item in self.items.take() {
            report::discard(item, self.queue.made());
        }
    }
}

impl<T: 'static> Next<T> {
    fn join(shared: &Rc<Shared<T>>, location: &'static Location<'static>) -> Self {
        let next = Self {
            // The stream is counted while it waits, so before another waiter is let in.
            deferred: grant_queue::join(shared, 1, location),
            shared: shared.clone(),
        };
        shared.streams.set(shared.streams.get() + 1);
        shared.admit();
        next
    }
}

impl<T: 'static> Drop for Next<T> {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
    }
}

impl<T: 'static> Shared<T> {
    fn join(self: &Rc<Self>, location: &'static Location<'static>) -> Deferred<T> {
        let deferred = grant_queue::join(self, 1, location);
        self.admit();
        deferred
    }

    /// Returns whether there is space for one more item, in the queue or with a waiter.
    fn has_room(&self) -> bool {
        self.size
            .is_none_or(|size| self.left() < size.saturating_add(grant_queue::expected(self)))
    }

    /// Stores items that wait for space.
    #[inline]
    fn admit(self: &Rc<Self>) {
        if !self.putters.borrow().is_empty() {
            self.admit_waiting();
        }
    }

    fn admit_waiting(self: &Rc<Self>) {
        if self.admitting.replace(true) {
            return;
        }
        while self.has_room() {
            let putter = self.putters.borrow_mut().pop_first();
            let Some((item, resolver)) = putter else {
                break;
            };
            self.items.borrow_mut().push_back(item);
            grant_queue::serve(self);
            resolver.callback(());
        }
        self.admitting.set(false);
    }
}

impl<T: 'static> Wait for FreeSpace<T> {
    fn look(&self) -> Option<DumpItem> {
        Some(self.0.upgrade()?.dump_item())
    }
}

impl<T: 'static> Resource for Shared<T> {
    type Given = T;

    const KIND: &'static str = "queue";

    const IS_LENT: bool = false;

    fn queue(&self) -> &GrantQueue<Self> {
        &self.queue
    }

    fn left(&self) -> usize {
        self.items.borrow().len()
    }

    #[inline(always)]
    fn take(self: &Rc<Self>, _: usize, _: Granted) -> T {
        let mut items = self.items.borrow_mut();
        let item = items.pop_front();
        shrink_queue(&mut items);
        drop(items);
        item.expect("what is taken is there")
    }

    fn about(&self, _: bool) -> String {
        match (self.left(), self.size) {
            (left, Some(size)) => format!("{left} of {size} stored"),
            (0, None) => "empty".to_owned(),
            (left, None) => format!("{left} stored"),
        }
    }

    fn held(_: usize) -> String {
        String::new()
    }

    fn is_over(&self) -> bool {
        self.is_over.get()
    }

    fn taken(self: &Rc<Self>) {
        self.admit();
    }
}
