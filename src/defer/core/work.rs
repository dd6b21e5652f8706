//! The loop that firing and cancelling run: one loop over cores, so that long and deep structures
//! use a constant amount of stack.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::Location;
use std::rc::Rc;

use super::{Canceller, Consumer, Core, GrantHold, Group, Stage, discard_canceller};
use crate::context;
use crate::defer::DeferredError;
use crate::defer::coroutine::{self, Coroutine, StopResult};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

/// A step to take after everything that the previous step leads to was done.
pub(super) enum LaterStep {
    Advance(Rc<Core>),
    /// Cancels a core. The location is the line that requested it.
    Cancel(Rc<Core>, &'static Location<'static>),
    /// Cancels a member of a group, unless the group was decided meanwhile.
    CancelMember(Rc<Core>, &'static Location<'static>),
    /// Cancels a former member of a decided group.
    CancelReleased(Rc<Core>, &'static Location<'static>),
    /// Lets wait queues grant again.
    Grant(GrantHold),
    /// Continues a group whose remaining members were dropped.
    Settle(Rc<Core>),
    /// Informs a coroutine that what it awaits was cancelled.
    Requested(Rc<Coroutine>, u64),
    /// Fails a core with the result of its canceller, after everything that only this core had
    /// waited for was cancelled.
    Fail(Rc<Core>, Result<(), Failure>, &'static Location<'static>),
}

/// Runs everything that can run, beginning with `core` (invariant 1).
pub(in crate::defer) fn advance(core: Rc<Core>) {
    let mut next = Some(core);
    while let Some(core) = next {
        if core.has_dependents() {
            return work(Some(core), Vec::new());
        }
        next = core.step();
    }
}

/// Cancels what `core` is waiting for at the end of the chain. `location` is the line that
/// requested it.
pub(in crate::defer) fn cancel(core: &Rc<Core>, location: &'static Location<'static>) {
    work(None, vec![LaterStep::Cancel(core.clone(), location)]);
}

/// Advances like [`advance`] from `next`; then takes the later steps, the last one first, and
/// everything that each of them leads to.
fn work(mut next: Option<Rc<Core>>, mut later: Vec<LaterStep>) {
    let round = coroutine::new_round();
    loop {
        while let Some(core) = next {
            next = match core.stage.get() {
                Stage::Passed => core.advance_fired(&mut later),
                Stage::Decided => core.release_rest(&mut later),
                _ => core.step(),
            };
        }
        next = match later.pop() {
            Some(LaterStep::Advance(core)) => Some(core),
            Some(LaterStep::Cancel(core, location)) => {
                cancel_one(core, location, round, &mut later)
            }
            Some(LaterStep::CancelMember(core, location)) => {
                let member = Some(core).filter(|core| core.is_member());
                member.and_then(|core| cancel_one(core, location, round, &mut later))
            }
            Some(LaterStep::CancelReleased(core, location)) => {
                if core.consumer.get() == Consumer::Released {
                    core.consumer.set(Consumer::Dropped { gave_up: true });
                }
                cancel_one(core, location, round, &mut later)
            }
            Some(LaterStep::Grant(hold)) => {
                drop(hold);
                None
            }
            Some(LaterStep::Settle(core)) => {
                core.stage.set(Stage::Fired);
                Some(core)
            }
            Some(LaterStep::Requested(coroutine, before)) => {
                coroutine.end_request(before);
                None
            }
            Some(LaterStep::Fail(core, called, location)) => fail_cancelled(core, called, location),
            None => return,
        };
    }
}

/// Ends what `core` is waiting for at the end of the chain, without a request to stop; the members,
/// if that is a group.
pub(in crate::defer) fn end(core: &Rc<Core>, location: &'static Location<'static>) {
    let _hold = GrantHold::new();
    let mut left = vec![core.clone()];
    while let Some(mut core) = left.pop() {
        while let Some(inner) = core.awaited_core() {
            core = inner;
        }
        match core.stage.get() {
            Stage::Gathering => {
                let members = core.with_group(Group::request_stop).unwrap_or_default();
                left.extend(members.into_iter().rev());
            }
            _ => end_source(core, location),
        }
    }
}

fn end_source(core: Rc<Core>, location: &'static Location<'static>) {
    match core.canceller.take() {
        Some(Canceller::Waiter(waiter)) => return waiter.give_up(core, location),
        Some(Canceller::Coroutine(coroutine)) => coroutine.end(),
        Some(Canceller::Source(source_canceller)) => {
            if let Some(unwanted) = call(&core, || source_canceller.call_own(core.location)) {
                cancel(&unwanted, location);
            }
        }
        other => discard_canceller(other, core.location),
    }
    if let Some(next) = core.fail_source(Failure::at(Cancelled, location)) {
        advance(next);
    }
}

/// Cancels one core. Returns the core to continue with.
fn cancel_one(
    mut core: Rc<Core>,
    location: &'static Location<'static>,
    round: u64,
    later: &mut Vec<LaterStep>,
) -> Option<Rc<Core>> {
    while let Some(inner) = core.awaited_core() {
        core = inner;
    }
    if core.stage.get() == Stage::Gathering {
        let members = core.with_group(Group::request_stop).unwrap_or_default();
        let jobs = members
            .into_iter()
            .map(|member| LaterStep::CancelMember(member, location));
        later.push(LaterStep::Grant(GrantHold::new()));
        later.extend(jobs.rev());
        return None;
    }
    if core.stage.get() != Stage::Pending {
        return None;
    }
    match core.canceller.take() {
        None => {}
        Some(Canceller::Call(f)) => {
            let called = call(&core, || report::catch(core.location, f));
            return fail_cancelled(core, called, location);
        }
        Some(Canceller::Source(source_canceller)) => {
            let (called, unwanted) = call(&core, || source_canceller.call(core.location));
            let Some(unwanted) = unwanted else {
                return fail_cancelled(core, called, location);
            };
            later.push(LaterStep::Fail(core, called, location));
            later.push(LaterStep::Cancel(unwanted, location));
            return None;
        }
        Some(Canceller::Waiter(waiter)) => {
            waiter.give_up(core, location);
            return None;
        }
        Some(Canceller::Coroutine(coroutine)) => match coroutine.request_stop(round) {
            StopResult::Dropped => {}
            StopResult::Requested { awaited, before } => {
                // The coroutine gets the request at its `await`, decides, and may get another
                // request.
                core.canceller
                    .set(Some(Canceller::Coroutine(coroutine.clone())));
                later.push(LaterStep::Requested(coroutine, before));
                later.push(LaterStep::Grant(GrantHold::new()));
                let jobs = awaited
                    .into_iter()
                    .map(|core| LaterStep::Cancel(core, location));
                later.extend(jobs.rev());
                return None;
            }
        },
    }
    core.fail_source(Failure::at(Cancelled, location))
}

/// Calls a canceller.
fn call<R>(core: &Core, canceller: impl FnOnce() -> R) -> R {
    core.cancelling.set(true);
    let called = canceller();
    core.cancelling.set(false);
    called
}

/// Handles a core whose canceller was called, and may have panicked.
fn fail_cancelled(
    core: Rc<Core>,
    called: Result<(), Failure>,
    location: &'static Location<'static>,
) -> Option<Rc<Core>> {
    match called {
        Ok(()) => core.fail_source(Failure::at(Cancelled, location)),
        Err(panic) if core.stage.get() == Stage::Pending => core.fail_source(panic),
        Err(panic) => {
            report::deliver(Origin::Canceller, panic, core.location);
            None
        }
    }
}

/// Cancels like [`cancel`], for a core that was dropped. That may drop the next core, and so on:
/// below a certain depth the rest is cancelled one after another.
pub(in crate::defer) fn cancel_dropped(core: &Rc<Core>, location: &'static Location<'static>) {
    let depth = context::with(|thread| thread.cancelling.get());
    if depth >= MAX_DEPTH {
        let left = context::with(|thread| thread.to_cancel.get::<DeepCancels>());
        if let Some(left) = left {
            left.borrow_mut().push_back((core.clone(), location));
        }
        return;
    }
    let is_deepest = depth == MAX_DEPTH - 1;
    let left = is_deepest.then(Rc::<DeepCancels>::default);
    context::with(|thread| {
        thread.cancelling.set(depth + 1);
        if left.is_some() {
            drop(thread.to_cancel.replace(left.clone()));
        }
    });
    cancel(core, location);
    if let Some(left) = left {
        loop {
            let next = left.borrow_mut().pop_front();
            let Some((core, location)) = next else { break };
            cancel(&core, location);
        }
        drop(context::with(|thread| {
            thread.to_cancel.replace::<DeepCancels>(None)
        }));
    }
    context::with(|thread| thread.cancelling.set(depth));
}

/// The dropped cores that are nested too deeply to be cancelled in place.
type DeepCancels = RefCell<VecDeque<(Rc<Core>, &'static Location<'static>)>>;

/// The most cancels nested inside each other.
const MAX_DEPTH: usize = 16;

/// Abandons the source of a dropped resolver. Its steps may drop the next resolver, and so on: they
/// are abandoned one after another, not one inside the other.
pub(in crate::defer) fn abandon_source(core: Rc<Core>) {
    if core.cancelling.get() {
        return;
    }
    let is_nested = context::with(|thread| thread.abandoning.replace(true));
    if is_nested {
        let queue = context::with(|thread| match thread.to_abandon.get::<AbandonQueue>() {
            Some(queue) => queue,
            None => {
                let queue = Rc::<AbandonQueue>::default();
                drop(thread.to_abandon.replace(Some(queue.clone())));
                queue
            }
        });
        return queue.borrow_mut().push_back(core);
    }
    let mut next = Some(core);
    while let Some(core) = next {
        let abandoned = Failure::at(DeferredError::Abandoned, core.location);
        if core.has_no_consumer() {
            // No code can miss the result.
            abandoned.note_reported();
        }
        if let Some(fired) = core.fail_source(abandoned) {
            advance(fired);
        }
        let queue = context::with(|thread| thread.to_abandon.get::<AbandonQueue>());
        next = queue.and_then(|queue| queue.borrow_mut().pop_front());
    }
    context::with(|thread| {
        thread.abandoning.set(false);
        drop(thread.to_abandon.replace::<AbandonQueue>(None));
    });
}

/// The cores to be abandoned after the current one.
type AbandonQueue = RefCell<VecDeque<Rc<Core>>>;
