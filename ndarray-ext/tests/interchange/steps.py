#!/usr/bin/env python3
"""What Python does to a database in the tests beside this file.

    steps.py URL    runs a step for each line of its input, which names it and its arguments, and prints "> " and its answer

The database is opened once, as a program would. A step that fails ends the process."""

import contextlib
import datetime
import json
import os
import pathlib
import re
import sys
import warnings

import icechunk
import numpy as np
import pandas as pd
import xarray as xr
import zarr
from zarr.codecs import BytesCodec, GzipCodec, ZstdCodec

warnings.simplefilter("ignore")
# It warns of the local storage, and tells of each conflict.
icechunk.set_logs_filter("error")

STEPS = {}


def step(function):
    STEPS[function.__name__] = function
    return function


def report(*words):
    print(*words, file=sys.stderr)


def storage():
    scheme, rest = sys.argv[1].split("://", 1)
    if scheme == "file":
        return icechunk.local_filesystem_storage(rest)
    bucket, prefix = rest.split("/", 1)
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return icechunk.s3_storage(
        bucket=bucket,
        prefix=prefix,
        region="us-east-1",
        endpoint_url=endpoint,
        allow_http=True,
        force_path_style=endpoint is not None,
        from_env=True,
    )


class Opened:
    repository = None
    session = None


def repository():
    if Opened.repository is None:
        Opened.repository = icechunk.Repository.open(storage())
        report("icechunk", icechunk.__version__, "zarr", zarr.__version__, "xarray", xr.__version__)
    return Opened.repository


def reading(**version):
    return repository().readonly_session(**(version or {"branch": "main"})).store


def group(**version):
    return zarr.open_group(reading(**version), mode="r")


@contextlib.contextmanager
def changing(message="by Python"):
    session = repository().writable_session("main")
    yield zarr.open_group(session.store, mode="r+")
    session.commit(message)


# What bigarray wrote: `written_here.rs`.


def small(count):
    return np.arange(count) * 7919 % 127


def numbers(code, count=1000):
    dtype = np.dtype(code)
    if dtype.kind == "c":
        values = np.zeros(count, dtype)
        values.real = numbers(values.real.dtype, count)
        values.imag[4:] = -small(count)[4:]
    elif dtype.kind == "f":
        values = ((small(count) - 63) * 0.5).astype(dtype)
        values[:4] = np.finfo(dtype).min, np.finfo(dtype).max, np.nan, -0.0
    else:
        values = (small(count) - (63 if dtype.kind == "i" else 0)).astype(dtype)
        values[:2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    return values


def compare(array, expected):
    codecs = [codec["name"] for codec in array.metadata.to_dict()["codecs"]]
    report(array.name, array.dtype, array.shape, array.chunks, codecs)
    values = np.asarray(array[...])
    assert values.dtype == expected.dtype, f"{array.name}: {values.dtype}, not {expected.dtype}"
    assert values.shape == expected.shape, f"{array.name}: {values.shape}, not {expected.shape}"
    assert values.tobytes() == expected.tobytes(), f"{array.name} differs"
    last = array.name.rsplit("/", 1)[-1]
    assert array.metadata.dimension_names == tuple(f"{last}_{axis}" for axis in range(array.ndim)), array.name


def opaque(columns, length):
    return np.stack(columns, axis=1).view(f"V{length}")[:, 0]


def readings():
    n = np.arange(1000)
    dtype = [("station", "u1"), ("padding", "V7"), ("time", "<i8"), ("at", [("x", "<f4"), ("y", "<f4")]), ("levels", "V12")]
    values = np.zeros(1000, dtype=[*dtype, ("flags", "<u2"), ("rest", "V2")])
    values["station"], values["time"], values["flags"] = n.astype("u1"), -n, (n * 257).astype("u2")
    values["at"]["x"], values["at"]["y"] = n, n / 4
    values["levels"] = opaque([(n + x).astype("<f4") for x in (0, 0.5, 1)], 12)
    return values


def matrix():
    return np.arange(300 * 1001, dtype="f8").reshape(300, 1001) * 0.25


def noise(number):
    n = np.arange(5000)
    return (n * n * 7919 % 1_000_003 + number).astype("f8")


@step
def check_written():
    here = group()
    for code in ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]:
        compare(here[f"numbers/{code}"], numbers(code))
    # What NumPy does not have is opaque.
    least, most = 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF
    low, high = small(1000).astype("u8"), np.zeros(1000, "u8")
    low[:2], high[:2] = (0, most), (0, most)
    compare(here["numbers/u16"], opaque([low, high], 16))
    signed = small(1000) - 63
    low, high = signed.astype("i8").view("u8"), np.where(signed < 0, -1, 0).astype("i8").view("u8")
    low[:2], high[:2] = (0, most), (least, most // 2)
    compare(here["numbers/i16"], opaque([low, high], 16))
    compare(here["numbers/bfloat16"], (small(1000).astype("f4").view("u4") >> 16).astype("u2").view("V2"))

    n = np.arange(1000)
    compare(here["others/flags"], n % 3 == 0)
    compare(here["others/times"], (n * 86_400).astype("M8[s]"))
    compare(here["others/readings"], readings())

    rows = np.vstack([matrix(), np.full((5, 1001), 7.0)])
    rows[0] = -1
    columns = np.hstack([matrix(), np.full((300, 2), 7.0)])
    compare(here["orders/c"], rows)
    compare(here["orders/f"], columns)
    compare(here["orders/f_cube"], np.arange(30 * 40 * 501, dtype="i4").reshape(30, 40, 501))
    compare(here["orders/empty"], np.zeros((0, 3)))
    compare(here["orders/scalar"], np.array(1.5))
    for name in ["zstd", "zstd_f", "lz4", "lz4_shuffle"]:
        compare(here[f"codecs/{name}"], matrix())
    compare(here["codecs/zstd_shuffle"], rows)
    for number in range(20):
        compare(here[f"small/{number}"], noise(number))
    compare(here["inline"], np.full(5000, 2.5))

    holes = np.zeros(1 << 19)
    holes[300_000:300_010] = 1
    array = here["holes"]
    assert np.array_equal(array[...], holes)
    assert array.nchunks == 4 and array.nchunks_initialized == 1, array.nchunks_initialized
    assert array.metadata.dimension_names == ("place",)
    attributes = {name: array.attrs[name] for name in ["units", "scale", "levels", "nested"]}
    assert attributes == {"units": "°C", "scale": 0.01, "levels": [1, 2, 3], "nested": {"a": [None, True, {"b": "ö"}]}}

    session = repository().readonly_session("main")
    assert session.chunk_type("/small/3", [0]) == icechunk.ChunkType.native
    assert session.chunk_type("/inline", [0]) == icechunk.ChunkType.inline
    assert session.chunk_type("/holes", [0]) == icechunk.ChunkType.uninitialized

    for name in ["numbers", "others", "orders", "codecs", "small"]:
        dataset = xr.open_zarr(reading(), group=name)
        report("xarray:", name, len(dataset.data_vars), "variables")
    assert np.array_equal(xr.open_zarr(reading(), group="codecs").zstd_f.values, matrix())
    assert xr.open_zarr(reading()).holes.dims == ("place",)

    # The state that has the tag, before the last commit.
    then = group(tag="v1")
    compare(then["orders/c"], matrix())
    compare(then["orders/f"], matrix())
    compare(then["codecs/zstd_shuffle"], matrix())


@step
def axes(*names):
    for name in {name.rpartition("/")[0] for name in names}:
        xr.open_zarr(reading(), group=name or None).load()
    return " ".join(axis for name in names for axis in group()[name].metadata.dimension_names)


@step
def lengthen(name, length):
    with changing() as here:
        before = here[name].shape[0]
        here[name].resize((int(length),))
        assert not np.any(here[name][before:])


@step
def log():
    return " ".join(snapshot.id for snapshot in repository().ancestry(branch="main"))


@step
def tagged(name):
    assert name in repository().list_tags()
    return repository().lookup_tag(name)


# What Python makes and changes: `made_by_python.rs`.


def air(times):
    """Of hours since the year 2000."""
    hours = np.asarray(times)
    temperature = (10 * hours[:, None] + np.arange(3)).astype("f4")
    wind = (10 * hours[None, :] + np.arange(3)[:, None]).astype("f8")
    return xr.Dataset(
        {"temperature": (("time", "station"), temperature), "wind": (("station", "time"), wind)},
        coords={"time": pd.Timestamp("2000-01-01") + pd.to_timedelta(hours, unit="h")},
    )


@step
def append_air():
    session = repository().writable_session("main")
    xr.testing.assert_equal(xr.open_zarr(session.store, group="air"), air(range(4)))
    air(range(4, 9)).to_zarr(session.store, group="air", append_dim="time")
    session.commit("appended by xarray")
    xr.testing.assert_equal(xr.open_zarr(reading(), group="air"), air(range(9)))


@step
def overwrite_air():
    session = repository().writable_session("main")
    region = air(range(2, 4))[["temperature"]].drop_vars("time") * 0 - 1
    region.to_zarr(session.store, group="air", region={"time": slice(2, 4)})
    zarr.open_group(session.store)["air/temperature"][8, 2] = 0.5
    session.commit("a region by xarray, an element by zarr")


@step
def check_air():
    dataset = xr.open_zarr(reading(), group="air")
    expected = air(range(11))
    expected.temperature[2:4] = -1
    expected.temperature[8, 2] = 0.5
    expected.temperature[9:] = 5
    expected.wind[:, 9:] = 6
    xr.testing.assert_equal(dataset, expected)
    assert dataset.temperature.attrs["units"] == "K"


@step
def documented():
    """Runs what the user's page shows, but for where the database is."""
    page = pathlib.Path(__file__).parents[3] / "docs/cluster.md"
    where, what = re.findall("^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    compile(where, page, "exec")
    shown = {"storage": storage()}
    exec(what, shown)
    assert shown["sst"].shape == (60, 12) and shown["dataset"].sst.shape == (60, 12)


@step
def replace_attributes(name):
    with changing() as here:
        here[name].attrs.put({"only": "this"})


@step
def copy_air():
    session = repository().writable_session("main")
    xr.open_zarr(session.store, group="air").load().to_zarr(session.store, group="copy")
    session.commit("a copy by xarray")


@step
def values(name):
    array = np.asarray(group()[name][...])
    if array.dtype.kind == "f":
        return json.dumps([None if np.isnan(value) else float(value) for value in array.ravel()])
    return json.dumps([float(value) for value in array.ravel()])


@step
def make():
    session = repository().writable_session("main")
    here = zarr.open_group(session.store).create_group("zarr")
    rows = np.arange(1000.0).reshape(100, 10)

    def add(name, values, chunks, **options):
        here.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks, **options)[...] = values

    add("big_endian", rows, (7, 10), serializer=BytesCodec(endian="big"), compressors=None)
    add("zstd", rows, (7, 10), compressors=ZstdCodec(level=5))
    add("tiles", rows, (30, 4))
    add("three_axes", rows.reshape(10, 20, 5), (3, 7, 5))
    n = np.arange(50)
    add("flags", n % 2 == 1, (7,))
    add("times", n.astype("M8[s]"), (7,), fill_value=0)
    positions = np.zeros(50, dtype=[("x", "<f4"), ("y", "<f4")])
    positions["x"], positions["y"] = n, -n
    add("positions", positions, (7,))
    add("scalar", np.array(3.5), ())

    here = zarr.open_group(session.store).create_group("unreadable")
    here.create_array("strings", shape=(2,), dtype="string", chunks=(2,))[:] = ["a", "b"]
    add("gzip", rows, (7, 10), compressors=GzipCodec())
    add("shards", rows, (5, 10), shards=(20, 10))
    with zarr.config.set({"array.rectilinear_chunks": True}):
        add("uneven", rows, [[30, 70], [10]])

    filled = np.where(n // 10 == 1, n, np.nan)
    dataset = xr.Dataset(
        {
            "filled": ("time", filled),
            "counts": ("time", n),
            "writable": ("time", n.astype("f4")),
        },
        coords={"time": pd.date_range("2000-01-01", periods=50, freq="h"), "level": 2.5},
    )
    # xarray's fill value of floats is NaN, unless it is told.
    dataset.to_zarr(
        session.store,
        group="xarray",
        encoding={"filled": {"chunks": [10]}, "writable": {"chunks": [7], "fill_value": 0.0}},
    )
    assert zarr.open_group(session.store)["xarray/filled"].nchunks_initialized == 1
    session.commit("arrays of all kinds")


@step
def make_resized():
    with changing() as here:
        here.create_array("line", shape=100, chunks=100, dtype="f8", compressors=None)[:] = np.arange(100) + 1
        here.create_array("rows", shape=(4, 10), chunks=(1, 10), dtype="f8")[:] = np.arange(40).reshape(4, 10) + 1
        here.create_array("low_tiles", shape=(20, 8), chunks=(30, 4), dtype="f8")[:] = np.arange(160).reshape(20, 8) + 1
        here.create_array("wide_tiles", shape=(30, 8), chunks=(30, 4), dtype="f8")[:] = np.arange(240).reshape(30, 8) + 1
        here.create_array("filled", shape=100, chunks=1000, dtype="f8", fill_value=np.nan)


@step
def resize(number):
    shapes = {
        "1": {"line": (50,), "rows": (4, 20), "low_tiles": (30, 8), "wide_tiles": (30, 16), "filled": (150,)},
        "2": {"line": (100,), "rows": (4, 10), "low_tiles": (10, 8), "wide_tiles": (30, 6), "filled": (120,)},
        "3": {"line": (1000,), "rows": (8, 10), "low_tiles": (25, 8), "wide_tiles": (20, 8), "filled": (2000,)},
    }
    with changing() as here:
        for name, shape in shapes[number].items():
            here[name].resize(shape)


# Turns: `turns.rs`.


@step
def create(version):
    Opened.repository = icechunk.Repository.create(storage(), spec_version=int(version))


@step
def make_counter():
    session = repository().writable_session("main")
    zarr.open_group(session.store).create_array("counter", shape=3, chunks=3, dtype="i8")
    session.commit("made")


@step
def count():
    session = repository().writable_session("main")
    counter = zarr.open_group(session.store)["counter"]
    counter[0] += 1
    counter.append(np.array([-counter[0]], dtype="i8"))
    return session.commit("counted")


@step
def count_at(version):
    return int(group(**({"branch": version} if version == "main" else {"tag": version}))["counter"][0])


@step
def tag(name):
    repository().create_tag(name, repository().lookup_branch("main"))


@step
def reset(name):
    repository().reset_branch("main", repository().lookup_tag(name))


@step
def amend():
    session = repository().writable_session("main")
    zarr.open_group(session.store)["counter"][0] += 1
    session.amend("amended")


@step
def expire_and_collect():
    now = datetime.datetime.now(datetime.UTC)
    repository().expire_snapshots(older_than=now)
    return repository().garbage_collect(now).chunks_deleted


@step
def touch():
    with changing() as here:
        here["a10"][0] = -1
        here.create_array("python", shape=5000, chunks=1000, dtype="f8")[:] = noise(7)


@step
def check_touched():
    here = group()
    expected = noise(10)
    expected[0] = -1
    assert np.array_equal(here["a10"][:], expected)
    assert np.array_equal(here["python"][:], noise(7))
    for number in range(11, 21):
        assert np.array_equal(here[f"a{number}"][:], noise(number)), number
    for number in range(21):
        assert np.array_equal(group(tag="all")[f"a{number}"][:], noise(number)), number


@step
def check_ours():
    assert np.array_equal(group()["group/ours"][:], np.full(300_000, 4))


# Commits while the other side is at work: `conflicts.rs`. Each says what `holds` can look for afterwards.


@step
def clear():
    names = list(group()) if "main" in repository().list_branches() and has_root() else []
    if names:
        with changing() as here:
            for name in names:
                del here[name]


def has_root():
    try:
        group()
    except FileNotFoundError:
        return False
    return True


@step
def put(name, at):
    return set_range(name, at, int(at) + 1)


@step
def set_range(name, start, end):
    with changing() as here:
        here[name][int(start) : int(end)] = 7
    return f"values {name} {start} {end}"


def node(root, name):
    return root if name == "/" else root[name]


@step
def attribute(name, key):
    with changing() as here:
        node(here, name).attrs[key] = "of Python"
    return f"attribute {name} {key}"


@step
def append(name):
    with changing() as here:
        length = here[name].shape[0]
        here[name].append(np.full(10, 7))
    return f"values {name} {length} {length + 10}"


@step
def shrink(name, length):
    with changing() as here:
        here[name].resize((int(length),))
    return f"length {name} {length}"


@step
def delete(name):
    with changing() as here:
        del here[name]
    return f"no {name}"


@step
def make_anew(name):
    with changing() as here:
        old = here[name]
        array = here.create_array(name, shape=old.shape, chunks=old.chunks, dtype=old.dtype, overwrite=True)
        array[:10] = 7
    return f"values {name} 0 10"


@step
def move(name, other):
    session = repository().rearrange_session("main")
    session.move(f"/{name}", f"/{other}")
    session.commit("moved")
    return f"no {name}"


@step
def rewrite_manifests():
    repository().rewrite_manifests("rewritten", branch="main")
    return "length b 327680"


@step
def holds(what, name, *arguments):
    here = group()
    held = {
        "no": lambda: name not in here,
        "length": lambda length: here[name].shape == (int(length),),
        "attribute": lambda key: node(here, name).attrs[key] == "of Python",
        "number": lambda key, number: node(here, name).attrs[key] == int(number),
        "element": lambda at, value: int(here[name][int(at)]) == int(value),
        "values": lambda start, end: bool(np.all(here[name][int(start) : int(end)] == 7)),
    }
    return "yes" if held[what](*arguments) else "no"


@step
def begin(name, at, value):
    Opened.session = repository().writable_session("main")
    zarr.open_group(Opened.session.store)[name][int(at)] = int(value)


@step
def commit(**options):
    try:
        Opened.session.commit("behind", **options)
    except (icechunk.ConflictError, icechunk.RebaseFailedError) as error:
        return type(error).__name__
    return "committed"


@step
def commit_rebased():
    return commit(rebase_with=icechunk.ConflictDetector())


for line in sys.stdin:
    name, *arguments = line.split()
    answer = STEPS[name](*arguments)
    print(f"\n> {'done' if answer is None else answer}", flush=True)
