//! Objects of chunks that are gone, cut short or changed.

use std::sync::Arc;

use bigarray_core::BlockNo;
use bigarray_store_icechunk::objects::{Backend, Location, Objects, Runtime};
use bigarray_testing::{Edit, array_of};
use bytes::Bytes;

use crate::{assert_page, id_of, now, open, options, url};

/// The objects of the database at `url`.
fn objects(url: &str) -> Objects {
    let (location, options) = (Location::parse(url).unwrap(), options());
    let runtime = Arc::new(Runtime::new(&location, options.deadline).unwrap());
    Objects::new(Arc::new(Backend::new(&location, &options).unwrap()), runtime)
}

/// No page of such a chunk is taken for zeros, not by a commit either that changes a part of it.
#[test]
fn a_chunk_that_is_gone_short_or_changed_is_corrupt_and_named() {
    for harm in ["gone", "short", "changed"] {
        let url = url();
        let store = open(&url);
        Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(32))]).unwrap();
        let base = now(&*store);
        Edit::commit(&*store, &*base, &[Edit::of(&*base, "a").block(&*base, 0, 100)]).unwrap();

        let objects = objects(&url);
        let [chunk] = &objects.list("chunks").unwrap()[..] else { panic!("there is one chunk") };
        let id = chunk.path.strip_prefix("chunks/").unwrap();
        let mut stored = objects.get(id, 0..chunk.size).unwrap().to_vec();
        match harm {
            "gone" => objects.delete(std::slice::from_ref(&chunk.path)).unwrap(),
            "short" => objects.put(id, Bytes::from(stored[..stored.len() / 2].to_vec())).unwrap(),
            _ => {
                stored[5000] ^= 1;
                objects.put(id, stored.into()).unwrap();
            }
        }

        let fresh = open(&url);
        let base = now(&*fresh);
        let mut page = vec![0xee; 4096];
        let read = base.read(id_of(&*base, "a"), BlockNo(0), 1, &mut page).unwrap_err();
        let part = Edit::of(&*base, "a").page(&*base, 1, 0, 7);
        let commit = Edit::commit(&*fresh, &*base, &[part]).unwrap_err();
        for error in [read, commit] {
            assert!(error.is_corrupt() && error.to_string().contains(id), "{harm}: {error:?}");
        }
        // The next chunk is none of it, and what is written whole is right again.
        assert_page(&*base, 16, 0, None);
        let whole = (0..16).fold(Edit::of(&*base, "a"), |edit, block| edit.block(&*base, block, 100 * block));
        Edit::commit(&*fresh, &*base, &[whole]).unwrap();
        assert_page(&*now(&*fresh), 15, 3, Some(1503));
    }
}
