//! Counts of the events that the programs reached: programs in which nothing happens would test
//! nothing.

macro_rules! ways {
    ($($way:ident)*) => {
        /// An event that may happen in a program.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Way { $($way),* }

        const WAYS: &[Way] = &[$(Way::$way),*];
    };
}

ways! {
    Fired FiredTooLate Lost LostByLost LostUnwanted
    AddedToSettled AddedToPolled AddedByItself
    ReturnedSettled ReturnedPending ReturnedPaused ReturnedRunning ReturnedWaiting
    ReturnedItself ReturnedWhoWaits
    Chained
    PausedTwice PausedByItself HeldBack WaitsHeldBack
    PolledReady PolledTwice Woken GivenUp GivenUpQuietly Reported
    CancelPassedOn CancelTooLate CancelWhileCancelling
    CancellerFired CancellerLost CancellerPanicked CancellerFiredAndPanicked CancellerTooLate
    CancellerReplaced
    FutureRan FutureWaits FutureNeverRan FutureToldWhereItWaits FutureAskedWhenWoken
    FutureAskedByItself FutureAskedTooLate
    Absurd
}

/// How often each event happened.
pub(crate) struct Reached([u64; WAYS.len()]);

impl Reached {
    pub(crate) fn note(&mut self, way: Way) {
        self.0[way as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Returns the events that happened less often.
    pub(crate) fn below(&self, least: u64) -> Vec<(Way, u64)> {
        let counts = WAYS.iter().map(|way| (*way, self.0[*way as usize]));
        counts.filter(|(_, count)| *count < least).collect()
    }
}

impl Default for Reached {
    fn default() -> Self {
        Self([0; WAYS.len()])
    }
}
