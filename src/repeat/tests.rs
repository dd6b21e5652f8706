//! Lateness, which a virtual clock does not show.
