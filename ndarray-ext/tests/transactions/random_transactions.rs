//! Random transactions against a model of plain vectors: one seed, one run. Two databases over the same directory take
//! turns, so that spans are refreshed by commits of the other. Snapshots are read long after they were taken.

use std::collections::BTreeMap;

use bigarray::ndarray::{Array1, Array2, Axis, Ix2, Order};
use bigarray::{BigArray, BigArrayMut, Database, Transaction};

use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, small_blocks};

/// Elements of a row: rows of 12 bytes straddle pages and blocks.
const WIDTH: usize = 3;

/// Name → elements, in storage order, of an array that has `WIDTH` of them in a row.
type Model = BTreeMap<String, Vec<u32>>;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Most rows that an array gets: some blocks.
const ROWS: usize = 5 * BLOCK / (4 * WIDTH);

fn fresh(random: &mut Random, rows: usize) -> Vec<u32> {
    let stamp = random.below(1 << 30) as u32;
    (0..(rows * WIDTH) as u32).map(|i| stamp.wrapping_add(i)).collect()
}

fn shape(order: Order, rows: usize) -> (usize, usize) {
    if order == Order::RowMajor { (rows, WIDTH) } else { (WIDTH, rows) }
}

/// What elements are that were never written.
fn fill(order: Order) -> u32 {
    if order == Order::RowMajor { 0 } else { 0x0a0b_0c0d }
}

/// What `name` is in: its order never changes.
fn order(name: &str) -> Order {
    if name == "b" { Order::ColumnMajor } else { Order::RowMajor }
}

fn in_order(order: Order, elements: Vec<u32>) -> Array2<u32> {
    let rows = elements.len() / WIDTH;
    let array = Array2::from_shape_vec((rows, WIDTH), elements).unwrap();
    if order == Order::RowMajor { array } else { array.reversed_axes() }
}

fn write(random: &mut Random, order: Order, a: &mut BigArrayMut<'_, u32, Ix2>, want: &mut [u32]) {
    let rows = want.len() / WIDTH;
    if rows == 0 {
        return;
    }
    let from = random.below(rows);
    let most = 1 + random.below(2 * BLOCK / (4 * WIDTH));
    let to = from + 1 + random.below(most.min(rows - from));
    let mut new = fresh(random, to - from);
    if random.below(4) == 0 {
        new.fill(0);
    }
    a.rows_mut(from..to).unwrap().assign(&in_order(order, new.clone()));
    want[from * WIDTH..to * WIDTH].copy_from_slice(&new);
}

/// One change of one open array and of what it should be.
fn change(random: &mut Random, order: Order, a: &mut BigArrayMut<'_, u32, Ix2>, want: &mut Vec<u32>) {
    let axis = Axis(if order == Order::RowMajor { 0 } else { 1 });
    match random.below(9) {
        0 | 1 => {
            let rows = random.below(ROWS);
            a.resize(shape(order, rows)).unwrap();
            want.resize(rows * WIDTH, fill(order));
        }
        2 => {
            // Inside the last block, where there is a tail to clear.
            let rows = (want.len() / WIDTH).saturating_sub(random.below(3000));
            a.resize(shape(order, rows)).unwrap();
            want.resize(rows * WIDTH, fill(order));
        }
        3 => {
            let n = random.below(3000);
            let new = fresh(random, n);
            a.append(axis, in_order(order, new.clone()).view()).unwrap();
            want.extend(new);
        }
        5 => {
            let rows = want.len() / WIDTH;
            let most = if random.below(8) == 0 { rows } else { rows.min(2 * BLOCK / (4 * WIDTH)) };
            let n = random.below(most + 1);
            a.drop_front(n).unwrap();
            drop(want.drain(..n * WIDTH));
        }
        4 => {
            let new = fresh(random, 1);
            a.push(axis, Array1::from(new.clone()).view()).unwrap();
            want.extend(new);
        }
        _ => write(random, order, a, want),
    }
}

fn transaction(random: &mut Random, txn: &Transaction, model: &mut Model) {
    for _ in 0..1 + random.below(4) {
        let name = NAMES[random.below(NAMES.len())];
        match (model.contains_key(name), random.below(12)) {
            (false, _) => {
                let rows = random.below(ROWS);
                let options = small_blocks().order(order(name)).fill(fill(order(name)));
                drop(txn.create_with::<u32, _>(name, shape(order(name), rows), &options).unwrap());
                model.insert(name.into(), vec![fill(order(name)); rows * WIDTH]);
            }
            (true, 0) => {
                txn.remove(name).unwrap();
                model.remove(name);
            }
            (true, 1) if !model.contains_key("c") && order(name) == Order::RowMajor => {
                txn.rename(name, "c").unwrap();
                let elements = model.remove(name).unwrap();
                model.insert("c".into(), elements);
            }
            (true, 2) => {
                let a = txn.array::<u32, Ix2>(name).unwrap();
                let elements = a.len();
                let mut a = a.reshape(elements).unwrap();
                if elements > 0 {
                    a.view_mut()[elements - 1] = 7;
                    *model.get_mut(name).unwrap().last_mut().unwrap() = 7;
                }
                a.reshape(shape(order(name), elements / WIDTH)).unwrap();
            }
            (true, _) => {
                let mut a = txn.array::<u32, Ix2>(name).unwrap();
                let want = model.get_mut(name).unwrap();
                for _ in 0..1 + random.below(5) {
                    change(random, order(name), &mut a, want);
                }
            }
        }
    }
    for (name, want) in &*model {
        let a = txn.array::<u32, Ix2>(name).unwrap();
        assert!(a.view() == in_order(order(name), want.clone()), "{name} in its transaction");
    }
}

fn same(db: &Database, model: &Model, what: &str) -> Vec<(BigArray<u32, Ix2>, Vec<u32>)> {
    let snapshot = db.snapshot().unwrap();
    let names: Vec<String> = snapshot.arrays().unwrap().into_iter().map(|info| info.name).collect();
    assert!(names.iter().eq(model.keys()), "{what}: {names:?}");
    let arrays = model.iter().map(|(name, want)| (snapshot.array(name).unwrap(), want.clone()));
    arrays.collect()
}

fn shows(arrays: &[(BigArray<u32, Ix2>, Vec<u32>)], what: &str) {
    for (a, want) in arrays {
        assert!(a.view() == in_order(order(a.name()), want.clone()), "{what}: {a:?}");
    }
}

fn run(seed: u64) {
    let db = TestDb::new();
    let other = db.another(&Database::options());
    let mut random = Random::new(seed);
    let mut model = Model::new();
    let mut kept = Vec::new();
    for step in 0..60 {
        let what = format!("seed {seed}, step {step}");
        let writer = if random.below(3) == 0 { &other } else { &*db };
        let txn = writer.begin().unwrap();
        let mut changed = model.clone();
        transaction(&mut random, &txn, &mut changed);
        match random.below(5) {
            0 => txn.abort(),
            _ => {
                txn.commit().unwrap();
                model = changed;
            }
        }
        let arrays = same(if random.below(2) == 0 { &other } else { &db }, &model, &what);
        match random.below(3) {
            0 => shows(&arrays, &what),
            1 => kept.push((step, arrays)), // touched only when much has changed
            _ => {}
        }
        if random.below(6) == 0 && !kept.is_empty() {
            let (of, arrays) = kept.swap_remove(random.below(kept.len()));
            shows(&arrays, &format!("{what}: the state of step {of}"));
        }
    }
    for (of, arrays) in kept {
        shows(&arrays, &format!("seed {seed}: the state of step {of}, at the end"));
    }
    shows(&same(&db, &model, "at the end"), &format!("seed {seed}, at the end"));
}

#[test]
fn random_transactions_equal_plain_vectors() {
    let seeds = std::env::var("BIGARRAY_SEEDS").map_or(0..6, |seeds| {
        let (from, to) = seeds.split_once("..").expect("BIGARRAY_SEEDS=from..to");
        from.parse().unwrap()..to.parse().unwrap()
    });
    seeds.for_each(run);
}
