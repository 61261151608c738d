//! What survives a power loss.
