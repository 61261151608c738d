//! Addresses and slices against what Python does, by hand and at random.

use super::slice::Item;
use super::*;

fn address(text: &str) -> (String, String, Option<String>) {
    let address = Address::parse(text).unwrap();
    (address.database, address.name, address.slice.map(|slice| slice.to_string()))
}

fn parts(database: &str, name: &str, slice: Option<&str>) -> (String, String, Option<String>) {
    (database.to_owned(), name.to_owned(), slice.map(str::to_owned))
}

#[test]
fn addresses_are_taken_apart() {
    assert_eq!(address("a.bigarray"), parts("a.bigarray", "", None));
    assert_eq!(address("a.bigarray:"), parts("a.bigarray", "", None));
    assert_eq!(address("/data/sea:sst"), parts("/data/sea", "sst", None));
    assert_eq!(
        address("sea.bigarray:ocean/sst[10:20, ::2,-1]"),
        parts("sea.bigarray", "ocean/sst", Some("10:20, ::2, -1"))
    );
    assert_eq!(address("12:30.bigarray:a:b"), parts("12:30.bigarray", "a:b", None));
    assert_eq!(address("s3://bucket/sea:sst[...]"), parts("s3://bucket/sea", "sst", Some("...")));
    assert_eq!(address("s3://bucket/sea"), parts("s3://bucket/sea", "", None));
    assert_eq!(address("db:a[0][1]"), parts("db", "a[0]", Some("1")));
    assert_eq!(address("db:a[0]b"), parts("db", "a[0]b", None));
}

#[test]
fn addresses_that_make_no_sense_say_why() {
    for (text, why) in [
        (":a", "names no database"),
        ("", "names no database"),
        ("db:[1]", "a slice and no array"),
        ("db:a[]", "is empty"),
        ("db:a[x]", "no part of a slice"),
        ("db:a[1:2:3:4]", "no part of a slice"),
        ("db:a[::0]", "step 0"),
        ("db:a[...,...]", "twice"),
        ("db:a[1,,2]", "no part of a slice"),
        ("db:a[1-2]", "no part of a slice"),
    ] {
        let failure = Address::parse(text).unwrap_err();
        assert_eq!(failure.code(), crate::failure::USAGE, "{text}");
        assert!(failure.line().unwrap().contains(why), "{text}: {failure:?}");
    }
    assert!(Address::of_array("db").unwrap_err().line().unwrap().contains("db:NAME"));
    assert!(Address::of_whole_array("db:a[1]").unwrap_err().line().unwrap().contains("leave it out"));
}

#[test]
fn indices_are_out_of_range_and_ranges_are_cut() {
    let picks = |text: &str, shape: &[usize]| Slice::parse(text).unwrap().picks(shape);
    assert_eq!(picks("-1", &[5]).unwrap(), [Pick { start: 4, step: 1, len: 1, is_kept: false }]);
    assert_eq!(picks("3:100", &[5]).unwrap(), [Pick { start: 3, step: 1, len: 2, is_kept: true }]);
    assert_eq!(picks("::-2", &[5]).unwrap(), [Pick { start: 4, step: -2, len: 3, is_kept: true }]);
    assert_eq!(picks("..., 0", &[5, 6, 7]).unwrap()[..2], [Pick::whole(5), Pick::whole(6)]);
    assert_eq!(picks("1,", &[5, 6]).unwrap()[1], Pick::whole(6));
    assert!(picks("5", &[5]).unwrap_err().contains("takes -5 to 4"));
    assert!(picks("0", &[0]).unwrap_err().contains("no index"));
    assert!(picks("99999999999999999999999999999999999999999999", &[5]).unwrap_err().contains("out of range"));
    assert_eq!(picks("-99999999999999999999999999999999999999999999::7", &[5]).unwrap()[0].len, 1);
    assert!(picks("0,0", &[5]).unwrap_err().contains("of 2 axes"));
}

/// The indices that Python's `range(*slice(...).indices(len))` gives, found by looking at each.
fn naive(start: Option<i128>, stop: Option<i128>, step: i128, len: i128) -> Vec<i128> {
    let fix = |n: i128| if n < 0 { n + len } else { n };
    let all: Vec<i128> = if step > 0 { (0..len).collect() } else { (0..len).rev().collect() };
    let first = start
        .map_or(if step > 0 { 0 } else { len - 1 }, |n| if step > 0 { fix(n).max(0) } else { fix(n).min(len - 1) });
    let inside = |n: i128| match (step > 0, stop) {
        (_, None) => true,
        (true, Some(stop)) => n < fix(stop),
        (false, Some(stop)) => n > fix(stop),
    };
    let behind = |n: i128| if step > 0 { n >= first } else { n <= first };
    let is_step = |n: i128| (n - first) % step == 0;
    all.into_iter().filter(|n| behind(*n) && inside(*n) && is_step(*n)).collect()
}

#[test]
fn random_slices_pick_what_python_picks() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..200_000 {
        let len = rng.i128(0..9);
        let end = |rng: &mut fastrand::Rng| rng.bool().then(|| rng.i128(-12..13));
        let (start, stop) = (end(&mut rng), end(&mut rng));
        let step = [-5, -2, -1, 1, 2, 3, 11][rng.usize(..7)];
        let item = Item::Range { start, stop, step };
        let slice = Slice { items: vec![item] };
        assert_eq!(Slice::parse(&slice.to_string()).unwrap(), slice);
        let pick = slice.picks(&[len as usize]).unwrap()[0];
        let picked: Vec<i128> = (0..pick.len).map(|n| pick.start as i128 + n as i128 * pick.step as i128).collect();
        assert_eq!(picked, naive(start, stop, step, len), "{slice} of {len}");
    }
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let mut rng = fastrand::Rng::with_seed(8);
    let letters = ['a', ':', '[', ']', ',', '.', '-', '0', '9', ' ', '/', 'é', '+'];
    for _ in 0..300_000 {
        let text: String = (0..rng.usize(..16)).map(|_| letters[rng.usize(..letters.len())]).collect();
        if let Ok(Address { slice: Some(slice), .. }) = Address::parse(&text) {
            let shape: Vec<usize> =
                (0..rng.usize(..4)).map(|_| [0, 1, 7, isize::MAX as usize][rng.usize(..4)]).collect();
            for (pick, len) in slice.picks(&shape).into_iter().flatten().zip(&shape) {
                let last = pick.start as i128 + (pick.len.max(1) - 1) as i128 * pick.step as i128;
                assert!(pick.len == 0 || (pick.start < *len && (0..*len as i128).contains(&last)), "{text}");
            }
        }
    }
}
