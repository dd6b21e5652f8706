//! Allocations, and what is freed. A process of its own, because its allocator counts.

mod allocations;
mod counted;
mod given_back;
