//! The life of a connection: a state machine without socket, buffer or callback.
//!
//! | event            | while                   | becomes                 | does          |
//! |------------------|-------------------------|-------------------------|---------------|
//! | `PeerDone`       | reading                 | reading over            | `ReportEof`     |
//! | `LoseWrite`      | writing                 | writing, then half-shut | `Flush`       |
//! | `Lose`           | writing, or until shut  | writing, then over      | `Flush`       |
//! | `Lose`           | half-shut               | over                    | `Close(Done)` |
//! | `Drained`        | writing, then half-shut | half-shut               | `ShutWrite`   |
//! | `Drained`        | writing, then over      | over                    | `Close(Done)` |
//! | `Broken`/`Abort` | not over                | over                    | `Close(..)`   |
//!
//! Other combinations change nothing and do nothing. When a connection has shut its writing side
//! and its peer has done the same, the handler gets the end of file; if the handler keeps the
//! connection none the less, the connection is still not over.

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    reading: Reading,
    writing: Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Open,
    /// Queued bytes are still written; then this follows.
    Flushing(Then),
    HalfShut,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    HalfShut,
    Over,
}

/// An event in the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The program aborts the connection.
    Abort,
    /// Reading or writing failed.
    Broken,
    /// The queue is empty.
    Drained,
    /// The program closes the connection once everything is written.
    Lose,
    /// The program closes the writing side.
    LoseWrite,
    /// The peer has sent the end of file.
    PeerDone,
}

/// The action that follows an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Close(EndCause),
    Flush,
    Nothing,
    ShutWrite,
    ReportEof,
}

/// The way in which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndCause {
    Aborted,
    Broken,
    Done,
}

impl Life {
    pub(crate) const NEW: Self = Self {
        reading: Reading::Open,
        writing: Writing::Open,
    };
    const OVER: Self = Self {
        reading: Reading::Over,
        writing: Writing::Over,
    };

    /// Applies an event; the only method that changes a connection's state.
    pub(crate) fn on(&mut self, event: Event) -> Action {
        use {Action as A, Event as E, Reading as R, Writing as W};
        let (next, action) = match (event, self.reading, self.writing) {
            (_, _, W::Over) => return A::Nothing,
            (E::Abort, ..) => (Self::OVER, A::Close(EndCause::Aborted)),
            (E::Broken, ..) => (Self::OVER, A::Close(EndCause::Broken)),
            (E::PeerDone, R::Open, writing) => (
                Self {
                    reading: R::Over,
                    writing,
                },
                A::ReportEof,
            ),
            (E::LoseWrite, reading, W::Open) => (
                Self {
                    reading,
                    writing: W::Flushing(Then::HalfShut),
                },
                A::Flush,
            ),
            (E::Lose, reading, W::Open | W::Flushing(Then::HalfShut)) => (
                Self {
                    reading,
                    writing: W::Flushing(Then::Over),
                },
                A::Flush,
            ),
            (E::Lose, _, W::HalfShut) => (Self::OVER, A::Close(EndCause::Done)),
            (E::Drained, reading, W::Flushing(Then::HalfShut)) => (
                Self {
                    reading,
                    writing: W::HalfShut,
                },
                A::ShutWrite,
            ),
            (E::Drained, _, W::Flushing(Then::Over)) => (Self::OVER, A::Close(EndCause::Done)),
            _ => return A::Nothing,
        };
        *self = next;
        self.check();
        action
    }

    /// Returns the same state for a new handler, which has not yet got the peer's end of file.
    pub(crate) fn for_new_handler(self) -> Self {
        match self.writing {
            Writing::Over => self,
            writing => Self {
                reading: Reading::Open,
                writing,
            },
        }
    }

    /// Returns whether received bytes may still be delivered.
    pub(crate) fn is_reading(self) -> bool {
        self.reading == Reading::Open && !matches!(self.writing, Writing::Flushing(Then::Over))
    }

    /// Returns whether written bytes are still accepted.
    pub(crate) fn takes_writes(self) -> bool {
        self.writing == Writing::Open
    }

    /// Returns whether the writing side ends once everything is written.
    pub(crate) fn is_flushing(self) -> bool {
        matches!(self.writing, Writing::Flushing(_))
    }

    /// Returns whether the writing side has been shut, with everything written.
    pub(crate) fn has_shut_write(self) -> bool {
        matches!(self.writing, Writing::HalfShut | Writing::Over)
    }

    /// Returns whether the program has asked for the end.
    pub(crate) fn is_ending(self) -> bool {
        matches!(self.writing, Writing::Flushing(Then::Over) | Writing::Over)
    }

    pub(crate) fn is_over(self) -> bool {
        self.writing == Writing::Over
    }

    /// Checks the properties that hold in every state.
    fn check(self) {
        debug_assert!(
            self.writing != Writing::Over || self.reading == Reading::Over,
            "{self:?}"
        );
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use Action as A;
    use Event as E;

    #[track_caller]
    fn check(events: &[Event], actions: &[Action]) {
        let mut life = Life::NEW;
        let got: Vec<Action> = events.iter().map(|event| life.on(*event)).collect();
        assert_eq!(got, actions);
    }

    #[test]
    fn a_graceful_close_flushes_first() {
        check(
            &[E::Lose, E::Drained, E::Drained],
            &[A::Flush, A::Close(EndCause::Done), A::Nothing],
        );
    }

    #[test]
    fn a_half_close_leaves_the_other_direction_open() {
        check(
            &[E::LoseWrite, E::Drained, E::PeerDone, E::Lose],
            &[
                A::Flush,
                A::ShutWrite,
                A::ReportEof,
                A::Close(EndCause::Done),
            ],
        );
    }

    #[test]
    fn a_close_after_a_half_close_closes_both_directions() {
        check(
            &[E::LoseWrite, E::Lose, E::Drained],
            &[A::Flush, A::Flush, A::Close(EndCause::Done)],
        );
    }

    #[test]
    fn a_reply_to_a_peer_that_has_sent_the_end_of_file_is_still_written() {
        check(
            &[E::PeerDone, E::Lose, E::Drained],
            &[A::ReportEof, A::Flush, A::Close(EndCause::Done)],
        );
    }

    #[test]
    fn an_abort_or_an_error_ends_every_state() {
        check(
            &[E::Lose, E::Broken, E::Abort],
            &[A::Flush, A::Close(EndCause::Broken), A::Nothing],
        );
        check(
            &[E::Abort, E::Drained],
            &[A::Close(EndCause::Aborted), A::Nothing],
        );
    }

    #[test]
    fn in_all_sequences_of_seven_events_a_connection_closes_and_ends_once() {
        const EVENTS: [Event; 6] = [
            E::Abort,
            E::Broken,
            E::Drained,
            E::Lose,
            E::LoseWrite,
            E::PeerDone,
        ];
        for number in 0..6_usize.pow(7) {
            let (mut life, mut rest) = (Life::NEW, number);
            let (mut closes, mut ends, mut shuts) = (0, 0, 0);
            for _ in 0..7 {
                match life.on(EVENTS[rest % 6]) {
                    A::Close(_) => closes += 1,
                    A::ReportEof => ends += 1,
                    A::ShutWrite => shuts += 1,
                    A::Flush | A::Nothing => assert!(closes == 0 || life.is_over()),
                }
                rest /= 6;
            }
            assert!(closes <= 1 && ends <= 1 && shuts <= 1);
            assert_eq!(life.is_over(), closes == 1);
        }
    }
}
