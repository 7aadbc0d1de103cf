//! Huffman codes and the four kinds of scans that hold a picture's coefficients
//! (ITU-T T.81, annexes F and G).

use super::JpegError;

/// A table of Huffman codes: short ones by one look-up, long ones by their length.
#[derive(Clone)]
pub(super) struct Huffman {
    /// Length and symbol of the code that begins with these bits; length 0 where it is longer.
    short: Vec<(u8, u8)>,
    /// The first code of each length that is not of this length or shorter, at the left of 16 bits.
    beyond: [u32; 17],
    /// What to add to a code of each length to find its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// A table from the number of codes of each length 1 to 16 and the symbols in order of code.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, JpegError> {
        let mut table = Self {
            short: vec![(0, 0); 1 << SHORT_BITS],
            beyond: [0; 17],
            offset: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            table.offset[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                let Some(&symbol) = symbols.get(index).filter(|_| code < 1 << length) else {
                    return Err(JpegError::Damaged("a Huffman table that overflows"));
                };
                if length <= SHORT_BITS {
                    let from = (code << (SHORT_BITS - length)) as usize;
                    table.short[from..from + (1 << (SHORT_BITS - length))]
                        .fill((length as u8, symbol));
                }
                (code, index) = (code + 1, index + 1);
            }
            table.beyond[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }
}

/// Bits of entropy-coded data up to the next marker; zeros from there on.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
    /// Zero bits among those held that no byte stands for.
    padding: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, count: 0, padding: 0 }
    }

    /// Where the marker is that ended the data, or will.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Whether more bits were taken than there are.
    pub(super) fn is_overrun(&self) -> bool {
        self.padding > self.count
    }

    /// Whether the file, not a marker, ended the data.
    pub(super) fn is_at_end(&self) -> bool {
        self.at + 1 >= self.bytes.len()
    }

    /// Goes behind the next restart marker if one comes before any other marker.
    pub(super) fn restart(&mut self) {
        (self.held, self.count, self.padding) = (0, 0, 0);
        while let Some(&[first, second]) = self.bytes.get(self.at..self.at + 2) {
            match (first, second) {
                (0xff, 0xd0..=0xd7) => {
                    self.at += 2;
                    return;
                }
                (0xff, 0x01..=0xfe) => break,
                _ => self.at += 1,
            }
        }
        // Nothing is left for this interval: what is read from here on is missing.
        self.padding = 1;
    }

    /// Holds at least 32 bits.
    #[inline]
    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match self.bytes.get(self.at) {
                Some(&0xff) if self.bytes.get(self.at + 1) == Some(&0) => {
                    self.at += 2;
                    0xff
                }
                Some(&0xff) | None => {
                    self.padding += 8;
                    0
                }
                Some(&byte) => {
                    self.at += 1;
                    byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline]
    fn drop(&mut self, bits: u32) {
        self.held <<= bits;
        self.count -= bits;
    }

    /// The next `bits` (at most 16) as a number.
    #[inline]
    fn take(&mut self, bits: u32) -> i32 {
        if bits == 0 {
            return 0;
        }
        if self.count < 32 {
            self.fill();
        }
        let value = (self.held >> (64 - bits)) as i32;
        self.drop(bits);
        value
    }

    /// A number of `bits` that begins with its sign: 0 for the negative ones (T.81 F.2.2.1).
    #[inline]
    fn signed(&mut self, bits: u32) -> i32 {
        let value = self.take(bits);
        if bits > 0 && value < 1 << (bits - 1) { value + 1 - (1 << bits) } else { value }
    }

    /// The next symbol; 0 for bits that are no code, as in the reference.
    #[inline]
    fn symbol(&mut self, table: &Huffman) -> u8 {
        if self.count < 32 {
            self.fill();
        }
        let (length, symbol) = table.short[(self.held >> (64 - SHORT_BITS)) as usize];
        if length > 0 {
            self.drop(length.into());
            return symbol;
        }
        let next = (self.held >> 48) as u32;
        for length in SHORT_BITS + 1..=16 {
            if next < table.beyond[length as usize] {
                self.drop(length);
                let index = (next >> (16 - length)) as i32 + table.offset[length as usize];
                return table.symbols.get(index as usize).copied().unwrap_or(0);
            }
        }
        self.drop(16);
        0
    }
}

/// What a scan says about the coefficients in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Band {
    /// First and last coefficient, in zigzag order.
    pub(super) first: usize,
    pub(super) last: usize,
    /// The bit that an earlier scan ended with, 0 if there was none; the bit this one ends with.
    pub(super) high: u32,
    pub(super) low: u32,
}

/// The state of a scan between blocks: until the next restart.
#[derive(Default)]
pub(super) struct State {
    /// The last DC of each component in the scan.
    pub(super) dc: [i32; 4],
    /// Blocks to come that have no more coefficients in this band.
    empty_blocks: u32,
}

/// Reads a block of a sequential picture.
pub(super) fn sequential(
    bits: &mut Bits<'_>,
    dc: &Huffman,
    ac: &Huffman,
    last_dc: &mut i32,
    block: &mut [i16; 64],
) {
    let size = bits.symbol(dc).into();
    *last_dc = last_dc.wrapping_add(bits.signed(u32::min(size, 16)));
    block[0] = *last_dc as i16;
    coefficients(bits, ac, Band { first: 1, last: 63, high: 0, low: 0 }, block);
}

/// Reads coefficients of a band until it is full or a symbol ends it early: the run of that symbol.
fn coefficients(
    bits: &mut Bits<'_>,
    ac: &Huffman,
    band: Band,
    block: &mut [i16; 64],
) -> Option<u32> {
    let mut k = band.first;
    while k <= band.last {
        let (run, size) = split(bits.symbol(ac));
        if size == 0 {
            if run < 15 {
                return Some(run);
            }
            k += 16;
            continue;
        }
        k += run as usize;
        let value = bits.signed(size) << band.low;
        block[*ZIGZAG.get(k)?] = value as i16;
        k += 1;
    }
    None
}

/// Reads the DC of a block of a progressive picture: first its high bits, later one more.
pub(super) fn progressive_dc(
    bits: &mut Bits<'_>,
    dc: Option<&Huffman>,
    band: Band,
    last_dc: &mut i32,
    block: &mut [i16; 64],
) {
    match dc.filter(|_| band.high == 0) {
        Some(dc) => {
            let size = bits.symbol(dc).into();
            *last_dc = last_dc.wrapping_add(bits.signed(u32::min(size, 16)));
            block[0] = (*last_dc << band.low) as i16;
        }
        None => block[0] |= (bits.take(1) << band.low) as i16,
    }
}

/// Reads the high bits of a band of a block.
pub(super) fn progressive_first(
    bits: &mut Bits<'_>,
    ac: &Huffman,
    band: Band,
    state: &mut State,
    block: &mut [i16; 64],
) {
    if state.empty_blocks > 0 {
        state.empty_blocks -= 1;
        return;
    }
    if let Some(run) = coefficients(bits, ac, band, block) {
        state.empty_blocks = (1 << run) - 1 + bits.take(run) as u32;
    }
}

/// Reads one more bit of a band of a block: of every coefficient that has some, and the first of
/// those that had none (T.81 G.1.2.3).
pub(super) fn progressive_more(
    bits: &mut Bits<'_>,
    ac: &Huffman,
    band: Band,
    state: &mut State,
    block: &mut [i16; 64],
) {
    let bit = 1i16 << band.low;
    let refine = |bits: &mut Bits<'_>, value: &mut i16| {
        if bits.take(1) == 1 && *value & bit == 0 {
            *value = value.wrapping_add(if *value < 0 { -bit } else { bit });
        }
    };
    let mut k = band.first;
    while state.empty_blocks == 0 && k <= band.last {
        let (mut run, size) = split(bits.symbol(ac));
        let fresh = match size {
            0 if run < 15 => {
                state.empty_blocks = (1 << run) + bits.take(run) as u32;
                break;
            }
            0 => 0,
            _ => [-bit, bit][bits.take(1) as usize],
        };
        while k <= band.last {
            let value = &mut block[ZIGZAG[k]];
            if *value != 0 {
                refine(bits, value);
            } else if run == 0 {
                *value = fresh;
                k += 1;
                break;
            } else {
                run -= 1;
            }
            k += 1;
        }
    }
    if state.empty_blocks > 0 {
        for at in &ZIGZAG[k..=band.last] {
            let value = &mut block[*at];
            if *value != 0 {
                refine(bits, value);
            }
        }
        state.empty_blocks -= 1;
    }
}

/// Run of zeros and size of the value behind it.
fn split(symbol: u8) -> (u32, u32) {
    (u32::from(symbol >> 4), u32::from(symbol & 15))
}

/// Bits of a code that one look-up decodes.
const SHORT_BITS: u32 = 9;

/// The natural position (8 * row + column) of each coefficient in the file's order.
pub(super) const ZIGZAG: [usize; 64] = {
    let (mut table, mut at, mut diagonal) = ([0; 64], 0, 0);
    while diagonal < 15 {
        let mut step = 0;
        while step <= diagonal {
            // Even diagonals go up, odd ones down.
            let (row, column) =
                if diagonal % 2 == 0 { (diagonal - step, step) } else { (step, diagonal - step) };
            if row < 8 && column < 8 {
                table[at] = 8 * row + column;
                at += 1;
            }
            step += 1;
        }
        diagonal += 1;
    }
    table
};
