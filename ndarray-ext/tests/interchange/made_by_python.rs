//! What Python appends, overwrites, resizes and makes is read here, and extended where it can be.

use bigarray::serde_json::{Value, from_str, json};
use bigarray::{ArrayOptions, Codec, Database};
use ndarray::{Array1, Array2, Axis, Ix0, Ix1, Ix2, Order, array};

use crate::elements::{Flag, Position, Seconds};
use crate::python::Python;
use crate::support::arrays::says;

/// Hourly temperatures of three stations, and winds in the other order.
fn store_air(db: &Database) {
    db.transact(|txn| {
        let mut time = txn.create::<i64, _>("air/time", 4)?;
        time.view_mut().assign(&array![0, 1, 2, 3]);
        time.set_attr("units", json!("hours since 2000-01-01"))?;
        time.set_attr("dims", json!(["time"]))?;
        let zstd = ArrayOptions::new().codec(Codec::Zstd { level: 3, shuffle: true });
        let mut temperature = txn.create_with::<f32, _>("air/temperature", (4, 3), &zstd)?;
        temperature.view_mut().assign(&Array2::from_shape_fn((4, 3), |(i, j)| (10 * i + j) as f32));
        temperature.set_attr("dims", json!(["time", "station"]))?;
        temperature.set_attr("units", json!("K"))?;
        let column_major = ArrayOptions::new().order(Order::ColumnMajor);
        let mut wind = txn.create_with::<f64, _>("air/wind", (3, 4), &column_major)?;
        wind.view_mut().assign(&Array2::from_shape_fn((3, 4), |(i, j)| (10 * j + i) as f64));
        wind.set_attr("dims", json!(["station", "time"]))
    })
    .unwrap();
}

#[test]
fn what_xarray_appends_and_overwrites_is_read_and_appended_to() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    store_air(&db);
    let before = db.array::<f32, Ix2>("air/temperature").unwrap();
    python.runs("append_air");
    let time = db.array::<i64, Ix1>("air/time").unwrap();
    assert_eq!(time.view(), Array1::from_iter(0..9));
    assert_eq!(time.attrs()["units"], json!("hours since 2000-01-01"));
    let temperature = db.array::<f32, Ix2>("air/temperature").unwrap();
    assert_eq!(temperature.view(), Array2::from_shape_fn((9, 3), |(i, j)| (10 * i + j) as f32));
    assert_eq!(temperature.attrs()["units"], json!("K"));
    let wind = db.array::<f64, Ix2>("air/wind").unwrap();
    assert_eq!(wind.order(), Order::ColumnMajor);
    assert_eq!(wind.view(), Array2::from_shape_fn((3, 9), |(i, j)| (10 * j + i) as f64));
    assert_eq!(before.shape(), [4, 3]);

    python.runs("overwrite_air");
    let mut expected = Array2::from_shape_fn((9, 3), |(i, j)| (10 * i + j) as f32);
    expected.row_mut(2).fill(-1.0);
    expected.row_mut(3).fill(-1.0);
    expected[[8, 2]] = 0.5;
    assert_eq!(db.array::<f32, Ix2>("air/temperature").unwrap().view(), expected);
    assert_eq!(before.view(), Array2::from_shape_fn((4, 3), |(i, j)| (10 * i + j) as f32));

    // And on: appended here, read there.
    db.transact(|txn| {
        txn.array::<i64, Ix1>("air/time")?.append(Axis(0), array![9, 10].view())?;
        txn.array::<f32, Ix2>("air/temperature")?.append(Axis(0), Array2::from_elem((2, 3), 5.0).view())?;
        txn.array::<f64, Ix2>("air/wind")?.append(Axis(1), Array2::from_elem((3, 2), 6.0).view())
    })
    .unwrap();
    python.runs("check_air");

    // A copy has the attributes of the original, bigarray's own among them.
    python.runs("copy_air");
    let [of, copy] = ["air/wind", "copy/wind"].map(|name| db.array::<f64, Ix2>(name).unwrap());
    assert_eq!(of.view(), copy.view());
    let [of, copy] = ["air/temperature", "copy/temperature"].map(|name| db.array::<f32, Ix2>(name).unwrap());
    assert_eq!(of.view(), copy.view());
    db.transact(|txn| {
        txn.array::<f32, Ix2>("copy/temperature")?.view_mut()[[0, 0]] = 9.0;
        Ok(())
    })
    .unwrap();
    let copy = db.array::<f32, Ix2>("copy/temperature").unwrap();
    assert_eq!(in_python(&mut python, "copy/temperature"), copy.view().mapv(f64::from).into_raw_vec_and_offset().0);
}

#[test]
fn the_lines_that_the_page_for_users_shows_run() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    db.transact(|txn| {
        txn.create::<f64, _>("sst", (60, 12))?.view_mut().fill(20.5);
        Ok(())
    })
    .unwrap();
    python.runs("documented");
    let sst = db.array::<f64, Ix2>("sst").unwrap();
    assert_eq!(sst.shape(), [61, 12]);
    assert!(sst.view().rows().into_iter().take(60).all(|row| row.iter().all(|x| *x == 20.5)));
    assert!(sst.view().row(60).iter().all(|x| *x == 21.5));
}

/// bigarray's own attribute among them: the elements are there all the same, and what stores to them meets a conflict.
#[test]
fn an_array_whose_attributes_python_replaced_is_read_and_written_to() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    let order = ArrayOptions::new().order(Order::ColumnMajor).codec(Codec::Zstd { level: 3, shuffle: true });
    let values = Array2::from_shape_fn((300, 1001), |(i, j)| (i * 1001 + j) as f64);
    db.transact(|txn| {
        txn.create_with::<f64, _>("a", values.raw_dim(), &order.clone().block_size(64 << 10))?
            .view_mut()
            .assign(&values);
        Ok(())
    })
    .unwrap();
    let txn = db.begin().unwrap();
    txn.array::<f64, Ix2>("a").unwrap().view_mut()[[0, 0]] = 1.0;
    python.runs("replace_attributes a");
    assert!(txn.commit().unwrap_err().is_conflict());
    let a = db.array::<f64, Ix2>("a").unwrap();
    assert_eq!(a.view(), values);
    assert_eq!(a.attrs().iter().collect::<Vec<_>>(), [(&"only".to_owned(), &json!("this"))]);
    assert_ne!(a.info().block_size, 64 << 10);
    db.transact(|txn| {
        txn.array::<f64, Ix2>("a")?.view_mut()[[0, 0]] = 1.0;
        Ok(())
    })
    .unwrap();
    let mut expected: Vec<f64> = values.iter().copied().collect();
    expected[0] = 1.0;
    assert_eq!(in_python(&mut python, "a"), expected);
}

/// The values of an array as Python sees them.
fn in_python(python: &mut Python, name: &str) -> Vec<f64> {
    let values: Vec<Value> = from_str(&python.runs(&format!("values {name}"))).unwrap();
    values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn arrays_that_python_makes_are_read_and_written_or_refused_with_the_reason() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    // Its root is a group from the first array on.
    db.transact(|txn| txn.create::<u8, _>("ours", 1).map(drop)).unwrap();
    python.runs("make");
    let names: Vec<String> = db.snapshot().unwrap().arrays().unwrap().into_iter().map(|array| array.name).collect();
    let expected = [
        "ours",
        "zarr/big_endian",
        "zarr/flags",
        "zarr/scalar",
        "zarr/positions",
        "zarr/three_axes",
        "zarr/tiles",
        "zarr/times",
        "zarr/zstd",
        "xarray/counts",
        "xarray/filled",
        "xarray/level",
        "xarray/time",
        "xarray/writable",
    ];
    for name in expected {
        assert!(names.iter().any(|other| other == name), "{name}: {names:?}");
    }
    assert_eq!(names.len(), expected.len(), "{names:?}");

    let rows = Array2::from_shape_fn((100, 10), |(i, j)| (i * 10 + j) as f64);
    for name in ["zarr/big_endian", "zarr/zstd", "zarr/tiles"] {
        assert_eq!(db.array::<f64, Ix2>(name).unwrap().view(), rows, "{name}");
    }
    let flags = db.array::<Flag, Ix1>("zarr/flags").unwrap();
    assert_eq!(flags.view(), Array1::from_shape_fn(50, |n| Flag(u8::from(n % 2 == 1))));
    assert!(db.array::<u8, Ix1>("zarr/flags").unwrap_err().is_dtype_mismatch());
    let times = db.array::<Seconds, Ix1>("zarr/times").unwrap();
    assert_eq!(times.view(), Array1::from_shape_fn(50, |n| Seconds(n as i64)));
    let positions = db.array::<Position, Ix1>("zarr/positions").unwrap();
    assert_eq!(positions.view(), Array1::from_shape_fn(50, |n| Position { x: n as f32, y: -(n as f32) }));
    assert_eq!(db.array::<f64, Ix0>("zarr/scalar").unwrap().view()[()], 3.5);
    let filled = db.array::<f64, Ix1>("xarray/filled").unwrap();
    // Chunks of ten, of which the second is stored.
    assert!(filled.view().iter().enumerate().all(|(n, x)| if n / 10 == 1 { *x == n as f64 } else { x.is_nan() }));
    assert!(filled.fill_value().is_nan());
    assert_eq!(db.array::<i64, Ix1>("xarray/counts").unwrap().view(), Array1::from_iter(0..50));
    assert_eq!(db.array::<i64, Ix1>("xarray/time").unwrap().view().len(), 50);

    // What can be written to.
    db.transact(|txn| {
        for name in ["zarr/big_endian", "zarr/zstd"] {
            let mut array = txn.array::<f64, Ix2>(name)?;
            array.view_mut()[[1, 1]] = -1.0;
            array.append(Axis(0), Array2::from_elem((1, 10), 0.5).view())?;
        }
        let mut writable = txn.array::<f32, Ix1>("xarray/writable")?;
        writable.append(Axis(0), array![1.0, 2.0].view())?;
        let mut filled = txn.array::<f64, Ix1>("xarray/filled")?;
        filled.view_mut()[0] = 0.25;
        filled.resize(60)?;
        assert!(filled.view()[59].is_nan());
        filled.append(Axis(0), array![7.0].view())?;
        txn.array::<Flag, Ix1>("zarr/flags")?.append(Axis(0), array![Flag(1)].view())
    })
    .unwrap();
    let mut expected: Vec<f64> = rows.iter().copied().chain([0.5; 10]).collect();
    expected[11] = -1.0;
    for name in ["zarr/big_endian", "zarr/zstd"] {
        assert_eq!(in_python(&mut python, name), expected, "{name}");
    }
    let filled = in_python(&mut python, "xarray/filled");
    let expected = |n: usize| match n {
        0 => 0.25,
        10..20 => n as f64,
        60 => 7.0,
        _ => f64::NAN,
    };
    assert!(
        filled.len() == 61 && filled.iter().enumerate().all(|(n, x)| x.total_cmp(&expected(n)).is_eq()),
        "{filled:?}"
    );
    assert_eq!(in_python(&mut python, "xarray/writable")[48..], [48.0, 49.0, 1.0, 2.0]);
    assert_eq!(in_python(&mut python, "zarr/flags")[49..], [1.0, 1.0]);

    // What cannot.
    for (name, reason) in
        [("zarr/tiles", "are not runs of the elements"), ("zarr/three_axes", "are not runs of the elements")]
    {
        let txn = db.begin().unwrap();
        let mut array = txn.array::<f64, ndarray::IxDyn>(name).unwrap();
        array.view_mut().fill(1.0);
        drop(array);
        let error = txn.commit().unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        says(&error, &[name, reason]);
    }

    // What cannot even be read, and keeps nothing else from being used.
    let listed = db.snapshot().unwrap().unreadable().unwrap();
    let listed: Vec<&str> = listed.iter().map(|(name, _)| &**name).collect();
    assert_eq!(listed, ["unreadable/gzip", "unreadable/shards", "unreadable/strings", "unreadable/uneven"]);
    for (name, reason) in
        [("strings", "string"), ("gzip", "gzip"), ("shards", "sharding_indexed"), ("uneven", "chunk grid")]
    {
        let name = format!("unreadable/{name}");
        let error = db.array::<f64, Ix1>(&name).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        says(&error, &[&name, reason]);
        eprintln!("{error}");
        let error = db.begin().unwrap().create::<u8, _>(&name, 1).unwrap_err();
        assert!(error.is_unsupported() || error.is_already_exists(), "{error}");
    }
}

/// zarr-python's `resize` stores another shape and leaves the chunks: spans that idle must not show what they showed.
#[test]
fn resizes_by_python_show_what_python_shows() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    db.transact(|txn| txn.create::<u8, _>("ours", 1).map(drop)).unwrap();
    python.runs("make_resized");
    let names = ["line", "rows", "low_tiles", "wide_tiles", "filled"];
    let compare = |python: &mut Python| {
        for name in names {
            let here = db.array::<f64, ndarray::IxDyn>(name).unwrap();
            let here: Vec<f64> = here.view().iter().copied().collect();
            let there = in_python(python, name);
            let is_same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
            assert!(here.len() == there.len() && here.iter().zip(&there).all(is_same), "{name}: {here:?}, {there:?}");
        }
    };
    compare(&mut python);
    for resize in 1..=3 {
        python.runs(&format!("resize {resize}"));
        compare(&mut python);
    }
}

#[test]
fn fill_values_that_are_given_here_are_those_of_python() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    db.transact(|txn| {
        let options = ArrayOptions::new().block_size(64 << 10);
        let mut nan = txn.create_with::<f64, _>("nan", 300_000, &options.clone().fill(f64::NAN))?;
        nan.view_mut()[5] = 1.5;
        let mut minus = txn.create_with::<i16, _>("minus", 300_000, &options.fill(-1i16))?;
        minus.view_mut().slice_mut(ndarray::s![..200_000]).fill(0);
        minus.resize(100)?;
        minus.resize(150)
    })
    .unwrap();
    let nan = in_python(&mut python, "nan");
    assert!(nan.len() == 300_000 && nan.iter().enumerate().all(|(n, x)| if n == 5 { *x == 1.5 } else { x.is_nan() }));
    let minus = in_python(&mut python, "minus");
    assert!(minus.len() == 150 && minus.iter().enumerate().all(|(n, x)| *x == if n < 100 { 0.0 } else { -1.0 }));
}
