//! Arrays as Zarr v3 has them: metadata, chunk grids, codecs. No input or output.
