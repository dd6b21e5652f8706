//! [`block_on`]: waits for a future on a thread without a reactor.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::Executor;
use super::waiting::{AwaitedWork, WorkWaker};
use crate::sync;

/// Blocks the thread until a future is ready, and returns its output.
///
/// The thread sleeps meanwhile. Use this on a thread without a reactor, for a future that other
/// threads wake. A future that needs a reactor (for sockets or timers) is run by
/// [`Reactor::run_until`](crate::Reactor::run_until).
///
/// # Panics
///
/// Panics when a reactor is in a turn on this thread, because that reactor would stand still.
///
/// # Examples
///
/// ```
/// use futures::channel::oneshot;
///
/// let (sender, receiver) = oneshot::channel();
/// std::thread::spawn(move || sender.send(42));
/// assert_eq!(torsade::task::block_on(receiver), Ok(42));
/// ```
#[track_caller]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    assert!(
        !Executor::is_in_turn(),
        "`block_on` would block the reactor that runs on this thread: await the future instead"
    );
    let (parker, unparker) = sync::pair();
    let mut future = pin!(future);
    // A thread that works for a loop tells that loop when it waits.
    if let Some(work) = AwaitedWork::present() {
        let work = WorkWaker::new(unparker, work);
        let waker = Waker::from(work.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            work.begin();
            match future.as_mut().poll(&mut cx) {
                Poll::Ready(value) => return value,
                Poll::Pending => work.sleep(),
            }
            parker.park();
        }
    }
    let waker = Waker::from(unparker);
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => parker.park(),
        }
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use futures::channel::oneshot;
    use std::thread;

    #[test]
    fn it_sleeps_until_another_thread_wakes_it() {
        let (there, here) = oneshot::channel();
        let (back, answer) = oneshot::channel();
        let other = thread::spawn(move || {
            let number: u32 = block_on(here).expect("it is sent");
            back.send(number + 1)
        });
        there.send(1).expect("the other thread waits");
        assert_eq!(block_on(answer), Ok(2));
        other.join().expect("it does not panic").expect("we waited");
    }

    #[test]
    #[should_panic(expected = "would block the reactor")]
    fn inside_a_turn_it_is_refused() {
        let executor = Executor::new(|| {});
        let _turn = executor.begin_turn();
        block_on(std::future::ready(()));
    }
}
