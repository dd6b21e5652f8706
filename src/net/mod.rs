//! Networks: listening and connecting.

pub mod tcp;
