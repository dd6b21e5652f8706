//! A service that consists of others: [`MultiService`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::{Service, ServiceError};
use crate::defer::{Deferred, Resolver, maybe_deferred_at};
use crate::failure::Failure;
use crate::report;

/// A service that consists of other services, its members.
///
/// The members start in the order in which they were added. If one does not start, those before it
/// are stopped again, and [`start`](Service::start) fails with its error. Members stop in reverse
/// order, each when the member added after it has stopped. Clones are handles to the same service.
///
/// Members may be `MultiService`s, nested to any depth without recursion: see
/// [`Service::as_multi`].
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
#[derive(Clone, Default)]
pub struct MultiService(Rc<Inner>);

#[derive(Default)]
struct Inner {
    members: RefCell<Vec<Member>>,
    state: Cell<State>,
    /// Resolvers to fire when the service has stopped.
    stopping: RefCell<Vec<Resolver<()>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Stopped,
    Running,
    /// Some members have not stopped yet.
    Stopping,
    /// The service is to start again once it has stopped.
    Restarting,
}

#[derive(Clone)]
struct Member {
    name: Option<Rc<str>>,
    service: Rc<dyn Service>,
    /// The call that added the member.
    location: &'static Location<'static>,
}

impl MultiService {
    /// Creates a service without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service. If the `MultiService` runs, the added service is started.
    ///
    /// # Errors
    ///
    /// Fails with the reason why the added service does not start. It is then not added.
    #[track_caller]
    pub fn add(&self, service: impl Service + 'static) -> Result<(), Failure> {
        self.insert(None, Rc::new(service))
    }

    /// Adds a service with a name, by which [`get`](Self::get) finds it.
    ///
    /// # Errors
    ///
    /// Fails with [`ServiceError::NameTaken`], or with the reason why the added service does not
    /// start. It is then not added.
    #[track_caller]
    pub fn add_named(&self, name: &str, service: impl Service + 'static) -> Result<(), Failure> {
        if self.get(name).is_some() {
            return Err(ServiceError::NameTaken { name: name.into() }.into());
        }
        self.insert(Some(name.into()), Rc::new(service))
    }

    /// Returns the member of this name.
    #[doc(alias = "getServiceNamed")]
    pub fn get(&self, name: &str) -> Option<Rc<dyn Service>> {
        let members = self.0.members.borrow();
        let found = members
            .iter()
            .find(|member| member.name.as_deref() == Some(name));
        found.map(|member| member.service.clone())
    }

    /// Removes the member of this name, and stops it. The Deferred fires when the member has
    /// stopped, or at once if there is no such member.
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

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.0.members.borrow().len()
    }

    /// Returns whether there are no members.
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
                // The new member stopped the `MultiService` while it started; it was not among
                // those that were stopped.
                stop_one(&member);
            }
        }
        self.0.members.borrow_mut().push(member);
        Ok(())
    }
}

impl Service for MultiService {
    /// Starts all members, in order. If one does not start, those before it are stopped again.
    /// While the service is still stopping, it starts once it has stopped; an error is then
    /// reported.
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
        let mut requests = Vec::new();
        let stopped = self.request_stop(&mut requests);
        end_all(requests);
        stopped
    }

    fn is_running(&self) -> bool {
        matches!(self.0.state.get(), State::Running | State::Restarting)
    }

    fn as_multi(&self) -> Option<&MultiService> {
        Some(self)
    }
}

/// A service that is being stopped, and the resolver to fire when it has stopped.
type StopRequest = (Rc<Inner>, Resolver<()>);

impl MultiService {
    /// Marks the service as stopping. The caller passes the list `requests` to [`end_all`], which
    /// stops the members.
    fn request_stop(&self, requests: &mut Vec<StopRequest>) -> Deferred<()> {
        let inner = &self.0;
        let before = inner.state.get();
        if before == State::Stopped {
            return Deferred::succeed(());
        }
        inner.state.set(State::Stopping);
        let (deferred, resolver) = Deferred::pair();
        match before {
            State::Running => requests.push((inner.clone(), resolver)),
            _ => inner.stopping.borrow_mut().push(resolver),
        }
        deferred
    }
}

/// Stops the members of each service, and those of their members.
fn end_all(mut requests: Vec<StopRequest>) {
    while let Some((inner, resolver)) = requests.pop() {
        let members = inner.members.borrow().clone();
        end(inner, members, &mut requests).chain_deferred(resolver);
    }
}

/// Stops these members, and fires the service's resolvers afterwards.
fn end(inner: Rc<Inner>, members: Vec<Member>, requests: &mut Vec<StopRequest>) -> Deferred<()> {
    stop_all(members, requests).add_both(move |_| {
        let again = inner.state.replace(State::Stopped) == State::Restarting;
        let waiting = inner.stopping.take();
        if again {
            let begun = begin(inner);
            report_error(begun);
        }
        for resolver in waiting {
            resolver.callback(());
        }
        Ok(())
    })
}

/// A service whose members are being started.
struct Starting {
    inner: Rc<Inner>,
    members: Vec<Member>,
    /// The number of members whose start was requested.
    begun: usize,
}

impl Starting {
    fn new(inner: Rc<Inner>) -> Self {
        inner.state.set(State::Running);
        let members = inner.members.borrow().clone();
        Self {
            inner,
            members,
            begun: 0,
        }
    }

    /// Records the result of the last member that was started; returns the result of the whole,
    /// once known.
    fn note(&self, started: Result<(), Failure>) -> Option<Result<(), Failure>> {
        let last = self.begun.checked_sub(1)?;
        match (self.inner.state.get(), started) {
            (State::Running, Ok(())) => None,
            (State::Running, Err(failure)) => {
                self.inner.state.set(State::Stopping);
                let before = self.members[..last].to_vec();
                let mut requests = Vec::new();
                drop(end(self.inner.clone(), before, &mut requests));
                end_all(requests);
                Some(Err(failure))
            }
            // The member stopped the service while it started, and all others with it.
            (_, Err(failure)) => Some(Err(failure)),
            (_, Ok(())) => {
                stop_one(&self.members[last]);
                Some(Ok(()))
            }
        }
    }
}

/// Starts the service and its nested members, with a list instead of recursion.
fn begin(inner: Rc<Inner>) -> Result<(), Failure> {
    let mut opening = vec![Starting::new(inner)];
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
                opening.push(Starting::new(inner));
            }
            _ => result = start(member),
        }
    }
    result
}

/// Starts a member; its panic is an error.
fn start(member: &Member) -> Result<(), Failure> {
    report::catch_rarely(member.location, || member.service.start()).and_then(|started| started)
}

/// Stops a member whose end nothing waits for.
fn stop_one(member: &Member) {
    let mut requests = Vec::new();
    drop(stop_all(vec![member.clone()], &mut requests));
    end_all(requests);
}

/// Stops the last member, then the one before it, and so on. Never fails. The caller passes the
/// list `requests` to [`end_all`].
fn stop_all(mut members: Vec<Member>, requests: &mut Vec<StopRequest>) -> Deferred<()> {
    let Some(last) = members.pop() else {
        return Deferred::succeed(());
    };
    let multi = last.service.as_multi();
    // A panic that no reactor contains continues once the stop of all members was requested.
    report::enter();
    let stopping = match multi {
        Some(multi) => multi.request_stop(requests),
        None => maybe_deferred_at(last.location, || last.service.stop()),
    };
    let stopping = stopping.add_both(report_error).add_callback(move |()| {
        let mut requests = Vec::new();
        let stopping = stop_all(members, &mut requests);
        end_all(requests);
        stopping
    });
    report::leave();
    stopping
}

/// Drops nested services one after the other, without recursion.
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

/// Reports an error that no caller receives.
fn report_error(result: Result<(), Failure>) {
    if let Err(failure) = result {
        drop(Deferred::<()>::fail(failure));
    }
}

impl fmt::Debug for MultiService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiService")
            .field("members", &self.len())
            .field("is_running", &self.is_running())
            .finish()
    }
}
