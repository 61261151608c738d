//! Arrays that go on without a span, since no addresses are left, and spans that are not to be used again.

mod support;

use std::ops::Range;

use bigarray_core::{BlockNo, ErrorKind, PAGE, Reader, Writer};
use bigarray_testing::{SimOp, SimOptions, StoreOp, array_of};
use support::{BLOCK, World};

/// More reservations than one attempt makes, each with less room to grow.
const ATTEMPTS: usize = 400;

/// The first `stored` blocks hold ones.
fn world(stored: usize) -> World {
    World::new(|world, transaction| world.write(transaction, 0, &vec![1; stored * BLOCK]))
}

fn bytes(world: &World, reader: &Reader) -> Vec<u8> {
    world.memory.span_at(reader.base().unwrap()).load(0..reader.descriptor().nbytes()).unwrap()
}

/// The next reservations find no addresses.
fn exhaust(world: &World) {
    for nth in 0..ATTEMPTS {
        world.memory.fail(SimOp::Reserve, nth);
    }
}

/// Reserves until addresses can be had again.
fn use_up_failures(world: &World) {
    while world.engine.begin().unwrap().open("a").unwrap().base().is_err() {}
}

/// Another transaction writes behind the middle of the second block, and commits.
fn write_elsewhere(world: &World) {
    let transaction = world.engine.begin().unwrap();
    world.write(&transaction, BLOCK + 5 * PAGE, &[7; PAGE]);
    transaction.commit(None).unwrap();
}

/// The write would show again once the array has grown.
#[test]
fn a_shrink_of_an_array_that_then_outgrew_all_addresses_conflicts_with_a_write_behind_its_end() {
    let world = world(0);
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    writer.set_shape(&[BLOCK + 3]).unwrap();
    exhaust(&world);
    writer.set_shape(&[1 << 60]).unwrap();
    assert!(writer.base().unwrap_err().is_too_large());
    drop(writer);
    use_up_failures(&world);
    write_elsewhere(&world);
    assert!(transaction.commit(None).unwrap_err().is_conflict());
}

#[test]
fn a_span_that_failed_while_it_idled_is_not_used_again() {
    let world = world(3);
    let reader = world.reader();
    let base = reader.base().unwrap();
    assert!(bytes(&world, &reader).iter().all(|&byte| byte == 1));
    drop(reader);
    assert_eq!(world.reader().base().unwrap(), base, "it idles until it is needed");
    world.memory.fail_faults("as the test asks");
    assert_ne!(world.reader().base().unwrap(), base);
}

/// The span that idled shows all that is stored, and the transaction has dropped some of it.
#[test]
fn an_array_that_shrank_without_a_span_shows_zeros_when_it_gets_one_that_idled() {
    let world = world(3);
    let reader = world.reader();
    assert!(bytes(&world, &reader).iter().all(|&byte| byte == 1));
    exhaust(&world);
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    assert!(writer.base().unwrap_err().is_too_large());
    writer.set_shape(&[BLOCK]).unwrap();
    drop(reader);
    writer.set_shape(&[3 * BLOCK]).unwrap();
    let got = world.memory.span_at(writer.base().unwrap()).load(0..3 * BLOCK).unwrap();
    assert!(got[..BLOCK].iter().all(|&byte| byte == 1));
    assert!(got[BLOCK..].iter().all(|&byte| byte == 0));
}

/// More look-ups than any resize makes.
const LOOKUPS: usize = 20;

/// No view may show rows that are gone: not of the array without a span, whose blocks were dropped already.
#[test]
fn an_array_that_shrank_without_a_span_is_shorter_also_where_it_could_not_get_one() {
    let options = SimOptions { delivers_faults: false, ..SimOptions::default() };
    let world = World::with(options, |world, transaction| world.write(transaction, 0, &[1; 3 * BLOCK])).reopened();
    exhaust(&world);
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    assert!(writer.base().unwrap_err().is_too_large());
    use_up_failures(&world);
    for nth in 0..LOOKUPS {
        world.failing.fail(StoreOp::Blocks, nth, ErrorKind::Io);
    }
    writer.set_shape(&[BLOCK]).unwrap();
    assert!(world.failing.pending() < LOOKUPS, "there were addresses, and no look-up succeeded");
    while world.failing.pending() > 0 {
        assert!(writer.base().is_err());
        let _ = world.engine.snapshot().unwrap().block(writer.descriptor().id, BlockNo(0));
    }
    writer.set_shape(&[2 * BLOCK]).unwrap();
    let check = |got: &[u8]| {
        assert!(got[..BLOCK].iter().all(|&byte| byte == 1));
        assert!(got[BLOCK..].iter().all(|&byte| byte == 0));
    };
    check(&load(&world, &writer, 0..2 * BLOCK));
    drop(writer);
    transaction.commit(None).unwrap();
    check(&bytes(&world, &world.reader()));
}

/// What the shrink cleared is the array's still where the shrink is refused: no commit may store it.
#[test]
fn a_shrink_without_a_span_that_fails_halfway_fails_the_commit() {
    for delivers_faults in [true, false] {
        let options = SimOptions { delivers_faults, ..SimOptions::default() };
        let world = World::with(options, |world, transaction| world.write(transaction, 0, &[1; 3 * BLOCK])).reopened();
        exhaust(&world);
        let mut transaction = world.engine.begin().unwrap();
        let savepoint = transaction.savepoint().unwrap();
        let mut writer = transaction.open("a").unwrap();
        assert!(writer.base().unwrap_err().is_too_large());
        use_up_failures(&world);
        world.failing.fail(StoreOp::Spill, 0, ErrorKind::StoreFull);
        assert!(writer.set_shape(&[BLOCK + 5]).unwrap_err().is_store_full());
        assert_eq!(writer.descriptor().shape, [3 * BLOCK]);
        assert!(writer.flush().unwrap_err().is_store_full(), "nothing fails any more, but of what was cleared");
        drop(writer);
        transaction.rollback(savepoint).unwrap();
        let mut writer = transaction.open("a").unwrap();
        store(&world, &mut writer, 0, &[2]);
        assert!(load(&world, &writer, 1..3 * BLOCK).iter().all(|&byte| byte == 1), "faults: {delivers_faults}");
        drop(writer);
        transaction.commit(None).unwrap();
        assert!(bytes(&world, &world.reader())[1..].iter().all(|&byte| byte == 1), "faults: {delivers_faults}");
    }
}

fn store(world: &World, writer: &mut Writer<'_>, at: usize, bytes: &[u8]) {
    writer.expose_mut(at..at + bytes.len()).unwrap();
    let (span, offset) = world.memory.span_over(writer.address(at..at + bytes.len()).unwrap());
    span.store(offset, bytes).unwrap();
}

fn load(world: &World, writer: &Writer<'_>, bytes: Range<usize>) -> Vec<u8> {
    let (span, offset) = world.memory.span_over(writer.address(bytes.clone()).unwrap());
    span.load(offset..offset + bytes.len()).unwrap()
}

/// Both have the block that was written to, and the first lives as long as nothing else is handed out mutably.
#[test]
fn a_window_shows_what_was_written_to_another_that_it_overlaps() {
    for delivers_faults in [true, false] {
        let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, |_, _| ());
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.create("huge", array_of(1 << 46)).unwrap();
        let start = (1 << 45) * BLOCK;
        for value in [7, 8] {
            store(&world, &mut writer, start, &[value; PAGE]);
            for bytes in [start - 5..start + 2 * PAGE, start..start + 40 * BLOCK, start - 40 * BLOCK..start + PAGE] {
                let got = load(&world, &writer, bytes.clone());
                let written = start - bytes.start..start - bytes.start + PAGE;
                assert!(got[written.clone()].iter().all(|&byte| byte == value), "faults: {delivers_faults}");
                assert_eq!(got.iter().filter(|&&byte| byte != 0).count(), PAGE, "faults: {delivers_faults}");
            }
        }
    }
}

#[test]
fn what_was_written_to_a_window_is_there_once_addresses_can_be_had_for_the_whole() {
    let world = world(0).reopened();
    exhaust(&world);
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    assert!(writer.base().unwrap_err().is_too_large());
    use_up_failures(&world);
    store(&world, &mut writer, 100, &[7; PAGE]);
    drop(writer);
    let writer = transaction.open("a").unwrap();
    writer.base().unwrap();
    assert_eq!(load(&world, &writer, 99..102), [0, 7, 7]);
    drop(writer);
    transaction.commit(None).unwrap();
    assert_eq!(bytes(&world, &world.reader())[99..102], [0, 7, 7]);
}

/// For want of addresses: neither for what is new nor for the tail of what was there.
#[test]
fn growth_is_taken_back_without_an_address() {
    for delivers_faults in [true, false] {
        let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, |_, _| ());
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.create("huge", array_of(1 << 46)).unwrap();
        writer.set_shape(&[(1 << 46) * BLOCK - BLOCK / 2]).unwrap();
        let before = writer.descriptor().clone();
        let end = before.nbytes();
        store(&world, &mut writer, end - 9, &[7; 9]);
        writer.flush().unwrap();
        exhaust(&world);
        writer.set_shape(&[end + 100]).unwrap();
        writer.expose_mut(end..end + 100).unwrap();
        assert!(writer.address(end..end + 100).unwrap_err().is_too_large());
        writer.take_back_growth(before.clone());
        assert_eq!(*writer.descriptor(), before);
        use_up_failures(&world);
        assert_eq!(load(&world, &writer, end - 9..end), [7; 9]);
        // It grows again, and shows zeros.
        writer.set_shape(&[end + 100]).unwrap();
        assert_eq!(load(&world, &writer, end - 9..end + 100)[9..], [0; 100]);
    }
}
