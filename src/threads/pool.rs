//! The pool itself: the threads that empty a queue, and who of them does what.
//!
//! The invariants are the room's.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::queue::{Desk, Job, Queue, Ticket, Work};
use super::settings::ThreadPoolBuilder;
use super::{Place, PoolRefused, PoolStatistics};
use crate::sync::{
    self, AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, Parker, Shared, Unparker,
    thread,
};

/// What handles and threads share.
pub(crate) struct Pool {
    name: String,
    queue_limit: Option<usize>,
    idle_after: Duration,
    queue: Queue,
    /// How much work was given and has not ended, in line or on a desk.
    given: AtomicUsize,
    /// There may be more threads than there may be: who is between two pieces of work looks whether it is one too many.
    is_crowded: AtomicBool,
    state: Mutex<State>,
    /// Rung when a thread of a closed pool has ended.
    ended: Condvar,
}

struct State {
    min: usize,
    max: usize,
    /// The desk of each thread that lives or is being started.
    desks: Vec<Shared<Desk>>,
    /// How many of them have not come to their first look; the system may refuse them.
    starting: usize,
    /// Who waits for work. The last one waits for the shortest time and is called first.
    idle: Vec<(u64, Unparker)>,
    /// What those did who have ended.
    finished: u64,
    panicked: u64,
    /// How many threads were ever started.
    started: u64,
}

/// What is to be done for new work, when the lock is free again.
enum Need {
    Nobody,
    Idle(Unparker),
    Thread(Recruit),
}

/// A thread that is to be started.
struct Recruit {
    id: u64,
    desk: Shared<Desk>,
}

impl Pool {
    pub(super) fn new(settings: ThreadPoolBuilder) -> Self {
        Self {
            name: settings.name,
            queue_limit: settings.queue_limit,
            idle_after: settings.idle_after,
            queue: Queue::new(),
            given: AtomicUsize::new(0),
            is_crowded: AtomicBool::new(false),
            state: Mutex::new(State {
                min: settings.min,
                max: settings.max,
                desks: Vec::new(),
                starting: 0,
                idle: Vec::new(),
                finished: 0,
                panicked: 0,
                started: 0,
            }),
            ended: Condvar::new(),
        }
    }

    /// Queues work, and sees to it that somebody does it. Gives the work back where it is refused.
    pub(super) fn submit(
        this: &Shared<Self>,
        place: Place,
        work: Work,
    ) -> Result<Ticket, (PoolRefused, Work)> {
        let mut state = this.lock();
        if let Some(limit) = this.queue_limit {
            // What there are threads for does not wait, although it may stand in line for a moment.
            let room = limit.saturating_add(state.max.max(state.desks.len()));
            if this.given.load(Ordering::SeqCst) >= room {
                let why = match this.queue.is_closed() {
                    true => PoolRefused::Closed,
                    false => PoolRefused::Full(limit),
                };
                return Err((why, work));
            }
        }
        this.given.fetch_add(1, Ordering::SeqCst);
        let ticket = match this.queue.push(place, work) {
            Ok(ticket) => ticket,
            Err(work) => {
                this.given.fetch_sub(1, Ordering::SeqCst);
                return Err((PoolRefused::Closed, work));
            }
        };
        let need = state.need();
        drop(state);
        match need {
            Need::Nobody => {}
            Need::Idle(unparker) => {
                unparker.unpark();
            }
            Need::Thread(recruit) => {
                if Self::start(this, recruit) == Started::NobodyIsThere {
                    if let Some(job) = this.take_back(&ticket) {
                        return Err((PoolRefused::NoThread, job.into_work()));
                    }
                }
            }
        }
        Ok(ticket)
    }

    /// Takes work out of the queue, if nobody has begun it.
    pub(super) fn take_back(&self, ticket: &Ticket) -> Option<Job> {
        let job = self.queue.call_off(ticket)?;
        self.given.fetch_sub(1, Ordering::SeqCst);
        Some(job)
    }

    pub(super) fn adjust(this: &Shared<Self>, min: usize, max: usize) {
        let mut state = this.lock();
        (state.min, state.max) = (min, max);
        let idle = match state.desks.len() > max {
            // They look again, and those too many end.
            true => {
                this.is_crowded.store(true, Ordering::SeqCst);
                std::mem::take(&mut state.idle)
            }
            false => Vec::new(),
        };
        let waits = this.statistics_in(&state).queued;
        let more = waits.min(max - max.min(state.desks.len()));
        let recruits: Vec<_> = (0..more).map(|_| state.recruit()).collect();
        drop(state);
        for (_, unparker) in idle {
            unparker.unpark();
        }
        for recruit in recruits {
            // Work that was taken has threads already, or was refused.
            Self::start(this, recruit);
        }
    }

    pub(super) fn statistics(&self) -> PoolStatistics {
        self.statistics_in(&self.lock())
    }

    fn statistics_in(&self, state: &State) -> PoolStatistics {
        let mut all = PoolStatistics {
            threads: state.desks.len(),
            idle: state.idle.len(),
            running: 0,
            queued: 0,
            finished: state.finished,
            panicked: state.panicked,
            max: state.max,
        };
        for desk in &state.desks {
            let papers = desk.look();
            all.running += usize::from(papers.running.is_some());
            all.finished += papers.finished;
            all.panicked += papers.panicked;
        }
        let given = self.given.load(Ordering::SeqCst);
        all.queued = given.saturating_sub(all.running);
        all
    }

    /// Takes no more work. The threads end when the queue is empty.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        self.queue.close();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for (_, unparker) in idle {
            unparker.unpark();
        }
    }

    /// Closes it and waits for its threads. Gives what was not begun, and the places of what still runs.
    pub(super) fn stop(&self, patience: Duration) -> (Vec<Job>, Vec<Place>) {
        self.close();
        let start = Instant::now();
        let mut state = self.lock();
        while !state.desks.is_empty() {
            let Some(left) = patience.checked_sub(start.elapsed()) else {
                break;
            };
            if left.is_zero() {
                break;
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let dropped = self.queue.drain();
        self.given.fetch_sub(dropped.len(), Ordering::SeqCst);
        let running = state.desks.iter().filter_map(|desk| desk.look().running);
        (dropped, running.collect())
    }

    /// Starts a thread.
    fn start(this: &Shared<Self>, recruit: Recruit) -> Started {
        let pool = this.clone();
        let thread = thread::Builder::new().name(format!("{}-{}", this.name, recruit.id + 1));
        let desk = recruit.desk.clone();
        let started = thread.spawn(move || pool.work(&recruit));
        let Err(error) = started else {
            return Started::Somebody;
        };
        tracing::warn!(target: "torsade::threads", %error, pool = this.name, "no thread");
        let mut state = this.lock();
        state.starting -= 1;
        this.dismiss(&mut state, &desk);
        // Who lives empties the queue. Who is only being started may be refused as well.
        match state.desks.len() > state.starting {
            true => Started::Somebody,
            false => Started::NobodyIsThere,
        }
    }

    /// What a thread does all its life.
    fn work(&self, me: &Recruit) {
        let (parker, unparker) = sync::pair();
        self.lock().starting -= 1;
        loop {
            if self.is_crowded.load(Ordering::SeqCst) {
                let mut state = self.lock();
                if state.desks.len() > state.max {
                    // It leaves work to the others, of whom there are enough.
                    return self.dismiss(&mut state, &me.desk);
                }
                self.is_crowded.store(false, Ordering::SeqCst);
            }
            if let Some(job) = self.queue.take(&me.desk) {
                let ended_well = job.run();
                self.given.fetch_sub(1, Ordering::SeqCst);
                me.desk.finish(ended_well);
                continue;
            }
            let mut state = self.lock();
            // New work is put in line before the lock is taken to look who is idle: it is seen here, or sees this one.
            if !self.queue.is_empty() || state.desks.len() > state.max {
                continue;
            }
            if self.queue.is_closed() {
                return self.dismiss(&mut state, &me.desk);
            }
            state.idle.push((me.id, unparker.clone()));
            drop(state);
            let is_over = self.wait(&parker);
            let mut state = self.lock();
            let place = state.idle.iter().position(|(other, _)| *other == me.id);
            // Whoever is no longer among the idle was called, and looks (invariant 3).
            let Some(place) = place else { continue };
            state.idle.remove(place);
            if is_over && state.desks.len() > state.min && self.queue.is_empty() {
                return self.dismiss(&mut state, &me.desk);
            }
        }
    }

    /// Waits to be called; is the time for it over?
    fn wait(&self, parker: &Parker) -> bool {
        !parker.park_timeout(self.idle_after)
    }

    /// A thread is no more, or never was.
    fn dismiss(&self, state: &mut State, desk: &Shared<Desk>) {
        state.desks.retain(|other| !Shared::ptr_eq(other, desk));
        let papers = desk.look();
        state.finished += papers.finished;
        state.panicked += papers.panicked;
        if self.queue.is_closed() {
            self.ended.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is a thread after one was to be started.
#[derive(PartialEq, Eq)]
enum Started {
    Somebody,
    NobodyIsThere,
}

impl State {
    /// Who is to do what was just queued (invariant 2).
    fn need(&mut self) -> Need {
        if let Some((_, unparker)) = self.idle.pop() {
            return Need::Idle(unparker);
        }
        match self.desks.len() < self.max {
            true => Need::Thread(self.recruit()),
            false => Need::Nobody,
        }
    }

    fn recruit(&mut self) -> Recruit {
        let desk = Shared::new(Desk::default());
        self.desks.push(desk.clone());
        self.starting += 1;
        self.started += 1;
        Recruit {
            id: self.started - 1,
            desk,
        }
    }
}
