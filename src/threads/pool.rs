//! The pool itself: a queue, the threads that empty it, and one lock around both.
//!
//! The invariants are the room's.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::settings::ThreadPoolBuilder;
use super::{PoolRefused, PoolStatistics};
use crate::report;
use crate::sync::{self, Condvar, Mutex, MutexGuard, Parker, Shared, Unparker, thread};

/// Where work was given.
pub(crate) type Place = &'static Location<'static>;

/// What is to be done; whether that ended without a panic.
pub(crate) type Work = Box<dyn FnOnce() -> bool + Send>;

/// Work that was queued.
pub(crate) struct Ticket {
    number: u64,
    place: Place,
    work: Work,
}

/// What handles and threads share.
pub(crate) struct Pool {
    name: String,
    queue_limit: Option<usize>,
    idle_after: Duration,
    state: Mutex<State>,
    /// Rung when a thread of a closed pool has ended.
    ended: Condvar,
}

struct State {
    /// In the order of their numbers.
    queue: VecDeque<Ticket>,
    next: u64,
    min: usize,
    max: usize,
    /// Threads that live or are being started.
    threads: usize,
    /// Those of them that have not come to their first look; the system may refuse them.
    starting: usize,
    /// Who waits for work. The last one waits for the shortest time and is called first.
    idle: Vec<(u64, Unparker)>,
    running: Vec<(u64, Place)>,
    is_closed: bool,
    finished: u64,
    panicked: u64,
    /// How many threads were ever started.
    started: u64,
}

/// What is to be done for new work, when the lock is free again.
enum Need {
    Nobody,
    Idle(Unparker),
    Thread(u64),
}

impl Pool {
    pub(super) fn new(settings: ThreadPoolBuilder) -> Self {
        Self {
            name: settings.name,
            queue_limit: settings.queue_limit,
            idle_after: settings.idle_after,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                next: 0,
                min: settings.min,
                max: settings.max,
                threads: 0,
                starting: 0,
                idle: Vec::new(),
                running: Vec::new(),
                is_closed: false,
                finished: 0,
                panicked: 0,
                started: 0,
            }),
            ended: Condvar::new(),
        }
    }

    /// Queues work, and sees to it that somebody does it. Gives its number, or the work back.
    pub(super) fn submit(
        this: &Shared<Self>,
        place: Place,
        work: Work,
    ) -> Result<u64, (PoolRefused, Work)> {
        let mut state = this.lock();
        if state.is_closed {
            return Err((PoolRefused::Closed, work));
        }
        // What there are threads for does not wait, although it may stand in the queue for a moment.
        let free = state.max - state.max.min(state.running.len());
        if let Some(limit) = this.queue_limit {
            if state.queue.len() >= limit.saturating_add(free) {
                return Err((PoolRefused::Full(limit), work));
            }
        }
        let number = state.next;
        state.next += 1;
        state.queue.push_back(Ticket {
            number,
            place,
            work,
        });
        let need = state.need();
        drop(state);
        match need {
            Need::Nobody => {}
            Need::Idle(unparker) => {
                unparker.unpark();
            }
            Need::Thread(id) => {
                if let Some(ticket) = Self::start(this, id, number) {
                    return Err((PoolRefused::NoThread, ticket.work));
                }
            }
        }
        Ok(number)
    }

    /// Takes work out of the queue.
    pub(super) fn take_back(&self, number: u64) -> Option<Ticket> {
        let mut state = self.lock();
        let found = state
            .queue
            .binary_search_by_key(&number, |ticket| ticket.number);
        state.queue.remove(found.ok()?)
    }

    pub(super) fn is_queued(&self, number: u64) -> bool {
        let state = self.lock();
        let found = state
            .queue
            .binary_search_by_key(&number, |ticket| ticket.number);
        found.is_ok()
    }

    pub(super) fn adjust(this: &Shared<Self>, min: usize, max: usize) {
        let mut state = this.lock();
        (state.min, state.max) = (min, max);
        let idle = match state.threads > max {
            // They look again, and those too many end.
            true => std::mem::take(&mut state.idle),
            false => Vec::new(),
        };
        let more = state.queue.len().min(max - max.min(state.threads));
        let ids: Vec<u64> = (0..more).map(|_| state.new_thread()).collect();
        drop(state);
        for (_, unparker) in idle {
            unparker.unpark();
        }
        for id in ids {
            // No work is given up: there are other threads, or none was waiting.
            drop(Self::start(this, id, u64::MAX));
        }
    }

    pub(super) fn statistics(&self) -> PoolStatistics {
        let state = self.lock();
        PoolStatistics {
            threads: state.threads,
            idle: state.idle.len(),
            running: state.running.len(),
            queued: state.queue.len(),
            finished: state.finished,
            panicked: state.panicked,
            max: state.max,
        }
    }

    /// Takes no more work. The threads end when the queue is empty.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for (_, unparker) in idle {
            unparker.unpark();
        }
    }

    /// Closes it and waits for its threads. Gives what was not begun, and the places of what still runs.
    pub(super) fn stop(&self, patience: Duration) -> (VecDeque<Ticket>, Vec<Place>) {
        self.close();
        let start = Instant::now();
        let mut state = self.lock();
        while state.threads > 0 {
            let Some(left) = patience.checked_sub(start.elapsed()) else {
                break;
            };
            if left.is_zero() {
                break;
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let dropped = std::mem::take(&mut state.queue);
        let running = state.running.iter().map(|(_, place)| *place).collect();
        (dropped, running)
    }

    /// Starts a thread. Where the system gives none and there is no other, the work is given back.
    fn start(this: &Shared<Self>, id: u64, number: u64) -> Option<Ticket> {
        let pool = this.clone();
        let thread = thread::Builder::new().name(format!("{}-{}", this.name, id + 1));
        let started = thread.spawn(move || pool.work(id));
        let Err(error) = started else {
            return None;
        };
        tracing::warn!(target: "torsade::threads", %error, pool = this.name, "no thread");
        let mut state = this.lock();
        state.threads -= 1;
        state.starting -= 1;
        if state.is_closed {
            // Who waits for the end of all threads need not wait for this one.
            this.ended.notify_all();
        }
        if state.threads > state.starting {
            // They empty the queue, this work with it. Who is only being started may be refused as well.
            return None;
        }
        let found = state
            .queue
            .binary_search_by_key(&number, |ticket| ticket.number);
        state.queue.remove(found.ok()?)
    }

    /// What a thread does all its life.
    fn work(&self, id: u64) {
        let (parker, unparker) = sync::pair();
        let mut state = self.lock();
        state.starting -= 1;
        loop {
            if state.threads > state.max {
                break;
            }
            let ticket = state.queue.pop_front();
            if let Some(ticket) = ticket {
                state.running.push((id, ticket.place));
                drop(state);
                let ended_well = ticket.run();
                state = self.lock();
                state.running.retain(|(other, _)| *other != id);
                state.finished += 1;
                state.panicked += u64::from(!ended_well);
                continue;
            }
            if state.is_closed {
                break;
            }
            state.idle.push((id, unparker.clone()));
            drop(state);
            let is_over = self.wait(&parker);
            state = self.lock();
            let place = state.idle.iter().position(|(other, _)| *other == id);
            // Whoever is no longer among the idle was called, and looks (invariant 3).
            let Some(place) = place else { continue };
            state.idle.remove(place);
            if is_over && state.queue.is_empty() && state.threads > state.min {
                break;
            }
        }
        state.threads -= 1;
        let is_closed = state.is_closed;
        // One that is too many leaves work to the others, of whom there are enough.
        drop(state);
        if is_closed {
            self.ended.notify_all();
        }
    }

    /// Waits to be called; is the time for it over?
    fn wait(&self, parker: &Parker) -> bool {
        !parker.park_timeout(self.idle_after)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who is to do what was just queued (invariant 2).
    fn need(&mut self) -> Need {
        if let Some((_, unparker)) = self.idle.pop() {
            return Need::Idle(unparker);
        }
        match self.threads < self.max {
            true => Need::Thread(self.new_thread()),
            false => Need::Nobody,
        }
    }

    fn new_thread(&mut self) -> u64 {
        self.threads += 1;
        self.starting += 1;
        self.started += 1;
        self.started - 1
    }
}

impl Ticket {
    /// Does the work; nothing unwinds out of it.
    fn run(self) -> bool {
        let work = self.work;
        catch_unwind(AssertUnwindSafe(work)).unwrap_or(false)
    }

    /// Drops the work, and says where it was given.
    pub(crate) fn call_off(self) -> Place {
        report::discard(self.work, self.place);
        self.place
    }
}
