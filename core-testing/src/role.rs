//! The role in which a thread acts that stands in for several.

use std::cell::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The program.
    User,
    /// Receives faults. It touches no span memory, and asks nothing of a store that may take long.
    Monitor,
    /// Runs jobs. If it faulted it would wait for itself.
    Resolver,
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::User) };
}

pub(crate) fn role() -> Role {
    ROLE.get()
}

/// Another role of this thread, until dropped, by a panic too.
pub(crate) struct Acting(Role);

impl Acting {
    pub(crate) fn as_a(role: Role) -> Acting {
        Acting(ROLE.replace(role))
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        ROLE.set(self.0);
    }
}
