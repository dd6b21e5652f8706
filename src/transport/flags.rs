//! The flags of a connection, besides its [`Life`](super::life::Life), in one word.
//!
//! | flag              | from                                              | until                                     |
//! |-------------------|---------------------------------------------------|-------------------------------------------|
//! | `ALTERED`         | its life has left the first state                 | the end                                   |
//! | `ARMED_OTHERWISE` | the driver has another interest than `Read`       | the interest is `Read` again              |
//! | `BEGUN`           | its handler has begun                             | the end                                   |
//! | `BLOCKED`         | the socket accepts no more for now                | the driver reports it writable            |
//! | `COUNTED`         | its memory counts for the reactor's budget        | the end                                   |
//! | `DESCRIPTORS`     | descriptors have arrived that were not taken      | they are taken                            |
//! | `DIRECT`          | a big write went straight out                     | the loop attends to it                    |
//! | `FULL`            | more is queued than the high-water mark, big      | no more than the low one is left, and the |
//! |                   | writes have used up the budget of the turn, or    | budget is not used up                     |
//! |                   | the socket has not taken most of one              |                                           |
//! | `HELD`            | bytes that were read wait to be delivered         | they are delivered                        |
//! | `LENT`            | other code may have a duplicate of the descriptor | the end                                   |
//! | `LOST`            | its handler's `lost` was called                   | the end                                   |
//! | `OWN_LIMITS`      | its limits differ, or are unusual: see `ConnCore::write` | the end                   |
//! | `PARTIAL`         | its handler has left some of the bytes read       | it has taken them                         |
//! | `PAUSED`          | its handler has paused delivery                   | it resumes                                |
//! | `PEER_DONE`       | the peer has sent the end of file                 | the end                                   |
//! | `POLICED`         | it has policies: see `policy`                     | the end                                   |
//! | `PRODUCING`       | it has a producer                                 | that has ended                            |
//! | `READ_HELD`       | a rate limit allows no byte to be read            | it does again                             |
//! | `SECURING`        | TLS was started                                   | its handshake is finished, or the end     |
//! | `STALLED`         | it is stalled, or the end of the reactor waits for it: see `stall` | it goes on, or has ended |
//! | `SUCCEEDED`       | its handler has named a successor                 | the end                                   |
//! | `UNREAD`          | its TLS has decrypted bytes that were not read    | they are read                             |
//! | `WRITABLE`        | the driver reports it writable                  | the handler's `write_ready` is called     |
//! | `WRITE_HELD`      | a rate limit allows no byte to be sent            | it does again                             |
//!
//! A connection with none of [`Flags::UNUSUAL`] reads when bytes have arrived and writes what its
//! handler writes; the hot path checks nothing else.
//!
//! [`Conn::settle`]: super::engine::Conn

use std::cell::Cell;

/// One flag, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flag(u32);

impl Flag {
    pub(super) const ALTERED: Self = Self(1);
    pub(super) const ARMED_OTHERWISE: Self = Self(1 << 1);
    pub(super) const OWN_LIMITS: Self = Self(1 << 2);
    pub(super) const BEGUN: Self = Self(1 << 3);
    pub(super) const BLOCKED: Self = Self(1 << 4);
    pub(super) const COUNTED: Self = Self(1 << 5);
    pub(super) const DESCRIPTORS: Self = Self(1 << 6);
    pub(super) const FULL: Self = Self(1 << 7);
    pub(super) const HELD: Self = Self(1 << 8);
    pub(super) const LENT: Self = Self(1 << 9);
    pub(super) const LOST: Self = Self(1 << 10);
    pub(super) const PARTIAL: Self = Self(1 << 11);
    pub(super) const PAUSED: Self = Self(1 << 12);
    pub(super) const PEER_DONE: Self = Self(1 << 13);
    pub(super) const PRODUCING: Self = Self(1 << 14);
    pub(super) const STALLED: Self = Self(1 << 15);
    pub(super) const SUCCEEDED: Self = Self(1 << 16);
    pub(super) const POLICED: Self = Self(1 << 17);
    pub(super) const READ_HELD: Self = Self(1 << 18);
    pub(super) const WRITE_HELD: Self = Self(1 << 19);
    pub(super) const DIRECT: Self = Self(1 << 20);
    pub(super) const SECURING: Self = Self(1 << 21);
    pub(super) const UNREAD: Self = Self(1 << 22);
    pub(super) const WRITABLE: Self = Self(1 << 23);

    /// The flags that a connection keeps when it gets another handler.
    pub(super) const KEPT: Self =
        Self(Self::DESCRIPTORS.0 | Self::FULL.0 | Self::PAUSED.0 | Self::PEER_DONE.0);

    /// The flags that every read has to check.
    pub(super) const CHECKED_READS: Self = Self(Self::POLICED.0 | Self::SECURING.0);

    /// The flags that a write has to check.
    pub(super) const CHECKED_WRITES: Self = Self(
        Self::ALTERED.0 | Self::COUNTED.0 | Self::DIRECT.0 | Self::FULL.0 | Self::OWN_LIMITS.0,
    );

    /// The flags with which no big write goes straight out.
    pub(super) const QUEUES: Self = Self(
        Self::ALTERED.0
            | Self::BLOCKED.0
            | Self::COUNTED.0
            | Self::FULL.0
            | Self::OWN_LIMITS.0
            | Self::POLICED.0
            | Self::PRODUCING.0
            | Self::SECURING.0
            | Self::SUCCEEDED.0,
    );

    /// The flags that a read, or the rest after a write, has to check.
    pub(super) const UNUSUAL: Self = Self(
        Self::ALTERED.0
            | Self::ARMED_OTHERWISE.0
            | Self::BLOCKED.0
            | Self::DESCRIPTORS.0
            | Self::DIRECT.0
            | Self::FULL.0
            | Self::HELD.0
            | Self::PAUSED.0
            | Self::POLICED.0
            | Self::PRODUCING.0
            | Self::SECURING.0
            | Self::STALLED.0
            | Self::SUCCEEDED.0
            | Self::UNREAD.0,
    );
}

/// The flags of one connection.
#[derive(Debug)]
pub(super) struct Flags(Cell<u32>);

impl Flags {
    /// Returns the flags of a new connection: none.
    pub(super) fn new() -> Self {
        Self(Cell::new(0))
    }

    /// Returns whether the flag, or one of several, is set.
    #[inline]
    pub(super) fn has(&self, flag: Flag) -> bool {
        self.0.get() & flag.0 != 0
    }

    #[inline]
    pub(super) fn set(&self, flag: Flag, value: bool) {
        let others = self.0.get() & !flag.0;
        self.0.set(if value { others | flag.0 } else { others });
    }

    /// Returns those of several flags that are set.
    pub(super) fn those_of(&self, flags: Flag) -> Flag {
        Flag(self.0.get() & flags.0)
    }

    /// Sets the flag; returns its earlier value.
    #[inline]
    pub(super) fn replace(&self, flag: Flag, value: bool) -> bool {
        let before = self.has(flag);
        self.set(flag, value);
        before
    }
}
