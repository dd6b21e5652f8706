//! The life of a connection, as one state machine that owns no socket, no buffer and no callback.
//!
//! | event            | while                   | becomes                 | does          |
//! |------------------|-------------------------|-------------------------|---------------|
//! | `PeerDone`       | reading                 | reading over            | `TellEof`     |
//! | `LoseWrite`      | writing                 | writing, then half-shut | `Flush`       |
//! | `Lose`           | writing, or until shut  | writing, then over      | `Flush`       |
//! | `Lose`           | half-shut               | over                    | `Close(Done)` |
//! | `Drained`        | writing, then half-shut | half-shut               | `ShutWrite`   |
//! | `Drained`        | writing, then over      | over                    | `Close(Done)` |
//! | `Broken`/`Abort` | not over                | over                    | `Close(..)`   |
//!
//! Anything else changes nothing and does nothing. A connection that has shut its writing and whose
//! peer has done the same is told of the end; if its protocol keeps it none the less, it is still
//! not over.

/// Where a connection stands.
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
    /// What is queued is still written; then this.
    Until(Then),
    HalfShut,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    HalfShut,
    Over,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its user wants it ended at once.
    Abort,
    /// Reading or writing failed.
    Broken,
    /// Nothing is queued.
    Drained,
    /// Its user wants it ended when everything is written.
    Lose,
    /// Its user has nothing more to write.
    LoseWrite,
    /// The peer has nothing more to say.
    PeerDone,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Close(Why),
    Flush,
    Nothing,
    ShutWrite,
    TellEof,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
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

    /// The one place where a connection's life changes.
    pub(crate) fn on(&mut self, event: Event) -> Action {
        use {Action as A, Event as E, Reading as R, Writing as W};
        let (next, action) = match (event, self.reading, self.writing) {
            (_, _, W::Over) => return A::Nothing,
            (E::Abort, ..) => (Self::OVER, A::Close(Why::Aborted)),
            (E::Broken, ..) => (Self::OVER, A::Close(Why::Broken)),
            (E::PeerDone, R::Open, writing) => (
                Self {
                    reading: R::Over,
                    writing,
                },
                A::TellEof,
            ),
            (E::LoseWrite, reading, W::Open) => (
                Self {
                    reading,
                    writing: W::Until(Then::HalfShut),
                },
                A::Flush,
            ),
            (E::Lose, reading, W::Open | W::Until(Then::HalfShut)) => (
                Self {
                    reading,
                    writing: W::Until(Then::Over),
                },
                A::Flush,
            ),
            (E::Lose, _, W::HalfShut) => (Self::OVER, A::Close(Why::Done)),
            (E::Drained, reading, W::Until(Then::HalfShut)) => (
                Self {
                    reading,
                    writing: W::HalfShut,
                },
                A::ShutWrite,
            ),
            (E::Drained, _, W::Until(Then::Over)) => (Self::OVER, A::Close(Why::Done)),
            _ => return A::Nothing,
        };
        *self = next;
        self.check();
        action
    }

    /// The same for a user that has not been told that the peer has nothing more to say.
    pub(crate) fn read_anew(self) -> Self {
        match self.writing {
            Writing::Over => self,
            writing => Self {
                reading: Reading::Open,
                writing,
            },
        }
    }

    /// May what the peer sends still be delivered?
    pub(crate) fn is_reading(self) -> bool {
        self.reading == Reading::Open && !matches!(self.writing, Writing::Until(Then::Over))
    }

    /// Is what the user writes still taken?
    pub(crate) fn takes_writes(self) -> bool {
        self.writing == Writing::Open
    }

    /// Is the writing side to end when everything is written?
    pub(crate) fn is_about_to_end(self) -> bool {
        matches!(self.writing, Writing::Until(_))
    }

    /// Has the writing side been shut, with everything written?
    pub(crate) fn has_shut_write(self) -> bool {
        matches!(self.writing, Writing::HalfShut | Writing::Over)
    }

    /// Has its user asked for the end?
    pub(crate) fn is_ending(self) -> bool {
        matches!(self.writing, Writing::Until(Then::Over) | Writing::Over)
    }

    pub(crate) fn is_over(self) -> bool {
        self.writing == Writing::Over
    }

    /// What is true in every state.
    fn check(self) {
        debug_assert!(
            self.writing != Writing::Over || self.reading == Reading::Over,
            "{self:?}"
        );
    }
}

#[cfg(test)]
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
    fn the_polite_end_flushes_first() {
        check(
            &[E::Lose, E::Drained, E::Drained],
            &[A::Flush, A::Close(Why::Done), A::Nothing],
        );
    }

    #[test]
    fn a_half_close_leaves_the_other_half() {
        check(
            &[E::LoseWrite, E::Drained, E::PeerDone, E::Lose],
            &[A::Flush, A::ShutWrite, A::TellEof, A::Close(Why::Done)],
        );
    }

    #[test]
    fn second_thoughts_turn_a_half_close_into_a_close() {
        check(
            &[E::LoseWrite, E::Lose, E::Drained],
            &[A::Flush, A::Flush, A::Close(Why::Done)],
        );
    }

    #[test]
    fn a_reply_to_a_peer_that_is_done_is_still_written() {
        check(
            &[E::PeerDone, E::Lose, E::Drained],
            &[A::TellEof, A::Flush, A::Close(Why::Done)],
        );
    }

    #[test]
    fn cut_off_is_cut_off_in_any_state() {
        check(
            &[E::Lose, E::Broken, E::Abort],
            &[A::Flush, A::Close(Why::Broken), A::Nothing],
        );
        check(
            &[E::Abort, E::Drained],
            &[A::Close(Why::Aborted), A::Nothing],
        );
    }

    #[test]
    fn in_all_sequences_of_seven_events_nothing_closes_or_ends_twice() {
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
                    A::TellEof => ends += 1,
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
