//! core's suite of what every memory must do, in every mode. Where this process gets no faults, the lazy modes are
//! eager ones too.

mod common;

use std::io::Write;
use std::sync::Arc;

use bigarray_core::memory::{Memory, Residency};
use bigarray_testing::memory_suite::{MemoryFixture, file_bytes};
use bigarray_uffd::{Pagemap, Userfaultfd};
use common::*;

fn fixture(userfaultfd: Userfaultfd, pagemap: Pagemap, residency: Residency) -> MemoryFixture {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&file_bytes()).unwrap();
    let memory = memory_with(userfaultfd, pagemap);
    let residency = if memory.delivers_faults() { residency } else { Residency::Eager };
    MemoryFixture::new(memory, Arc::new(ContentFile(file)), residency)
}

macro_rules! suites {
    ($($mode:ident: $userfaultfd:ident, $pagemap:ident, $residency:ident;)+) => {
        $(mod $mode {
            use super::*;

            fn make() -> MemoryFixture {
                fixture(Userfaultfd::$userfaultfd, Pagemap::$pagemap, Residency::$residency)
            }
            bigarray_testing::memory_suite!(make);
        })+
    };
}

suites! {
    lazy: Auto, Auto, Lazy;
    user_mode: UserMode, Auto, Lazy;
    lazy_and_legacy: Auto, Legacy, Lazy;
    eager: Auto, Auto, Eager;
    without_faults: None, Auto, Eager;
    without_anything: None, Legacy, Eager;
}
