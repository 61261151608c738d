//! Every block survives compression, a block that hardly shrinks is not compressed, and decompressing other bytes is an
//! error, never a panic and never bytes.

use bigarray_testing::Rng;
use proptest::prelude::*;

use super::*;

/// All codecs that are compiled in, without the slowest levels.
fn codecs() -> Vec<Codec> {
    let mut codecs = Vec::new();
    for shuffle in [false, true] {
        codecs.push(Codec::Lz4 { shuffle });
        codecs.extend([1, 3, 9].map(|level| Codec::Zstd { level, shuffle }));
    }
    codecs.retain(|codec| check(*codec).is_ok());
    codecs
}

/// A block of bytes between zeros and noise.
fn block() -> impl Strategy<Value = Vec<u8>> {
    (1..=16_usize, any::<u64>(), 0..=8_u32).prop_map(|(pages, seed, bits)| {
        let mut bytes = vec![0; pages * PAGE];
        Rng::new(seed).fill(&mut bytes);
        bytes.iter_mut().for_each(|byte| *byte &= ((1_u32 << bits) - 1) as u8);
        bytes
    })
}

fn unpack(packed: &Packed, payload: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0xee; len];
    Unpacker::default().unpack(packed, &mut bytes, |buf| {
        assert_eq!(buf.len(), packed.bytes as usize);
        buf.copy_from_slice(&payload[..buf.len()]);
        Ok(())
    })?;
    Ok(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_block_survives_compression_or_does_not_shrink(blocks in proptest::collection::vec((block(), 1..20_usize), 1..4)) {
        for codec in codecs() {
            // Buffers are reused.
            let mut packer = Packer::default();
            for (block, item) in &blocks {
                let pages = (block.len() / PAGE) as u32;
                let Some((packed, payload)) = packer.pack(codec, *item, block, pages).unwrap() else { continue };
                prop_assert!(packed.pages() * 8 <= pages * 7);
                prop_assert_eq!(payload.len(), packed.pages() as usize * PAGE);
                prop_assert!(payload[packed.bytes as usize..].iter().all(|byte| *byte == 0));
                prop_assert_eq!(&unpack(&packed, payload, block.len()).unwrap(), block);
            }
        }
    }

    #[test]
    fn a_changed_byte_is_corrupt(block in block(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        for codec in codecs() {
            let pages = (block.len() / PAGE) as u32;
            let mut packer = Packer::default();
            let Some((packed, payload)) = packer.pack(codec, 4, &block, pages).unwrap() else { continue };
            let mut payload = payload.to_vec();
            payload[at.index(packed.bytes as usize)] ^= 1 << bit;
            prop_assert!(unpack(&packed, &payload, block.len()).unwrap_err().is_corrupt());
        }
    }

    #[test]
    fn garbage_with_a_checksum_that_fits_is_corrupt_or_a_whole_block(
        garbage in proptest::collection::vec(any::<u8>(), 1..300), cut in any::<prop::sample::Index>(), item in 0..9_u16,
    ) {
        let block = vec![7; 3 * PAGE];
        for codec in codecs() {
            let mut packer = Packer::default();
            let (packed, payload) = packer.pack(codec, 4, &block, 3).unwrap().unwrap();
            // The right beginning, cut short or followed by garbage.
            let begins = &payload[..cut.index(packed.bytes as usize)];
            for forged in [garbage.clone(), begins.to_vec(), [begins, &garbage].concat()] {
                let encoding = Encoding { shuffled_by: item, ..packed.encoding };
                let told = Packed { encoding, bytes: forged.len() as u32, sum: crc32c::crc32c(&forged) };
                if let Err(e) = unpack(&told, &forged, block.len()) {
                    prop_assert!(e.is_corrupt(), "{}", e);
                }
            }
        }
    }
}

#[test]
fn a_block_of_another_length_is_corrupt() {
    for codec in codecs() {
        let mut packer = Packer::default();
        let (packed, payload) = packer.pack(codec, 8, &vec![3; 4 * PAGE], 4).unwrap().unwrap();
        for pages in [3, 5] {
            assert!(unpack(&packed, payload, pages * PAGE).unwrap_err().is_corrupt(), "{codec}");
        }
    }
}

#[test]
fn noise_and_single_pages_are_left_as_they_are() {
    let mut noise = vec![0; 16 * PAGE];
    Rng::new(1).fill(&mut noise);
    for codec in codecs() {
        assert!(Packer::default().pack(codec, 8, &noise, 16).unwrap().is_none(), "{codec}");
        // A block of which one page is stored takes no less compressed.
        assert!(Packer::default().pack(codec, 8, &vec![0; 16 * PAGE], 1).unwrap().is_none(), "{codec}");
    }
    assert!(Packer::default().pack(Codec::None, 8, &vec![0; 16 * PAGE], 16).unwrap().is_none());
}

#[test]
fn shuffling_makes_smooth_numbers_smaller() {
    let smooth: Vec<u8> = (0..16 * PAGE / 4).flat_map(|i| (280.0 + i as f32 / 1000.0).to_le_bytes()).collect();
    let bytes =
        |codec| Packer::default().pack(codec, 4, &smooth, 16).unwrap().map_or(smooth.len() as u32, |p| p.0.bytes);
    for (plain, shuffled) in [
        (Codec::Lz4 { shuffle: false }, Codec::Lz4 { shuffle: true }),
        (Codec::Zstd { level: 3, shuffle: false }, Codec::Zstd { level: 3, shuffle: true }),
    ] {
        if check(plain).is_ok() {
            assert!(bytes(shuffled) < bytes(plain) * 3 / 4, "{} against {} bytes", bytes(shuffled), bytes(plain));
        }
    }
}

#[test]
fn a_level_that_there_is_not_is_invalid() {
    for level in [i32::MIN, -1, 0, 23, i32::MAX] {
        let error = check(Codec::Zstd { level, shuffle: true }).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(&level.to_string()), "{error}");
    }
    check(Codec::None).unwrap();
}

#[test]
fn a_codec_is_there_exactly_if_it_is_compiled_in() {
    for (codec, name, feature, is_there) in [
        (Codec::Lz4 { shuffle: true }, "LZ4", "`lz4`", cfg!(feature = "lz4")),
        (Codec::Zstd { level: 22, shuffle: false }, "Zstandard", "`zstd`", cfg!(feature = "zstd")),
    ] {
        match check(codec) {
            Ok(()) => assert!(is_there),
            Err(e) => {
                assert!(!is_there && e.is_unsupported(), "{e}");
                assert!(e.to_string().contains(name) && e.to_string().contains(feature), "{e}");
            }
        }
    }
}
