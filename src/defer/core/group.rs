//! A core whose source is a group of other cores, its members.
//!
//! # The idea
//!
//! A member knows the core of its group and which of the members it is. When its line is at its end, its result goes
//! straight into the group, which lies in the line of its own core as the source: no step, no callback, and no
//! memory for each member but a seat in the group. What is made of the results, the group itself knows (see `list`).
//!
//! # Who owns what
//!
//! The members own the core of their group, the group knows its members weakly (invariant 2 of `core`).

use std::any::Any;
use std::rc::Rc;

use super::slot::Slot;
use super::{Consumer, Core, Job, Stage, advance, tracker};
use crate::debug;
use crate::report;

/// A source that takes its value from several other cores, its members. Nobody else's code runs in its methods.
pub(in crate::defer) trait Group {
    /// Takes the result of a member. `true` if the outcome is decided, and in its [`Place`].
    fn accept(&self, index: usize, last: &dyn Slot) -> bool;

    /// Somebody has asked it to stop: gives the members that have not given their results.
    fn ask_to_stop(&self) -> Vec<Rc<Core>>;

    /// Gives the members that have not given their results.
    fn members(&self) -> Vec<Rc<Core>>;

    /// Gives away everything but the outcome, which is decided.
    fn rest(&self) -> Rest;
}

/// What a group has left over when its outcome is decided.
pub(in crate::defer) struct Rest {
    /// Those that have not given their results.
    pub(in crate::defer) members: Vec<Rc<Core>>,
    /// Are they to be cancelled?
    pub(in crate::defer) cancels: bool,
    /// Results that are of no use.
    pub(in crate::defer) results: Box<dyn Any>,
}

impl Core {
    /// Makes `group` the source of a new core, and gives it its members.
    pub(in crate::defer) fn gather(self: &Rc<Self>, group: impl Slot) {
        self.line.put_source(group);
        self.stage.set(Stage::Gathering);
    }

    /// Makes it the member of a group. Nobody awaits it.
    pub(in crate::defer) fn join(&self, group: &Rc<Self>, index: usize) {
        self.number.set(index as u64);
        self.then.set(Some(group.clone()));
        self.consumer.set(Consumer::Member);
    }

    /// It may have been fired, or offered its result, before it became a member: then that goes to the group.
    pub(in crate::defer) fn give_what_it_has(self: Rc<Self>) {
        if self.is_offered() && self.is_member() {
            self.ask();
        } else if self.is_settled() {
            advance(self);
        }
    }

    /// Does a group wait for it?
    pub(super) fn is_member(&self) -> bool {
        self.consumer.get() == Consumer::Member
    }

    /// The members of the group that is its source.
    pub(in crate::defer) fn members(&self) -> Vec<Rc<Self>> {
        match self.stage.get() {
            Stage::Gathering => self.with_group(Group::members).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// The same, from where the way down has come to a group.
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

    /// Does something with the group that is its source.
    pub(super) fn with_group<R>(&self, f: impl FnOnce(&(dyn Group + 'static)) -> R) -> Option<R> {
        self.line
            .with_last(|source| source.group().map(f))
            .flatten()
    }

    /// Gives its result to the group that it is a member of. Gives that group's core, if it is decided so.
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

    /// Its group is decided: lets go of the members that are left (invariant 7).
    pub(super) fn let_rest_go(self: Rc<Self>, later: &mut Vec<Job>) -> Option<Rc<Self>> {
        let (location, rest) = (self.location, self.with_group(Group::rest));
        later.push(Job::Settle(self));
        let rest = rest?;
        for member in &rest.members {
            member.leave_group(rest.cancels);
        }
        if rest.cancels {
            let members = rest.members.into_iter().rev();
            later.extend(members.map(|member| Job::Cancel(member, location)));
        }
        report::discard(rest.results, location);
        None
    }

    /// Its result is of no use any more to the group that it is a member of.
    fn leave_group(&self, gave_up: bool) {
        self.consumer.set(Consumer::Nobody { gave_up });
        self.then.take();
    }
}
