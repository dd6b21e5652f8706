//! The BGP speaker with other implementations.
