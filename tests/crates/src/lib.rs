//! The crates that the guide's page `crates` names, on a reactor. The tests are in `tests`.
