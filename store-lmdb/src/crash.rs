//! Points of a commit at which a test can have the process killed.
