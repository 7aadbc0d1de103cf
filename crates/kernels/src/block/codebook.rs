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

pub(crate) static IQ2_XXS: Octets<256> = octets(first::IQ2_XXS, 0);
pub(crate) static IQ2_XS: Octets<512> = octets(first::IQ2_XS, 0);
pub(crate) static IQ2_S: Octets<1024> = octets(first::IQ2_S, 0);
/// The half of each magnitude, for all of them are even.
pub(crate) static IQ3_XXS: Quads<256> = quads(first::IQ3_XXS, &IQ3_XXS_HALVES, 0);
pub(crate) static IQ3_S: Quads<512> = quads(first::IQ3_S, &IQ3_S_LEVELS, 0);

/// The same with an offset added that leaves no sign to negative weights.
#[cfg(target_arch = "x86_64")]
pub(crate) mod unsigned {
    use super::{IQ3_S_LEVELS, IQ3_XXS_HALVES, Octets, Quads, first, octets, quads};

    pub(crate) static IQ2_XXS: Octets<256> = octets(first::IQ2_XXS, 64);
    pub(crate) static IQ2_XS: Octets<512> = octets(first::IQ2_XS, 64);
    pub(crate) static IQ2_S: Octets<1024> = octets(first::IQ2_S, 64);
    pub(crate) static IQ3_XXS: Quads<256> = quads(first::IQ3_XXS, &IQ3_XXS_HALVES, 32);
    pub(crate) static IQ3_S: Quads<512> = quads(first::IQ3_S, &IQ3_S_LEVELS, 16);
}

/// The entries as they stand in the file, cut into two bytes, which instructions look up for 64
/// indices at once: four weights of two bits in each byte (IQ2), or two of three bits (IQ3).
#[cfg(target_arch = "x86_64")]
pub(crate) mod planes {
    use super::{entry, first};

    /// The first bytes of the entries and the second ones, in tables of 128.
    pub(crate) type Planes<const TABLES: usize> = [[[u8; 128]; TABLES]; 2];
    /// The level of a number, of which only the lower bits count: two of IQ2, three of IQ3.
    pub(crate) type Levels = [u8; 64];

    pub(crate) static IQ2_XXS: Planes<2> = planes(first::IQ2_XXS, 8);
    pub(crate) static IQ2_XS: Planes<4> = planes(first::IQ2_XS, 8);
    pub(crate) static IQ2_S: Planes<8> = planes(first::IQ2_S, 8);
    pub(crate) static IQ3_XXS: Planes<2> = planes(first::IQ3_XXS, 6);
    pub(crate) static IQ3_S: Planes<4> = planes(first::IQ3_S, 6);

    // With the offsets of the unsigned entries above.
    pub(crate) static IQ2_LEVELS: Levels = levels(&super::IQ2_LEVELS, 4, 64);
    pub(crate) static IQ3_XXS_LEVELS: Levels = levels(&super::IQ3_XXS_HALVES, 8, 32);
    pub(crate) static IQ3_S_LEVELS: Levels = levels(&super::IQ3_S_LEVELS, 8, 16);

    /// The entries from number `first` of the file on; the first byte of each holds `bits` bits.
    const fn planes<const TABLES: usize>(first: usize, bits: u32) -> Planes<TABLES> {
        let (mut out, mut i) = ([[[0; 128]; TABLES]; 2], 0);
        while i < TABLES * 128 {
            let entry = entry(first + i);
            out[0][i / 128][i % 128] = (entry & ((1 << bits) - 1)) as u8;
            out[1][i / 128][i % 128] = (entry >> bits) as u8;
            i += 1;
        }
        out
    }

    /// `period` numbers again and again; those without a level do not occur.
    const fn levels(levels: &[u8], period: usize, offset: u8) -> Levels {
        let (mut out, mut i) = ([0; 64], 0);
        while i < 64 {
            if i % period < levels.len() {
                out[i] = levels[i % period] + offset;
            }
            i += 1;
        }
        out
    }
}

/// The eight signs that seven bits stand for: the number of negative weights is even. A set bit is
/// a negative weight.
pub(crate) const fn even_signs(seven: u8) -> u8 {
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

const IQ2_LEVELS: [u8; 3] = [8, 25, 43];
const IQ3_XXS_HALVES: [u8; 8] = [2, 6, 10, 14, 18, 22, 26, 31];
const IQ3_S_LEVELS: [u8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];

/// The number in the file of each codebook's first entry.
mod first {
    pub(super) const IQ2_XXS: usize = 0;
    pub(super) const IQ2_XS: usize = 256;
    pub(super) const IQ2_S: usize = 768;
    pub(super) const IQ3_XXS: usize = 1792;
    pub(super) const IQ3_S: usize = 2048;
}

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
