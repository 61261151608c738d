#!/usr/bin/env python3
"""What zarr-python makes of bigarray's arrays, and arrays by it for bigarray.

    arrays.py check DIR   opens each array in DIR, compares it with the file `bytes` beside it, changes and appends to it
    arrays.py write DIR   writes arrays of all kinds to DIR, each with its bytes, and what bigarray should say of it

`src/zarr/tests/interchange.rs` runs both."""

import ast
import pathlib
import sys
import warnings

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

warnings.simplefilter("ignore")


def is_transposed(array):
    return any(codec["name"] == "transpose" for codec in array.metadata.to_dict()["codecs"])


def to_bytes(array):
    """The elements in the order in which they are stored, in little-endian words."""
    values = np.asarray(array[...])
    return values.astype(values.dtype.newbyteorder("<")).tobytes(order="F" if is_transposed(array) else "C")


def check(root):
    group = zarr.open_group(root, mode="r+")
    for name, array in sorted(group.arrays()):
        file = root / name / "bytes"
        dtype = np.dtype(ast.literal_eval(array.attrs["numpy"]))
        codecs = [codec["name"] for codec in array.metadata.to_dict()["codecs"]]
        print(name, array.dtype, array.shape, array.chunks, codecs)
        assert array.dtype == dtype, f"{name}: {array.dtype} is not {dtype}"
        assert array.metadata.dimension_names == tuple(f"{name}_{axis}" for axis in range(array.ndim)), name
        assert to_bytes(array) == file.read_bytes(), f"{name} differs"
        if array.size:
            first, last = (0,) * array.ndim, (-1,) * array.ndim
            array[first] = array[last]
        if array.ndim:
            axis = array.ndim - 1 if is_transposed(array) or array.attrs["bigarray"].get("order") == "F" else 0
            rows = [1 if n == axis else length for n, length in enumerate(array.shape)]
            row = np.frombuffer(np.arange(np.prod(rows) * dtype.itemsize, dtype="u8").astype("u1") % 2, dtype=dtype)
            array.append(row.reshape(rows), axis=axis)
        file.write_bytes(to_bytes(array))


def write(root):
    def add(name, values, chunks, **options):
        array = zarr.create_array(root / name, shape=values.shape, dtype=values.dtype, chunks=chunks, **options)
        array[...] = values
        return finish(array, name)

    def finish(array, name, read_only=False):
        (root / name / "bytes").write_bytes(to_bytes(array))
        dtype = array.dtype.newbyteorder("<")
        (root / name / "dtype").write_text(str(dtype.descr if dtype.names else dtype.str))
        if read_only:
            (root / name / "read_only").touch()
        return array

    def unreadable(name, reason):
        (root / name / "unreadable").write_text(reason)

    rows = np.arange(1000.0).reshape(100, 10)
    for name, options in {
        "plain": {"compressors": None},
        "default": {},
        "zstd": {"compressors": ZstdCodec(level=5, checksum=True)},
        "zstd_crc32c": {"compressors": [ZstdCodec(level=-3), Crc32cCodec()]},
        "blosc": {"compressors": BloscCodec()},
        "blosc_lz4": {"compressors": BloscCodec(cname="lz4", shuffle="bitshuffle", clevel=1)},
        "blosc_lz4hc": {"compressors": BloscCodec(cname="lz4hc", shuffle="noshuffle")},
        "blosc_blosclz": {"compressors": [BloscCodec(cname="blosclz", clevel=9, blocksize=1024), Crc32cCodec()]},
        "blosc_stored": {"compressors": BloscCodec(cname="zstd", clevel=0)},
        "crc32c": {"compressors": Crc32cCodec()},
        "f_order": {"filters": TransposeCodec(order=(1, 0))},
        "big_endian": {"serializer": BytesCodec(endian="big"), "compressors": None},
    }.items():
        add(name, rows, (100, 3) if name == "f_order" else (7, 10), **options)
    for dtype in ["?", "i1", "u2", "i4", "u8", "f2", "f4", "c8", "c16", "M8[ns]", "m8[10s]", "S5", "U3", "V4"]:
        values = np.arange(50, dtype="u8")
        if dtype == "V4":
            values = np.frombuffer(values.astype("u4").tobytes(), dtype="V4")
        else:
            values = values.astype("M8[ns]") if dtype[0] == "M" else values.astype(dtype)
        # Times would be "not a time" where nothing is stored.
        fill = {"fill_value": 0} if dtype[0] in "mM" else {}
        add("of_" + dtype.translate(str.maketrans("?[]", "b__")), values, (7,), **fill)
        if dtype not in ("?", "i1", "S5", "V4"):
            add("big_" + dtype.translate(str.maketrans("[]", "__")), values, (7,), serializer=BytesCodec(endian="big"), **fill)
    record = np.zeros(50, dtype=[("a", "u1"), ("b", "f8"), ("in", [("c", "c8"), ("d", "S3")])])
    record["a"], record["b"], record["in"]["c"] = np.arange(50), np.arange(50) / 3, np.arange(50) * 1j
    add("record", record, (7,))
    add("big_record", record, (7,), serializer=BytesCodec(endian="big"))
    add("three_axes", rows.reshape(10, 20, 5), (1, 7, 5))
    add("no_axes", np.array(3.5), ())

    # Chunks that are no runs of the array.
    finish(add("tiles", rows, (30, 4)), "tiles", read_only=True)
    finish(add("f_tiles", rows, (30, 4), filters=TransposeCodec(order=(1, 0))), "f_tiles", read_only=True)

    # Chunks that are not there, of another value.
    array = zarr.create_array(root / "nan", shape=(100, 10), dtype="f4", chunks=(7, 10), fill_value=float("nan"))
    array[20:30] = 1
    finish(array, "nan")
    array = zarr.create_array(root / "ones", shape=(100,), dtype="f2", chunks=(7,), fill_value=1.5)
    finish(array, "ones")

    # Values stay behind the edge of an array that shrinks.
    array = add("shrunk", rows, (7, 10))
    array.resize((10, 10))
    finish(array, "shrunk")

    add("gzip", rows, (7, 10), compressors=GzipCodec())
    unreadable("gzip", "gzip")
    add("shards", rows, (5, 10), shards=(20, 10))
    unreadable("shards", "sharding_indexed")
    zarr.create_array(root / "strings", shape=(2,), dtype="string", chunks=(2,))
    unreadable("strings", "string")
    add("blosc_zlib", rows, (7, 10), compressors=BloscCodec(cname="zlib"))
    unreadable("blosc_zlib", "zlib")
    add("axes_turned", rows.reshape(10, 20, 5), (10, 20, 5), filters=TransposeCodec(order=(1, 0, 2)))
    unreadable("axes_turned", "[1, 0, 2]")


{"check": check, "write": write}[sys.argv[1]](pathlib.Path(sys.argv[2]))
