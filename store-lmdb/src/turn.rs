//! The turn: the right to commit next.
