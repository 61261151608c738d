//! The operations of the model.

use proptest::prelude::*;

use crate::alloc::CHUNK_PAGES;

/// An operation. Numbers choose among the existing objects, writers and snapshots.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Stores objects of those pages and frees some. The transaction is dropped after `dropped_after` steps.
    Commit {
        wanted: Vec<u16>,
        free: Vec<usize>,
        reclaim: usize,
        dropped_after: Option<usize>,
    },
    /// Stores an object in a certain place.
    Place {
        place: Where,
        free: Vec<usize>,
        reclaim: usize,
        dropped: bool,
    },
    /// Claims pages, and writes to all of them but those of the last `left` runs.
    Claim {
        writer: Option<usize>,
        what: What,
        left: usize,
        reclaim: usize,
        dropped: bool,
    },
    /// A writer commits the runs that it wrote, but for every n-th.
    Consume {
        writer: usize,
        skip: usize,
        free: Vec<usize>,
        dropped: bool,
    },
    Release {
        writer: usize,
        dropped: bool,
    },
    Die {
        writer: usize,
    },
    Sweep {
        max: usize,
        dropped: bool,
    },
    Look,
    LookAway {
        snapshot: usize,
    },
    PowerLoss,
}

/// What is claimed.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// So many pages, in runs of so many at least.
    Pages(u64, u16),
    /// So many in one piece.
    Piece(u16),
    /// Runs of so many.
    Scattered(Vec<u16>),
}

/// The place of an object.
#[derive(Clone, Debug)]
pub(super) enum Where {
    /// In the open chunk, one run of each of those pages.
    Open(Vec<u16>),
    /// Behind another object.
    Behind(usize, u16),
    /// In one run, with room behind it.
    Whole(u16, u16),
}

/// Any operation.
pub(super) fn op() -> impl Strategy<Value = Op> {
    let wanted = prop_oneof![
        4 => prop::collection::vec(1..4_u16, 0..40),
        2 => prop::collection::vec(1..=CHUNK_PAGES, 0..3),
        1 => prop::collection::vec(1..200_u16, 0..8),
    ];
    let what = prop_oneof![
        (1..2000_u64, 1..=CHUNK_PAGES).prop_map(|(wanted, least)| What::Pages(wanted, least)),
        (1..=CHUNK_PAGES).prop_map(What::Piece),
        prop::collection::vec(prop_oneof![1..20_u16, 1..=CHUNK_PAGES], 1..12).prop_map(What::Scattered),
    ];
    let chosen = || prop::collection::vec(any::<usize>(), 0..12);
    let reclaim = || prop_oneof![Just(0), 1..200_usize, Just(usize::MAX)];
    let rarely = || prop::bool::weighted(0.2);
    let place = prop_oneof![
        3 => prop::collection::vec(1..40_u16, 1..6).prop_map(Where::Open),
        2 => (any::<usize>(), 1..=CHUNK_PAGES).prop_map(|(object, pages)| Where::Behind(object, pages)),
        2 => (1..=CHUNK_PAGES, 1..=CHUNK_PAGES).prop_map(|(pages, room)| Where::Whole(pages, room)),
    ];
    prop_oneof![
        8 => (place, chosen(), reclaim(), rarely())
            .prop_map(|(place, free, reclaim, dropped)| Op::Place { place, free, reclaim, dropped }),
        12 => (wanted, chosen(), reclaim(), prop::option::weighted(0.2, 0..3_usize)).prop_map(
            |(wanted, free, reclaim, dropped_after)| Op::Commit { wanted, free, reclaim, dropped_after }
        ),
        5 => (any::<Option<usize>>(), what, 0..3_usize, reclaim(), rarely())
            .prop_map(|(writer, what, left, reclaim, dropped)| Op::Claim { writer, what, left, reclaim, dropped }),
        3 => (any::<usize>(), 2..5_usize, chosen(), rarely())
            .prop_map(|(writer, skip, free, dropped)| Op::Consume { writer, skip, free, dropped }),
        1 => (any::<usize>(), rarely()).prop_map(|(writer, dropped)| Op::Release { writer, dropped }),
        1 => any::<usize>().prop_map(|writer| Op::Die { writer }),
        1 => (1..3_usize, rarely()).prop_map(|(max, dropped)| Op::Sweep { max, dropped }),
        3 => Just(Op::Look),
        3 => any::<usize>().prop_map(|snapshot| Op::LookAway { snapshot }),
        1 => Just(Op::PowerLoss),
    ]
}
