//! A child of a scope: its future, and the handle to what it gives.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::debug::{self, Thing};
use crate::defer::Asking;
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};
use crate::task::{self, Card, Locals, Wait, own_waker};

/// What a child of a scope will give; see [`Scope::spawn`](super::Scope::spawn).
///
/// Awaiting it is not needed: the child runs, and its failure ends the scope, all the same. Awaited, it gives the value, a
/// clone of the failure, or [`Cancelled`] when the child was dropped before it was done.
///
/// # Cancel safety
///
/// Nothing is lost when an await of `&mut child` is dropped. Dropping it changes nothing.
///
/// # Examples
///
/// ```
/// use torsade::scope::scope;
///
/// torsade::testing::run(async |_reactor| {
///     let sum = scope(async |s| {
///         let (one, two) = (s.spawn(async { Ok(1) }), s.spawn(async { Ok(2) }));
///         Ok(one.await? + two.await?)
///     });
///     assert_eq!(sum.await?, 3);
///     Ok(())
/// });
/// ```
pub struct Child<'env, T>(Rc<Cradle<T>>, std::marker::PhantomData<&'env ()>);

/// Where a child leaves what it gives.
struct Cradle<T> {
    result: Cell<Option<Result<T, Failure>>>,
    waker: Cell<Option<Waker>>,
    place: &'static Location<'static>,
    is_done: Cell<bool>,
}

impl<T> Child<'_, T> {
    /// Has it ended, in whatever way?
    pub fn is_finished(&self) -> bool {
        self.0.is_done.get()
    }
}

impl<T> Future for Child<'_, T> {
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let cradle = &*self.0;
        if !cradle.is_done.get() {
            drop(cradle.waker.replace(Some(own_waker(cx).clone())));
            return Poll::Pending;
        }
        let cancelled = || Err(Failure::at(Cancelled, cradle.place));
        Poll::Ready(cradle.result.take().unwrap_or_else(cancelled))
    }
}

impl<T> fmt::Debug for Child<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_finished() {
            "finished"
        } else {
            "running"
        };
        write!(f, "Child({state}, spawned at {})", self.0.place)
    }
}

impl<T> Cradle<T> {
    fn put(&self, result: Option<Result<T, Failure>>) {
        if self.is_done.replace(true) {
            return;
        }
        self.result.set(result);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Leaves nothing in the cradle, if nothing has been left there when the child goes.
struct Leaves<T>(Rc<Cradle<T>>);

impl<T> Drop for Leaves<T> {
    fn drop(&mut self) {
        self.0.put(None);
    }
}

/// A child's future.
type Running<'env> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'env>>;

/// A child as the scope has it.
pub(super) struct Kid<'env> {
    /// Empty once it is done.
    future: Option<Running<'env>>,
    /// The order of spawning.
    number: u64,
    asking: Asking,
    is_shielded: bool,
    card: Option<Rc<Card>>,
    place: &'static Location<'static>,
}

/// What `future` comes to; a panic in it, or in its destructor, is a failure like any other.
async fn contained<T>(
    future: impl Future<Output = Result<T, Failure>>,
    place: &'static Location<'static>,
) -> Result<T, Failure> {
    let mut future = pin!(Some(future));
    let result = poll_fn(|cx| match future.as_mut().as_pin_mut() {
        None => Poll::Pending,
        Some(future) => match report::catch(place, || task::poll_part(cx, |cx| future.poll(cx))) {
            Ok(polled) => polled,
            Err(failure) => Poll::Ready(Err(failure)),
        },
    })
    .await;
    match (report::catch_rarely(place, || future.set(None)), result) {
        (Ok(()), result) => result,
        (Err(panic), Ok(value)) => {
            report::discard(value, place);
            Err(panic)
        }
        (Err(panic), Err(failure)) => {
            report::deliver(Origin::Destructor, panic, place);
            Err(failure)
        }
    }
}

impl<'env> Kid<'env> {
    pub(super) fn new<T: 'env>(
        number: u64,
        future: impl Future<Output = Result<T, Failure>> + 'env,
        is_shielded: bool,
        place: &'static Location<'static>,
    ) -> (Self, Child<'env, T>) {
        let cradle = Rc::new(Cradle {
            result: Cell::new(None),
            waker: Cell::new(None),
            place,
            is_done: Cell::new(false),
        });
        let leaves = Leaves(cradle.clone());
        let future = Box::pin(async move {
            let result = contained(future, place).await;
            let failed = result.as_ref().err().cloned();
            leaves.0.put(Some(result));
            failed.map_or(Ok(()), Err)
        });
        let locals = Locals::capture();
        let has_card = !locals.is_empty() || debug::is_on();
        let kid = Self {
            future: Some(future),
            number,
            asking: Asking::default(),
            is_shielded,
            card: has_card.then(|| Card::of_a_child(place, locals)),
            place,
        };
        (kid, Child(cradle, std::marker::PhantomData))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_shielded(&self) -> bool {
        self.is_shielded
    }

    /// Asks it to end.
    pub(super) fn ask(&self) {
        if !self.is_shielded {
            self.asking.ask(self.place);
        }
    }

    /// Has the task in whose scope it runs know that it waits for this child.
    pub(super) fn note(&self) {
        if let Some(card) = &self.card {
            task::note_wait(|| Rc::new(Below(card.clone())));
        }
    }
}

impl Future for Kid<'_> {
    type Output = (Result<(), Failure>, &'static Location<'static>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (asking, place) = (self.asking.clone(), self.place);
        let card = self.card.clone();
        let Some(future) = &mut self.future else {
            return Poll::Ready((Ok(()), place));
        };
        let entered = card.as_ref().map(Card::enter);
        let polled = report::catch(place, || asking.poll(place, || future.as_mut().poll(cx)));
        drop(entered);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready((done, place)),
            Err(failure) => Poll::Ready((Err(failure), place)),
        }
    }
}

impl Drop for Kid<'_> {
    fn drop(&mut self) {
        let future = self.future.take();
        let entered = self.card.as_ref().map(Card::enter);
        report::contain_rarely(Origin::Destructor, self.place, || drop(future));
        drop(entered);
        if let Some(card) = &self.card {
            card.close();
        }
    }
}

/// What the task notes in whose scope a child runs.
struct Below(Rc<Card>);

impl Wait for Below {
    fn look(&self) -> Option<Thing> {
        self.0.look()?;
        Some(self.0.thing())
    }
}
