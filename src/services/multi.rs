//! Several services as one.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::Service;
use crate::defer::{Deferred, Resolver, maybe_deferred_at};
use crate::failure::Failure;
use crate::report;

/// Services that start in the order in which they were added, and stop in the reverse order, each when the one after it
/// has stopped. Clones are handles to the same one.
///
/// They may be such services themselves, to any depth: no stack is used for it. See [`Service::as_multi`].
///
/// # Examples
///
/// ```
/// use torsade::services::{MultiService, Service, TimerService};
/// use std::time::Duration;
///
/// torsade::testing::run(async |reactor| {
///     let all = MultiService::new();
///     all.add_named("beat", TimerService::new(&reactor, Duration::from_secs(1), || {}))?;
///     all.start()?;
///     assert!(all.get("beat").is_some_and(|beat| beat.is_running()));
///     all.stop().await
/// });
/// ```
#[doc(alias("IServiceCollection", "addService", "getServiceNamed"))]
#[derive(Clone, Default)]
pub struct MultiService(Rc<Inner>);

#[derive(Default)]
struct Inner {
    members: RefCell<Vec<Member>>,
    state: Cell<State>,
    /// Who waits for it to stop.
    stopping: RefCell<Vec<Resolver<()>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Stopped,
    Running,
    /// Some of its members still run.
    Stopping,
    /// As soon as it has stopped it is to start.
    Restarting,
}

#[derive(Clone)]
struct Member {
    name: Option<Rc<str>>,
    service: Rc<dyn Service>,
    /// Where it was added.
    location: &'static Location<'static>,
}

impl MultiService {
    /// One without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service. If this one runs, so does it from now on.
    ///
    /// # Errors
    ///
    /// Why it did not start; then it is not added.
    #[track_caller]
    pub fn add(&self, service: impl Service + 'static) -> Result<(), Failure> {
        self.insert(None, Rc::new(service))
    }

    /// The same, with a name to find it by.
    ///
    /// # Errors
    ///
    /// [`NameTaken`]; or why it did not start. Then it is not added.
    #[track_caller]
    pub fn add_named(&self, name: &str, service: impl Service + 'static) -> Result<(), Failure> {
        if self.get(name).is_some() {
            return Err(NameTaken(name.into()).into());
        }
        self.insert(Some(name.into()), Rc::new(service))
    }

    /// The service of this name.
    #[doc(alias = "getServiceNamed")]
    pub fn get(&self, name: &str) -> Option<Rc<dyn Service>> {
        let members = self.0.members.borrow();
        let found = members
            .iter()
            .find(|member| member.name.as_deref() == Some(name));
        found.map(|member| member.service.clone())
    }

    /// Takes out the service of this name, and stops it. The Deferred fires when it has stopped; at once when there is
    /// none.
    #[doc(alias("removeService", "disownServiceParent"))]
    pub fn remove(&self, name: &str) -> Deferred<()> {
        let mut members = self.0.members.borrow_mut();
        let at = members
            .iter()
            .position(|member| member.name.as_deref() == Some(name));
        let member = at.map(|at| members.remove(at));
        drop(members);
        match member {
            Some(member) if member.service.is_running() => member.service.stop(),
            _ => Deferred::succeed(()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.members.borrow().len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[track_caller]
    fn insert(&self, name: Option<Rc<str>>, service: Rc<dyn Service>) -> Result<(), Failure> {
        let location = Location::caller();
        let member = Member {
            name,
            service,
            location,
        };
        if self.is_running() {
            start(&member)?;
            if !self.is_running() {
                // It has stopped us meanwhile, and is none of those that were stopped.
                stop_one(&member);
            }
        }
        self.0.members.borrow_mut().push(member);
        Ok(())
    }
}

impl Service for MultiService {
    /// Starts all, in order. If one cannot start, those before it are stopped again. While it is still stopping, it starts
    /// when it has stopped; if that fails, it is reported.
    fn start(&self) -> Result<(), Failure> {
        match self.0.state.get() {
            State::Running | State::Restarting => Ok(()),
            State::Stopping => {
                self.0.state.set(State::Restarting);
                Ok(())
            }
            State::Stopped => begin(self.0.clone()),
        }
    }

    fn stop(&self) -> Deferred<()> {
        let mut told = Vec::new();
        let stopped = self.tell_to_stop(&mut told);
        end_all(told);
        stopped
    }

    fn is_running(&self) -> bool {
        matches!(self.0.state.get(), State::Running | State::Restarting)
    }

    fn as_multi(&self) -> Option<&MultiService> {
        Some(self)
    }
}

/// One that was told to stop, and what fires when it has stopped.
type Told = (Rc<Inner>, Resolver<()>);

impl MultiService {
    /// Has it stop. Whoever calls this passes what is in `told` to [`end_all`]: that does the work.
    fn tell_to_stop(&self, told: &mut Vec<Told>) -> Deferred<()> {
        let inner = &self.0;
        let before = inner.state.get();
        if before == State::Stopped {
            return Deferred::succeed(());
        }
        inner.state.set(State::Stopping);
        let (deferred, resolver) = Deferred::pair();
        match before {
            State::Running => told.push((inner.clone(), resolver)),
            _ => inner.stopping.borrow_mut().push(resolver),
        }
        deferred
    }
}

/// Stops the members of each, and of those that they consist of.
fn end_all(mut told: Vec<Told>) {
    while let Some((inner, resolver)) = told.pop() {
        let members = inner.members.borrow().clone();
        end(inner, members, &mut told).chain_deferred(resolver);
    }
}

/// Stops these members of it, and tells those who wait for it.
fn end(inner: Rc<Inner>, members: Vec<Member>, told: &mut Vec<Told>) -> Deferred<()> {
    stop_all(members, told).add_both(move |_| {
        let again = inner.state.replace(State::Stopped) == State::Restarting;
        let waiting = inner.stopping.take();
        if again {
            let begun = begin(inner);
            tell_nobody(begun);
        }
        for resolver in waiting {
            resolver.callback(());
        }
        Ok(())
    })
}

/// One whose members are being started.
struct Opening {
    inner: Rc<Inner>,
    members: Vec<Member>,
    /// How many were told to.
    begun: usize,
}

impl Opening {
    fn new(inner: Rc<Inner>) -> Self {
        inner.state.set(State::Running);
        let members = inner.members.borrow().clone();
        Self {
            inner,
            members,
            begun: 0,
        }
    }

    /// What came of the last member that was told to start: the result of the whole, if that is known now.
    fn note(&self, started: Result<(), Failure>) -> Option<Result<(), Failure>> {
        let last = self.begun.checked_sub(1)?;
        match (self.inner.state.get(), started) {
            (State::Running, Ok(())) => None,
            (State::Running, Err(failure)) => {
                self.inner.state.set(State::Stopping);
                let before = self.members[..last].to_vec();
                let mut told = Vec::new();
                drop(end(self.inner.clone(), before, &mut told));
                end_all(told);
                Some(Err(failure))
            }
            // It has stopped us meanwhile, and all the others with us.
            (_, Err(failure)) => Some(Err(failure)),
            (_, Ok(())) => {
                stop_one(&self.members[last]);
                Some(Ok(()))
            }
        }
    }
}

/// Starts it, and those that it consists of, with a list in place of the stack.
fn begin(inner: Rc<Inner>) -> Result<(), Failure> {
    let mut opening = vec![Opening::new(inner)];
    let mut result = Ok(());
    while let Some(top) = opening.last_mut() {
        let known = top.note(std::mem::replace(&mut result, Ok(())));
        let next = top.members.get(top.begun);
        let (Some(member), None) = (next, &known) else {
            result = known.unwrap_or(Ok(()));
            opening.pop();
            continue;
        };
        top.begun += 1;
        match member.service.as_multi() {
            Some(multi) if multi.0.state.get() == State::Stopped => {
                let inner = multi.0.clone();
                opening.push(Opening::new(inner));
            }
            _ => result = start(member),
        }
    }
    result
}

/// Starts one; a panic is why it did not start.
fn start(member: &Member) -> Result<(), Failure> {
    report::catch_rarely(member.location, || member.service.start()).and_then(|started| started)
}

/// Stops one that nobody waits for.
fn stop_one(member: &Member) {
    let mut told = Vec::new();
    drop(stop_all(vec![member.clone()], &mut told));
    end_all(told);
}

/// Stops the last one, then the one before it, and so on. Never fails. What it tells to stop is for [`end_all`].
fn stop_all(mut members: Vec<Member>, told: &mut Vec<Told>) -> Deferred<()> {
    let Some(last) = members.pop() else {
        return Deferred::succeed(());
    };
    let multi = last.service.as_multi();
    // A panic that no reactor contains goes on when all have been told to stop.
    report::enter();
    let stopping = match multi {
        Some(multi) => multi.tell_to_stop(told),
        None => maybe_deferred_at(last.location, || last.service.stop()),
    };
    let stopping = stopping.add_both(tell_nobody).add_callback(move |()| {
        let mut told = Vec::new();
        let stopping = stop_all(members, &mut told);
        end_all(told);
        stopping
    });
    report::leave();
    stopping
}

/// Services go one after the other, not one inside the other.
impl Drop for Inner {
    fn drop(&mut self) {
        let mut members = std::mem::take(self.members.get_mut());
        while let Some(Member {
            service, location, ..
        }) = members.pop()
        {
            let multi = service.as_multi().cloned();
            report::discard(service, location);
            if let Some(mut multi) = multi {
                if let Some(last) = Rc::get_mut(&mut multi.0) {
                    members.append(last.members.get_mut());
                }
            }
        }
    }
}

/// What nobody could do anything about is reported.
fn tell_nobody(result: Result<(), Failure>) {
    if let Err(failure) = result {
        drop(Deferred::<()>::fail(failure));
    }
}

/// There is a service of this name already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken(pub String);

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is a service called {:?} already", self.0)
    }
}

impl Error for NameTaken {}

impl fmt::Debug for MultiService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiService")
            .field("members", &self.len())
            .field("is_running", &self.is_running())
            .finish()
    }
}
