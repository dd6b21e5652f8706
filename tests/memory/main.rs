//! What is allocated, and what is given back. A process of its own: its allocator counts.

mod allocations;
mod counted;
mod given_back;
