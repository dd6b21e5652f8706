//! Several services as one.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use super::Service;
use crate::defer::Deferred;
use crate::failure::Failure;

/// Services that start in the order in which they were added, and stop in the reverse order, each when the one after it
/// has stopped. Clones are handles to the same one.
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
    running: Cell<bool>,
}

#[derive(Clone)]
struct Member {
    name: Option<Rc<str>>,
    service: Rc<dyn Service>,
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
    pub fn add(&self, service: impl Service + 'static) -> Result<(), Failure> {
        self.insert(None, Rc::new(service))
    }

    /// The same, with a name to find it by.
    ///
    /// # Errors
    ///
    /// [`NameTaken`]; or why it did not start. Then it is not added.
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

    fn insert(&self, name: Option<Rc<str>>, service: Rc<dyn Service>) -> Result<(), Failure> {
        if self.is_running() {
            service.start()?;
        }
        self.0.members.borrow_mut().push(Member { name, service });
        Ok(())
    }
}

impl Service for MultiService {
    /// Starts all, in order. If one cannot start, those before it are stopped again.
    fn start(&self) -> Result<(), Failure> {
        if self.0.running.replace(true) {
            return Ok(());
        }
        let members = self.0.members.borrow().clone();
        for (index, member) in members.iter().enumerate() {
            if let Err(failure) = member.service.start() {
                self.0.running.set(false);
                drop(stop_all(members[..index].to_vec()));
                return Err(failure);
            }
        }
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        if !self.0.running.replace(false) {
            return Deferred::succeed(());
        }
        let members = self.0.members.borrow().clone();
        stop_all(members)
    }

    fn is_running(&self) -> bool {
        self.0.running.get()
    }
}

/// Stops the last one, then the one before it, and so on.
fn stop_all(mut members: Vec<Member>) -> Deferred<()> {
    let Some(last) = members.pop() else {
        return Deferred::succeed(());
    };
    last.service
        .stop()
        .add_both(move |result| {
            // The rest stops all the same; nobody could do anything about it but be told.
            if let Err(failure) = result {
                drop(Deferred::<()>::fail(failure));
            }
        })
        .add_callback(move |()| stop_all(members))
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
