//! The memory suite on the simulated memory.

use std::sync::Arc;

use bigarray_core::memory::Residency;
use bigarray_core::store::DataFile;
use bigarray_testing::memory_suite::{MemoryFixture, file_bytes};
use bigarray_testing::{MemFile, SimMemory, SimOptions};

fn fixture(residency: Residency, options: SimOptions) -> MemoryFixture {
    let file: Arc<dyn DataFile> = Arc::new(MemFile::new(file_bytes()));
    MemoryFixture::new(Arc::new(SimMemory::with(file.clone(), options)), file, residency)
}

mod lazy {
    fn make() -> super::MemoryFixture {
        super::fixture(super::Residency::Lazy, super::SimOptions::default())
    }
    bigarray_testing::memory_suite!(make);
}

mod lazy_and_unkind {
    fn make() -> super::MemoryFixture {
        let options = super::SimOptions {
            seed: 7,
            reports_read_zero_pages: true,
            leaves_jobs: true,
            delivers_kernel_faults: false,
            tracks: false,
            ..Default::default()
        };
        super::fixture(super::Residency::Lazy, options)
    }
    bigarray_testing::memory_suite!(make);
}

mod eager {
    fn make() -> super::MemoryFixture {
        let options = super::SimOptions { delivers_faults: false, ..Default::default() };
        super::fixture(super::Residency::Eager, options)
    }
    bigarray_testing::memory_suite!(make);
}
