//! What memory tells the pager.

/// The pager, as its span sees it. Called by the thread that receives faults, which touches no span memory and holds
/// no lock that a thread can hold while touching one.
pub trait Faults: Send + Sync {
    /// A thread waits for the missing page at `offset`. Work that takes long comes back as jobs, for other threads, the
    /// most urgent first.
    fn missing(&self, offset: usize) -> Vec<Job>;

    /// A thread waits to write to the protected page at `offset`. The page may be missing by now: after
    /// [`Protect::evict`](super::Protect::evict) a thread can still come to wait so, and is to be
    /// [woken](super::Install::wake), to find out.
    fn protected(&self, offset: usize);

    /// Faults are not delivered any more: poison what is missing.
    fn fail(&self, why: &str);
}

/// Work of the pager that may block on storage.
pub type Job = Box<dyn FnOnce() + Send>;
