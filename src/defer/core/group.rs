//! A core whose source is a group of other cores, its members.
//!
//! # The idea
//!
//! A member refers to the core of its group and knows its index. At the end of its queue its result
//! goes straight into the group, which is stored in the queue of its own core as the source: there
//! is no step, no callback, and no memory for each member but an entry in the group. The group
//! alone defines what the results become (see `list`).
//!
//! # Ownership
//!
//! The members own the core of their group; the group refers to its members weakly (invariant 2 of
//! `core`).

use std::any::Any;
use std::rc::Rc;

use super::slot::Slot;
use super::{Consumer, Core, GrantHold, LaterStep, Stage, advance, tracker};
use crate::debug;
use crate::report;

/// A source that takes its value from several other cores, its members. Its methods run no user
/// code.
pub(in crate::defer) trait Group {
    /// Takes the result of a member. Returns `true` if the outcome is decided and stored in the
    /// group's [`Place`].
    fn accept(&self, index: usize, last: &dyn Slot) -> bool;

    /// Handles a stop request: returns the members that have not given their results.
    fn request_stop(&self) -> Vec<Rc<Core>>;

    /// Returns the members that have not given their results.
    fn members(&self) -> Vec<Rc<Core>>;

    /// Returns everything but the outcome, which is decided.
    fn rest(&self) -> Rest;
}

/// The rest of a group when its outcome is decided.
pub(in crate::defer) struct Rest {
    /// The members that have not given their results.
    pub(in crate::defer) members: Vec<Rc<Core>>,
    /// Whether the members are cancelled.
    pub(in crate::defer) cancels: bool,
    /// Results that are not part of the outcome.
    pub(in crate::defer) results: Box<dyn Any>,
}

impl Core {
    /// Makes `group` the source of a new core, and the cores its members.
    pub(in crate::defer) fn gather(self: &Rc<Self>, group: impl Slot) {
        self.callbacks.put_source(group);
        self.stage.set(Stage::Gathering);
    }

    /// Makes the core a member of a group. No task awaits it.
    pub(in crate::defer) fn join(&self, group: &Rc<Self>, index: usize) {
        self.number.set(index as u64);
        self.then.set(Some(group.clone()));
        self.consumer.set(Consumer::Member);
    }

    /// Gives the group the result or the offer that the core had before it became a member.
    pub(in crate::defer) fn give_present_result(self: Rc<Self>) {
        if self.is_offered() && self.is_member() {
            self.ask();
        } else if self.is_settled() {
            advance(self);
        }
    }

    /// Returns whether a group waits for the core.
    pub(super) fn is_member(&self) -> bool {
        self.consumer.get() == Consumer::Member
    }

    /// Returns the members of the group that is the core's source.
    pub(in crate::defer) fn members(&self) -> Vec<Rc<Self>> {
        match self.stage.get() {
            Stage::Gathering => self.with_group(Group::members).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Returns the same for a chain that is followed down to a group.
    pub(super) fn is_member_below(
        self: &Rc<Self>,
        down: Rc<Self>,
        up: Rc<Self>,
        other: &Rc<Self>,
    ) -> bool {
        let (mut below, mut above) = (vec![down], up.consuming_core());
        while let (Some(lower), Some(upper)) = (below.pop(), above) {
            if Rc::ptr_eq(&lower, self) || Rc::ptr_eq(&upper, other) {
                return true;
            }
            below.extend(lower.awaited_core());
            below.extend(lower.members());
            above = upper.consuming_core();
        }
        false
    }

    /// Calls `f` with the group that is the core's source.
    pub(super) fn with_group<R>(&self, f: impl FnOnce(&(dyn Group + 'static)) -> R) -> Option<R> {
        self.callbacks
            .with_last(|source| source.group().map(f))
            .flatten()
    }

    /// Gives the core's result to its group. Returns the group's core if that decides the outcome.
    pub(super) fn give_to_group(self: &Rc<Self>, last: &dyn Slot) -> Option<Rc<Self>> {
        self.consumer.set(Consumer::Holder);
        let outer = self.then.take()?;
        if debug::is_on() {
            tracker::moved(self, &outer);
        }
        let index = self.number.get() as usize;
        if outer.with_group(|group| group.accept(index, last))? {
            outer.stage.set(Stage::Decided);
            return Some(outer);
        }
        None
    }

    /// Releases the remaining members of the decided group (invariant 7).
    pub(super) fn release_rest(self: Rc<Self>, later: &mut Vec<LaterStep>) -> Option<Rc<Self>> {
        let (location, rest) = (self.location, self.with_group(Group::rest));
        later.push(LaterStep::Settle(self));
        let rest = rest?;
        for member in &rest.members {
            member.leave_group(rest.cancels);
        }
        if rest.cancels {
            let members = rest.members.into_iter().rev();
            later.push(LaterStep::Grant(GrantHold::new()));
            later.extend(members.map(|member| LaterStep::CancelReleased(member, location)));
        }
        report::discard(rest.results, location);
        None
    }

    /// Removes the core from its group, which does not need its result any more.
    fn leave_group(&self, is_cancelled_next: bool) {
        self.consumer.set(match is_cancelled_next {
            true => Consumer::Released,
            false => Consumer::Dropped { gave_up: false },
        });
        self.then.take();
    }
}
