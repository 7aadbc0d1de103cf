//! Huffman codes and the four kinds of scans that hold a picture's coefficients
//! (ITU-T T.81, annexes F and G).

use super::JpegError;

/// A table of Huffman codes: short ones by one look-up, long ones by their length.
#[derive(Clone)]
pub(super) struct Huffman {
    /// Length and symbol of the code that begins with these bits; length 0 where it is longer.
    short: Vec<(u8, u8)>,
    /// What follows the last code of each length.
    limit: [u32; 17],
    /// What to add to a code of each length to find its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
    /// Whether every code fits its length, and none is all ones.
    is_sound: bool,
}

impl Huffman {
    /// A table from the number of codes of each length 1 to 16 and the symbols in order of code.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Self {
        let mut table = Self {
            short: vec![(0, 0); 1 << SHORT_BITS],
            limit: [0; 17],
            offset: [0; 17],
            symbols: symbols.to_vec(),
            is_sound: true,
        };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            table.offset[length as usize] = index as i32 - code as i32;
            if code + u32::from(count) >= 1 << length && count > 0 {
                table.is_sound = false;
                break;
            }
            for &symbol in &symbols[index..index + usize::from(count)] {
                if length <= SHORT_BITS {
                    let from = (code << (SHORT_BITS - length)) as usize;
                    table.short[from..from + (1 << (SHORT_BITS - length))]
                        .fill((length as u8, symbol));
                }
                code += 1;
            }
            index += usize::from(count);
            table.limit[length as usize] = code;
            code <<= 1;
        }
        table
    }

    /// The table, if a scan can be read with it. `is_dc`: it codes sizes of DC differences, which
    /// are at most 15.
    pub(super) fn checked(&self, is_dc: bool) -> Result<&Self, JpegError> {
        if !self.is_sound || is_dc && self.symbols.iter().any(|&size| size > 15) {
            return Err(JpegError::Damaged("a Huffman table with impossible codes"));
        }
        Ok(self)
    }
}

/// Entropy-coded bytes up to a marker.
pub(super) struct Stream<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    /// The marker that stopped the data, read but not acted on.
    pub(super) marker: Option<u8>,
    /// The number of the next restart marker.
    next_restart: u8,
    /// Whether the file ended where a byte was wanted.
    pub(super) is_short: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, marker: None, next_restart: 0, is_short: false }
    }

    /// The next byte of data; `None` from a marker or the end of the file on.
    #[inline]
    pub(super) fn byte(&mut self) -> Option<u8> {
        if self.marker.is_some() {
            return None;
        }
        let byte = self.bytes.get(self.at).copied();
        match byte {
            Some(0xff) => return self.stuffed(),
            Some(_) => self.at += 1,
            None => self.is_short = true,
        }
        byte
    }

    /// What a byte 0xff begins: itself where a zero follows, else a marker (T.81 B.1.1.5).
    fn stuffed(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                0xff => {}
                0 => return Some(0xff),
                _ => {
                    self.marker = Some(byte);
                    return None;
                }
            }
        }
        self.is_short = true;
        None
    }

    /// Goes past the restart marker that is due. Where another marker is, the file is damaged, and
    /// the rule of the reference decides what was lost: a marker that is due soon stays, so that
    /// the intervals before it are empty; any other is skipped.
    pub(super) fn restart(&mut self) {
        let due = self.next_restart;
        self.next_restart = (due + 1) % 8;
        loop {
            let Some(marker) = self.marker.take().or_else(|| next_marker(self.bytes, &mut self.at))
            else {
                self.is_short = true;
                return;
            };
            let ahead = marker.wrapping_sub(0xd0).wrapping_sub(due) % 8;
            match marker {
                ..0xc0 => {}
                0xd0..=0xd7 if matches!(ahead, 0 | 3..=5) => return,
                0xd0..=0xd7 if ahead > 5 => {}
                _ => {
                    self.marker = Some(marker);
                    return;
                }
            }
        }
    }
}

/// Goes past the next marker, whatever lies before it.
pub(super) fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    while let Some(&[first, second]) = bytes.get(*at..*at + 2) {
        *at += 1;
        if first == 0xff && second != 0 && second != 0xff {
            *at += 1;
            return Some(second);
        }
    }
    None
}

/// Bits of entropy-coded data; zeros from a marker on.
pub(super) struct Bits<'a> {
    pub(super) stream: Stream<'a>,
    held: u64,
    count: u32,
    /// Zero bits among those held that no byte stands for.
    padding: u32,
    /// Whether more bits were taken than there were, so that the interval has no more blocks.
    is_spent: bool,
    /// Whether bytes are fetched six at a time.
    is_fast: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        let stream = Stream::new(bytes, at);
        Self { stream, held: 0, count: 0, padding: 0, is_spent: false, is_fast: false }
    }

    /// Begins a unit of the scan; `false` if nothing of it is there.
    ///
    /// When bytes are fetched shows where a file ends without a marker: bits that are held then are
    /// decoded still. So it is done as in the reference: far from the end of the file, and where
    /// `may_hurry`, six bytes at a time.
    pub(super) fn begin(&mut self, blocks: usize, may_hurry: bool) -> bool {
        self.is_spent |= self.padding > self.count;
        let left = self.stream.bytes.len() - self.stream.at;
        self.is_fast = may_hurry && left >= 512 * blocks && self.stream.marker.is_none();
        !self.is_spent
    }

    /// Whether [`Bits::begin`] found nothing left.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Goes past the next restart marker.
    pub(super) fn restart(&mut self) {
        self.is_spent |= self.padding > self.count;
        (self.held, self.count, self.padding) = (0, 0, 0);
        self.stream.restart();
        if self.stream.marker.is_none() {
            self.is_spent = false;
        }
    }

    /// Holds at least `bits`, at most 16.
    #[inline]
    fn fill(&mut self, bits: u32) {
        if self.is_fast {
            if self.count <= 16 {
                (0..6).for_each(|_| self.fetch());
            }
        } else {
            self.fill_slowly(bits);
        }
    }

    #[inline]
    fn fill_slowly(&mut self, bits: u32) {
        if !self.is_fast && self.count < bits {
            while self.count < 57 {
                self.fetch();
            }
        }
    }

    #[inline]
    fn fetch(&mut self) {
        let byte = self.stream.byte().unwrap_or_else(|| {
            self.padding += 8;
            0
        });
        self.held |= u64::from(byte) << (56 - self.count);
        self.count += 8;
    }

    /// The next `bits`, 1 to 16, of those held.
    #[inline]
    fn held(&mut self, bits: u32) -> u32 {
        let value = (self.held >> (64 - bits)) as u32;
        self.held <<= bits;
        self.count -= bits;
        value
    }

    /// The next `bits`, at most 16, as a number.
    #[inline]
    fn take(&mut self, bits: u32) -> i32 {
        if bits == 0 {
            return 0;
        }
        self.fill(bits);
        self.held(bits) as i32
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
        self.fill(SHORT_BITS);
        let (length, symbol) = table.short[(self.held >> (64 - SHORT_BITS)) as usize];
        if length > 0 {
            self.held(length.into());
            return symbol;
        }
        self.fill_slowly(SHORT_BITS + 1);
        let mut code = self.held(SHORT_BITS + 1);
        for length in SHORT_BITS as usize + 1..=16 {
            if code < table.limit[length] {
                let index = code as i32 + table.offset[length];
                return table.symbols.get(index as usize).copied().unwrap_or(0);
            }
            self.fill_slowly(1);
            code = code << 1 | self.held(1);
        }
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
        block[place(k)] = (bits.signed(size) << band.low) as i16;
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
                break;
            } else {
                run -= 1;
            }
            k += 1;
        }
        if fresh != 0 {
            block[place(k)] = fresh;
        }
        k += 1;
    }
    if state.empty_blocks > 0 {
        for k in k..=band.last {
            let value = &mut block[ZIGZAG[k]];
            if *value != 0 {
                refine(bits, value);
            }
        }
        state.empty_blocks -= 1;
    }
}

/// The run of zeros, and the size of the value after it.
fn split(symbol: u8) -> (u32, u32) {
    (u32::from(symbol >> 4), u32::from(symbol & 15))
}

/// Where coefficient `k` is; those beyond the last, which no sound file has, fall on the last.
pub(super) fn place(k: usize) -> usize {
    ZIGZAG.get(k).copied().unwrap_or(63)
}

/// Bits of a code that one look-up decodes.
const SHORT_BITS: u32 = 8;

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
