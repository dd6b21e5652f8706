//! What firing and cancelling lead to: one loop over cores, so that nothing that is long or deep uses stack.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::Location;
use std::rc::Rc;

use super::{Canceller, Core, Group, Stage, discard_canceller};
use crate::context;
use crate::defer::DeferredError;
use crate::defer::coroutine::{self, Coroutine, Verdict};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

/// Something to do when all that comes of the thing before has been done.
pub(super) enum Job {
    Advance(Rc<Core>),
    /// The place is where somebody asked for it.
    Cancel(Rc<Core>, &'static Location<'static>),
    /// The same for a member of a group, unless that was decided meanwhile, and so has let go of it.
    CancelMember(Rc<Core>, &'static Location<'static>),
    /// The rest of its group has been let go.
    Settle(Rc<Core>),
    /// What it awaits has been asked to stop.
    Asked(Rc<Coroutine>, u64),
    /// What only it has waited for was cancelled; now it fails itself, with what its canceller came to.
    Fail(Rc<Core>, Result<(), Failure>, &'static Location<'static>),
}

/// Runs everything that can run from here on (invariant 1).
pub(in crate::defer) fn advance(core: Rc<Core>) {
    let mut next = Some(core);
    while let Some(core) = next {
        if core.concerns_others() {
            return work(Some(core), Vec::new());
        }
        next = core.step();
    }
}

/// Cancels whatever `core` is waiting for at the end of the line. `place` is where somebody asked for it.
pub(in crate::defer) fn cancel(core: &Rc<Core>, location: &'static Location<'static>) {
    work(None, vec![Job::Cancel(core.clone(), location)]);
}

/// Does as [`advance`] with `next`; then does the jobs, the last one first, and likewise all that comes of each.
fn work(mut next: Option<Rc<Core>>, mut later: Vec<Job>) {
    let round = coroutine::new_round();
    loop {
        while let Some(core) = next {
            next = match core.stage.get() {
                Stage::Passed => core.tell_others(&mut later),
                Stage::Decided => core.let_rest_go(&mut later),
                _ => core.step(),
            };
        }
        next = match later.pop() {
            Some(Job::Advance(core)) => Some(core),
            Some(Job::Cancel(core, location)) => cancel_one(core, location, round, &mut later),
            Some(Job::CancelMember(core, location)) => {
                let member = Some(core).filter(|core| core.is_member());
                member.and_then(|core| cancel_one(core, location, round, &mut later))
            }
            Some(Job::Settle(core)) => {
                core.stage.set(Stage::Fired);
                Some(core)
            }
            Some(Job::Asked(coroutine, before)) => {
                coroutine.was_asked(before);
                None
            }
            Some(Job::Fail(core, called, location)) => fail_cancelled(core, called, location),
            None => return,
        };
    }
}

/// Ends whatever `core` is waiting for at the end of the line, and asks nobody; of a group, its members.
pub(in crate::defer) fn end(core: &Rc<Core>, location: &'static Location<'static>) {
    let mut left = vec![core.clone()];
    while let Some(mut core) = left.pop() {
        while let Some(inner) = core.awaited_core() {
            core = inner;
        }
        match core.stage.get() {
            Stage::Gathering => {
                let members = core.with_group(Group::ask_to_stop).unwrap_or_default();
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
        Some(Canceller::Source(sourced)) => {
            if let Some(unwanted) = call(&core, || sourced.call_own(core.location)) {
                cancel(&unwanted, location);
            }
        }
        other => discard_canceller(other, core.location),
    }
    if let Some(next) = core.fail_source(Failure::at(Cancelled, location)) {
        advance(next);
    }
}

/// Cancels one. Gives the core to go on with.
fn cancel_one(
    mut core: Rc<Core>,
    location: &'static Location<'static>,
    round: u64,
    later: &mut Vec<Job>,
) -> Option<Rc<Core>> {
    while let Some(inner) = core.awaited_core() {
        core = inner;
    }
    if core.stage.get() == Stage::Gathering {
        let members = core.with_group(Group::ask_to_stop).unwrap_or_default();
        let jobs = members
            .into_iter()
            .map(|member| Job::CancelMember(member, location));
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
        Some(Canceller::Source(sourced)) => {
            let (called, unwanted) = call(&core, || sourced.call(core.location));
            let Some(unwanted) = unwanted else {
                return fail_cancelled(core, called, location);
            };
            later.push(Job::Fail(core, called, location));
            later.push(Job::Cancel(unwanted, location));
            return None;
        }
        Some(Canceller::Waiter(waiter)) => {
            waiter.give_up(core, location);
            return None;
        }
        Some(Canceller::Coroutine(coroutine)) => match coroutine.ask_to_stop(round) {
            Verdict::Stopped => {}
            Verdict::Decides { awaited, before } => {
                // The coroutine is told where it waits, decides, and may be asked again.
                core.canceller
                    .set(Some(Canceller::Coroutine(coroutine.clone())));
                later.push(Job::Asked(coroutine, before));
                let jobs = awaited.into_iter().map(|core| Job::Cancel(core, location));
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

/// Its canceller was called, and may have panicked.
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

/// As [`cancel`], for what was dropped. What that leads to may drop the next one, and so on for ever: where they lie too
/// deep inside each other, the rest is cancelled one after another.
pub(in crate::defer) fn cancel_dropped(core: &Rc<Core>, location: &'static Location<'static>) {
    let depth = context::with(|thread| thread.cancelling.get());
    if depth >= DEEPEST {
        let left = context::with(|thread| thread.to_cancel.get::<TooDeep>());
        if let Some(left) = left {
            left.borrow_mut().push_back((core.clone(), location));
        }
        return;
    }
    let is_deepest = depth == DEEPEST - 1;
    let left = is_deepest.then(Rc::<TooDeep>::default);
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
            thread.to_cancel.replace::<TooDeep>(None)
        }));
    }
    context::with(|thread| thread.cancelling.set(depth));
}

/// What was dropped and is too deep inside others to be cancelled there.
type TooDeep = RefCell<VecDeque<(Rc<Core>, &'static Location<'static>)>>;

/// So deep they may be inside each other.
const DEEPEST: usize = 16;

/// A resolver was dropped. Its steps may drop the next resolver, and so on for ever: one after another, not one
/// inside the other.
pub(in crate::defer) fn abandon_source(core: Rc<Core>) {
    if core.cancelling.get() {
        return;
    }
    let is_nested = context::with(|thread| thread.abandoning.replace(true));
    if is_nested {
        let line = context::with(|thread| match thread.to_abandon.get::<CallbackQueue>() {
            Some(line) => line,
            None => {
                let line = Rc::<CallbackQueue>::default();
                drop(thread.to_abandon.replace(Some(line.clone())));
                line
            }
        });
        return line.borrow_mut().push_back(core);
    }
    let mut next = Some(core);
    while let Some(core) = next {
        let location = core.location;
        if let Some(fired) = core.fail_source(Failure::at(DeferredError::Abandoned, location)) {
            advance(fired);
        }
        let line = context::with(|thread| thread.to_abandon.get::<CallbackQueue>());
        next = line.and_then(|line| line.borrow_mut().pop_front());
    }
    context::with(|thread| {
        thread.abandoning.set(false);
        drop(thread.to_abandon.replace::<CallbackQueue>(None));
    });
}

/// What is waiting to be abandoned, while something is being abandoned.
type CallbackQueue = RefCell<VecDeque<Rc<Core>>>;
