//! Spans that show nothing are withdrawn while a thread waits in them: the kernel, which reads memory of the process.

mod common;

use std::io::IoSliceMut;
use std::sync::atomic::Ordering;
use std::thread;

use bigarray_core::memory::Memory as _;
use common::*;
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// The byte at `at` of the span, read by the kernel as for another process.
fn read_by_the_kernel(fake: &Fake, at: usize) -> Result<u8, Errno> {
    let mut byte = [0];
    let remote = RemoteIoVec { base: fake.span.base().as_ptr() as usize + at, len: 1 };
    process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut byte)], &[remote]).map(|_| byte[0])
}

#[test]
fn two_threads_that_wait_for_a_span_are_woken_when_it_is_withdrawn_and_see_it_when_it_is_back() {
    let _dog = watchdog();
    for memory in lazy_memories().iter().filter(|memory| memory.delivers_kernel_faults()) {
        for places in [[0, 0], [5, BLOCK - 1], [7, 2 * BLOCK + 9]] {
            let fake = Fake::new(&**memory, 2 * MIB, How::Never);
            thread::scope(|scope| {
                let reading = places.map(|at| {
                    let fake = &fake;
                    scope.spawn(move || read_by_the_kernel(fake, at))
                });
                eventually("both wait", || fake.missing.load(Ordering::SeqCst) >= 2);
                fake.span.withdraw(0..2 * MIB).unwrap();
                fake.span.wake(0..2 * MIB);
                for thread in reading {
                    assert_eq!(thread.join().unwrap(), Err(Errno::EFAULT));
                }
                assert_eq!(places.map(|at| read_by_the_kernel(&fake, at)), [Err(Errno::EFAULT); 2]);
                fake.span.reset(0..2 * MIB).unwrap();
                let reading = places.map(|at| {
                    let fake = &fake;
                    scope.spawn(move || read_by_the_kernel(fake, at))
                });
                eventually("both wait", || fake.missing.load(Ordering::SeqCst) >= 4);
                for at in places {
                    fake.load(at / BLOCK, &How::Copy);
                }
                for (thread, at) in reading.into_iter().zip(places) {
                    assert_eq!(thread.join().unwrap(), Ok(content(at)));
                }
            });
            assert_eq!(fake.bytes(0..BLOCK), contents(0..BLOCK));
        }
    }
}
