//! Ends the test where the pager breaks the contract of memory.

use super::SimOp;

/// Panics, naming `rule`, unless the rule was `kept`.
#[track_caller]
pub(super) fn refuse_unless(kept: bool, rule: impl FnOnce() -> String) {
    if !kept {
        panic!("the contract of memory is broken: {}", rule());
    }
}

/// Panics: `op` is not allowed for page `n`, which `is` another kind.
pub(super) fn breaks(op: SimOp, n: usize, is: &str) -> ! {
    panic!("the contract of memory is broken: {op:?} of page {n}, which is {is}")
}
