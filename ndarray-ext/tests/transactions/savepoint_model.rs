//! A hundred savepoints of a transaction that does everything, rolled back to in random order, against a model.

use std::collections::BTreeMap;

use bigarray::ndarray::{ArrayView1, Axis, Ix1};
use bigarray::serde_json::{Map, Value, json};
use bigarray::{Codec, Database, Savepoint, Transaction};

use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, small_blocks};

/// What a transaction is to show: of each array its elements and attributes.
type Model = BTreeMap<String, (Vec<i64>, Map<String, Value>)>;

/// The longest that an array becomes: 12 blocks.
const LONGEST: usize = 12 * BLOCK / 8;

/// Does something to the transaction and the model.
fn change(txn: &Transaction, model: &mut Model, random: &mut Random) {
    let names = ["A", "B", "C", "D"];
    let name = names[random.below(names.len())];
    let Some((numbers, attrs)) = model.get_mut(name) else {
        let numbers: Vec<i64> = (0..random.below(LONGEST)).map(|n| n as i64).collect();
        let codecs = [Codec::None, Codec::Lz4 { shuffle: true }, Codec::Zstd { level: 1, shuffle: false }];
        let options = small_blocks().codec(codecs[random.below(codecs.len())]);
        let mut a = txn.create_with::<i64, _>(name, numbers.len(), &options).unwrap();
        a.view_mut().assign(&ArrayView1::from(&numbers));
        model.insert(name.into(), (numbers, Map::new()));
        return;
    };
    let kind = random.below(12);
    if kind == 0 {
        txn.remove(name).unwrap();
        model.remove(name);
        return;
    }
    if kind == 1 {
        let Some(free) = names.iter().find(|name| !model.contains_key(**name)) else { return };
        txn.rename(name, free).unwrap();
        let array = model.remove(name).unwrap();
        model.insert((*free).into(), array);
        return;
    }
    let mut a = txn.array::<i64, Ix1>(name).unwrap();
    let at = random.below(numbers.len().max(1));
    let end = (at + random.below(2 * BLOCK / 8)).min(numbers.len());
    let value = random.below(1000) as i64;
    match kind {
        2 => {
            let len = random.below(LONGEST);
            a.resize(len).unwrap();
            numbers.resize(len, 0);
        }
        3 => {
            let more = vec![value; random.below(LONGEST - numbers.len().min(LONGEST - 1))];
            a.append(Axis(0), ArrayView1::from(&more)).unwrap();
            numbers.extend(more);
        }
        4 => {
            a.set_attr("unit", json!(value)).unwrap();
            attrs.insert("unit".into(), json!(value));
        }
        5 => a.flush().unwrap(),
        6 if end > at => {
            a.view_mut().as_slice_mut().unwrap()[at..end].fill(0);
            numbers[at..end].fill(0);
        }
        7 if end > at => {
            a.view_mut()[at] += value;
            numbers[at] += value;
        }
        _ => {
            a.rows_mut(at..end.max(at)).unwrap().iter_mut().zip(0..).for_each(|(x, n)| *x = value + n);
            numbers[at..end.max(at)].iter_mut().zip(0..).for_each(|(x, n)| *x = value + n);
        }
    }
}

fn assert_shows(txn: &Transaction, model: &Model) {
    let names: Vec<String> = txn.arrays().unwrap().into_iter().map(|info| info.name).collect();
    assert!(names.iter().eq(model.keys()), "{names:?}");
    for (name, (numbers, attrs)) in model {
        let a = txn.array::<i64, Ix1>(name).unwrap();
        assert_eq!(a.len(), numbers.len(), "{name}");
        assert!(a.view().as_slice().unwrap() == numbers, "{name} has other elements");
        assert_eq!(a.attrs(), attrs, "{name}");
    }
}

fn assert_stored(db: &Database, model: &Model) {
    assert_shows(&db.begin().unwrap(), model);
}

/// A hundred savepoints, and going back to any of them in between.
fn random_rollbacks(seed: u64, budget_bytes: usize) {
    let mut random = Random::new(seed);
    let mut db = TestDb::with(Database::options().memory_budget(budget_bytes));
    let mut model = Model::new();
    let txn = db.begin().unwrap();
    (0..10).for_each(|_| change(&txn, &mut model, &mut random));
    txn.commit().unwrap();
    let before = model.clone();

    let mut txn = db.begin().unwrap();
    let mut saved: Vec<(Savepoint, Model)> = Vec::new();
    let mut released: Vec<Savepoint> = Vec::new();
    let (mut made, mut gone_back) = (0, 0);
    while made < 100 || !saved.is_empty() {
        (0..random.below(4)).for_each(|_| change(&txn, &mut model, &mut random));
        if made < 100 && (saved.is_empty() || random.below(5) > 1) {
            saved.push((txn.savepoint().unwrap(), model.clone()));
            made += 1;
        } else {
            // Rather a late one: else few would be left after the first.
            let at = saved.len() - 1 - random.below(saved.len()).min(random.below(6));
            let mut gone = saved.drain(at..);
            let (savepoint, then) = gone.next().unwrap();
            released.extend(gone.map(|(savepoint, _)| savepoint));
            txn.rollback(savepoint).unwrap();
            model = then;
            gone_back += 1;
        }
        if !released.is_empty() && random.below(4) == 0 {
            let error = txn.rollback(released.swap_remove(random.below(released.len()))).unwrap_err();
            assert!(error.is_invalid(), "{error}");
        }
        assert_shows(&txn, &model);
    }
    assert!(gone_back > 20, "{gone_back}");
    assert_stored(&db, &before);
    (0..4).for_each(|_| change(&txn, &mut model, &mut random));
    txn.commit().unwrap();
    assert_stored(&db, &model);
    db.reopen();
    assert_stored(&db, &model);
}

#[test]
fn a_hundred_savepoints_in_random_order_show_what_a_model_does() {
    random_rollbacks(1, usize::MAX);
    random_rollbacks(2, usize::MAX);
}

#[test]
fn a_hundred_savepoints_in_random_order_show_what_a_model_does_with_the_least_memory() {
    random_rollbacks(3, 4 << 20);
    random_rollbacks(4, 4 << 20);
}
