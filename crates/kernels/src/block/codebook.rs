//! The codebooks of IQ2 and IQ3: the magnitudes of eight or four weights at a time.
//!
//! `codebooks.bin` has them one after the other as `tests/data/make_ggml_blocks.py` writes them: a
//! little-endian u16 for each entry, which says for each weight, the first one lowest, which of the
//! format's levels it has, in two bits (IQ2) or three (IQ3). The values are those of the tables
//! `iq2xxs_grid`, `iq2xs_grid`, `iq2s_grid`, `iq3xxs_grid` and `iq3s_grid` in ggml's
//! `ggml-common.h`.

/// Eight magnitudes in each entry, in the order of its bytes in memory.
pub(crate) type Octets<const ENTRIES: usize> = [u64; ENTRIES];
/// Four magnitudes in each entry, in the order of its bytes in memory.
pub(crate) type Quads<const ENTRIES: usize> = [u32; ENTRIES];

pub(crate) static IQ2_XXS: Octets<256> = octets(0, 0);
pub(crate) static IQ2_XS: Octets<512> = octets(256, 0);
pub(crate) static IQ2_S: Octets<1024> = octets(768, 0);
/// The half of each magnitude, for all of them are even.
pub(crate) static IQ3_XXS: Quads<256> = quads(1792, &IQ3_XXS_HALVES, 0);
pub(crate) static IQ3_S: Quads<512> = quads(2048, &IQ3_S_LEVELS, 0);

/// The same with an offset added that leaves no sign to negative weights.
#[cfg(target_arch = "x86_64")]
pub(crate) mod unsigned {
    use super::{IQ3_S_LEVELS, IQ3_XXS_HALVES, Octets, Quads, octets, quads};

    pub(crate) static IQ2_XXS: Octets<256> = octets(0, 64);
    pub(crate) static IQ2_XS: Octets<512> = octets(256, 64);
    pub(crate) static IQ2_S: Octets<1024> = octets(768, 64);
    pub(crate) static IQ3_XXS: Quads<256> = quads(1792, &IQ3_XXS_HALVES, 32);
    pub(crate) static IQ3_S: Quads<512> = quads(2048, &IQ3_S_LEVELS, 16);
}

/// The eight signs that seven bits stand for: the number of negative weights is even. A set bit is
/// a negative weight.
pub(crate) const fn even_signs(seven: u8) -> u8 {
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

const IQ2_LEVELS: [u8; 3] = [8, 25, 43];
const IQ3_XXS_HALVES: [u8; 8] = [2, 6, 10, 14, 18, 22, 26, 31];
const IQ3_S_LEVELS: [u8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];

static FILE: &[u8; 5120] = include_bytes!("codebooks.bin");

/// The entries from number `first` of the file on, with `offset` added to each magnitude.
const fn octets<const ENTRIES: usize>(first: usize, offset: u8) -> Octets<ENTRIES> {
    let (mut out, mut i) = ([0; ENTRIES], 0);
    while i < ENTRIES {
        let mut weights = [0; 8];
        let mut w = 0;
        while w < 8 {
            weights[w] = IQ2_LEVELS[entry(first + i) >> (2 * w) & 3] + offset;
            w += 1;
        }
        out[i] = u64::from_ne_bytes(weights);
        i += 1;
    }
    out
}

/// As [`octets`].
const fn quads<const ENTRIES: usize>(first: usize, levels: &[u8; 8], offset: u8) -> Quads<ENTRIES> {
    let (mut out, mut i) = ([0; ENTRIES], 0);
    while i < ENTRIES {
        let mut weights = [0; 4];
        let mut w = 0;
        while w < 4 {
            weights[w] = levels[entry(first + i) >> (3 * w) & 7] + offset;
            w += 1;
        }
        out[i] = u32::from_ne_bytes(weights);
        i += 1;
    }
    out
}

const fn entry(i: usize) -> usize {
    FILE[2 * i] as usize | (FILE[2 * i + 1] as usize) << 8
}
