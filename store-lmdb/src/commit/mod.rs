//! A commit, steps 3 to 7.
