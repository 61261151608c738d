//! Memory of its own in proportion to what an array holds and what is touched of it.

use std::fs;

use bigarray::ndarray::Ix1;
use bigarray::{Database, Result};

use crate::support::child::{alone, this_test};
use crate::support::memory::anonymous_bytes;
use crate::support::random::Random;
use crate::support::{Faults, TestDb, copies, faults, runs_if};

const MIB: usize = 1 << 20;

/// Large enough that nothing gives way.
const BUDGET: usize = 4096 * MIB;

fn roomy() -> TestDb {
    TestDb::with(Database::options().memory_budget(BUDGET))
}

/// Whether new blocks are zero memory, and so that a fault tells of their first use.
fn lays_zero_memory() -> bool {
    runs_if(!copies() && faults() != Faults::None, "here new blocks are copied, or there from the start")
}

#[test]
fn a_thousand_new_arrays_of_one_number_take_a_page_each() -> Result<()> {
    if !lays_zero_memory() || !alone(this_test!(), |_| ()) {
        return Ok(());
    }
    let db = roomy();
    for is_prefetched in [false, true] {
        let txn = db.begin()?;
        let (before, charged) = (anonymous_bytes(), db.memory_use().used_bytes);
        let name = |n: u32| format!("{n} {is_prefetched}");
        let mut arrays = Vec::new();
        for n in 0..1000_u32 {
            let mut array = txn.create::<f64, _>(&name(n), 1)?;
            if is_prefetched {
                array.prefetch(..)?;
            }
            array.view_mut()[0] = f64::from(n);
            arrays.push(array);
        }
        let (taken, charged) = (anonymous_bytes() - before, db.memory_use().used_bytes - charged);
        assert!(taken <= 16 * MIB, "{taken} bytes, prefetched: {is_prefetched}");
        // None where the budget sees writes in another way.
        assert!(charged <= 1000 * 4096, "{charged} bytes are charged, prefetched: {is_prefetched}");
        drop(arrays);
        txn.commit()?;
        assert!((0..1000).all(|n| db.array::<f64, Ix1>(&name(n)).unwrap().view()[0] == f64::from(n)));
    }
    Ok(())
}

/// Each ends a little behind what is laid in huge pages.
#[test]
fn arrays_that_are_filled_take_what_they_are_charged() -> Result<()> {
    if !lays_zero_memory()
        || !runs_if(faults() == Faults::All, "elsewhere nothing is charged")
        || !alone(this_test!(), |_| ())
    {
        return Ok(());
    }
    let db = roomy();
    let txn = db.begin()?;
    let before = anonymous_bytes();
    let mut arrays = Vec::new();
    for n in 0..50 {
        let mut array = txn.create::<u8, _>(&format!("a{n}"), 2 * MIB + 8)?;
        array.view_mut().fill(7);
        arrays.push(array);
    }
    let (taken, charged) = (anonymous_bytes() - before, db.memory_use().used_bytes);
    assert_eq!(charged, 50 * (2 * MIB + 4096));
    assert!(taken <= charged + 8 * MIB, "{taken} bytes, {charged} are charged");
    Ok(())
}

#[test]
fn arrays_that_grow_within_a_block_stay_within_the_budget() -> Result<()> {
    if !lays_zero_memory()
        || !runs_if(faults() == Faults::All, "elsewhere nothing is spilled under views")
        || !alone(this_test!(), |_| ())
    {
        return Ok(());
    }
    let budget = 64 * MIB;
    let db = TestDb::with(Database::options().memory_budget(budget));
    let txn = db.begin()?;
    let mut arrays = Vec::new();
    for n in 0..200_u8 {
        let mut array = txn.create::<u8, _>(&format!("a{n}"), 100)?;
        array.view_mut().fill(n);
        arrays.push(array);
    }
    let before = anonymous_bytes();
    for (n, array) in arrays.iter_mut().enumerate() {
        array.resize(2 * MIB)?;
        array.view_mut().fill(n as u8 + 1);
        let used = db.memory_use().used_bytes;
        assert!(used <= budget, "{used} bytes are charged");
    }
    let taken = anonymous_bytes().saturating_sub(before);
    assert!(taken <= budget + 32 * MIB, "{taken} bytes");
    assert!(arrays.iter().enumerate().all(|(n, array)| array.view().iter().all(|x| *x == n as u8 + 1)));
    Ok(())
}

#[test]
fn bytes_here_and_there_of_a_large_array_take_a_page_each() -> Result<()> {
    if !lays_zero_memory() || !alone(this_test!(), |_| ()) {
        return Ok(());
    }
    let len = 3 << 30;
    let mut random = Random::new(5);
    let mut places: Vec<usize> = (0..3000).map(|_| random.below(len)).collect();
    let db = roomy();
    for in_order in [false, true] {
        if in_order {
            places.sort_unstable();
        }
        let txn = db.begin()?;
        let before = anonymous_bytes();
        let mut new = txn.create::<u8, _>("new", len)?;
        let mut view = new.view_mut();
        places.iter().for_each(|at| view[*at] = 7);
        drop(new);
        let mut old = txn.open_or_create::<u8, _>("old", len)?;
        for at in &places {
            old.rows_mut(*at..*at + 1)?[0] += 1;
        }
        drop(old);
        let taken = anonymous_bytes().saturating_sub(before);
        assert!(taken <= 64 * MIB, "{taken} bytes, in order: {in_order}");
        txn.remove("new")?;
        txn.commit()?;
    }
    Ok(())
}

/// What is charged is what the kernel may fill without another fault.
#[test]
fn a_new_array_that_grows_is_charged_for_what_it_grew_by() -> Result<()> {
    if !lays_zero_memory() || !runs_if(faults() == Faults::All, "a small new array takes no faults") {
        return Ok(());
    }
    let db = roomy();
    let txn = db.begin()?;
    let charged = || db.memory_use().used_bytes;
    let mut array = txn.create::<u8, _>("a", 100)?;
    array.view_mut()[0] = 1;
    assert_eq!(charged(), 4096);
    array.resize(5000)?;
    array.view_mut()[4999] = 2;
    assert_eq!(charged(), 8192);
    array.resize(3 * MIB)?;
    array.view_mut()[3 * MIB - 1] = 3;
    assert_eq!(charged(), 3 * MIB);
    drop(array);
    txn.commit()?;
    assert_eq!(charged(), 0);
    let array = db.array::<u8, Ix1>("a")?;
    let view = array.view();
    assert_eq!([view[0], view[4999], view[3 * MIB - 1]], [1, 2, 3]);
    Ok(())
}

#[test]
fn what_is_filled_in_order_is_filled_in_huge_pages() -> Result<()> {
    let enabled = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if !lays_zero_memory()
        || !runs_if(!enabled.is_empty() && !enabled.contains("[never]"), "there are no huge pages")
        || !alone(this_test!(), |_| ())
    {
        return Ok(());
    }
    let len = 128 * MIB;
    for backwards in [false, true] {
        let db = TestDb::with(Database::options().memory_budget(2 * len));
        let txn = db.begin()?;
        let mut array = txn.create::<u8, _>("a", len)?;
        let before = huge_bytes();
        let mut view = array.view_mut();
        if backwards {
            view.iter_mut().rev().for_each(|x| *x = 7);
        } else {
            view.fill(7);
        }
        let huge = huge_bytes().saturating_sub(before);
        assert!(huge >= len * 9 / 10, "{} MiB in huge pages, backwards: {backwards}", huge / MIB);
    }
    Ok(())
}

/// `AnonHugePages` of this process.
fn huge_bytes() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}
