//! Arithmetic coding (ITU-T T.81, annex D), and the four kinds of scans in it (F.2.4 and G.2).
//!
//! Every decision has a state: a guess of the likelier answer and how sure it is. Which decision
//! meets which state is the coding of a coefficient; the numbers of states are those of tables F.4
//! and F.5.

use super::entropy::{Band, Stream, ZIGZAG};

/// What the file may set about the states (T.81 B.2.4.3), by the number of the table.
#[derive(Clone, Copy)]
pub(super) struct Conditioning {
    /// DC differences up to these are zero and small.
    pub(super) dc: [(u8, u8); 16],
    /// The last coefficient with the states of low ones.
    pub(super) ac: [u8; 16],
}

impl Default for Conditioning {
    fn default() -> Self {
        Self { dc: [(0, 1); 16], ac: [5; 16] }
    }
}

/// Decodes the blocks of a scan.
pub(super) struct Arithmetic<'a> {
    pub(super) stream: Stream<'a>,
    conditioning: Conditioning,
    /// The code, with the bits fetched ahead below it.
    code: u32,
    /// The length of the interval.
    interval: u32,
    /// Bits fetched ahead; negative while the first bytes are missing.
    ahead: i32,
    /// Whether the rest of this interval cannot be read.
    is_lost: bool,
    states: Box<States>,
    /// Of each component in the scan: the last DC, and the first state of the next difference.
    last: [(i32, usize); 4],
}

/// By table: 64 states for DC differences, 256 for other coefficients.
struct States {
    dc: [[u8; 64]; 16],
    ac: [[u8; 256]; 16],
}

impl<'a> Arithmetic<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize, conditioning: Conditioning) -> Self {
        Self {
            stream: Stream::new(bytes, at),
            conditioning,
            code: 0,
            interval: 0,
            ahead: -16,
            is_lost: false,
            states: Box::new(States { dc: [[0; 64]; 16], ac: [[0; 256]; 16] }),
            last: [(0, 0); 4],
        }
    }

    /// Goes past the next restart marker and forgets what was learned.
    pub(super) fn restart(&mut self) {
        self.stream.restart();
        *self.states = States { dc: [[0; 64]; 16], ac: [[0; 256]; 16] };
        (self.code, self.interval, self.ahead, self.is_lost) = (0, 0, -16, false);
        self.last = [(0, 0); 4];
    }

    /// Reads a block of a sequential picture: `part` is the component's number in the scan, `dc`
    /// and `ac` are those of its tables.
    pub(super) fn sequential(
        &mut self,
        (part, dc, ac): (usize, usize, usize),
        block: &mut [i16; 64],
    ) {
        if self.is_lost {
            return;
        }
        let Some(value) = self.difference(part, dc) else { return };
        block[0] = value as i16;
        self.coefficients(ac, Band { first: 1, last: 63, high: 0, low: 0 }, block);
    }

    /// Reads the DC of a block of a progressive picture: first its high bits, later one more.
    pub(super) fn progressive_dc(
        &mut self,
        (part, dc): (usize, usize),
        band: Band,
        block: &mut [i16; 64],
    ) {
        if band.high > 0 {
            if self.even() {
                block[0] |= (1 << band.low) as i16;
            }
        } else if !self.is_lost
            && let Some(value) = self.difference(part, dc)
        {
            block[0] = (value << band.low) as i16;
        }
    }

    /// Reads a band of a block of a progressive picture: first the high bits, later one more.
    pub(super) fn progressive_ac(&mut self, ac: usize, band: Band, block: &mut [i16; 64]) {
        if self.is_lost {
            return;
        }
        if band.high == 0 {
            self.coefficients(ac, band, block);
        } else {
            self.refine(ac, band, block);
        }
    }

    /// Reads a DC difference and adds it up (T.81 figures F.19 to F.24); `None` for an impossible
    /// one.
    fn difference(&mut self, part: usize, table: usize) -> Option<i32> {
        let (last, context) = self.last[part];
        if !self.dc(table, context) {
            self.last[part].1 = 0;
            return Some(last);
        }
        let is_negative = self.dc(table, context + 1);
        let mut at = context + 2 + usize::from(is_negative);
        let mut size = i32::from(self.dc(table, at));
        if size > 0 {
            at = 20;
            while self.dc(table, at) {
                size <<= 1;
                if size == 0x8000 {
                    self.is_lost = true;
                    return None;
                }
                at += 1;
            }
        }
        let (low, high) = self.conditioning.dc[table];
        let sign = 4 * usize::from(is_negative);
        self.last[part].1 = match size {
            _ if size < 1 << low >> 1 => 0,
            _ if size > 1 << high >> 1 => 12 + sign,
            _ => 4 + sign,
        };
        let value = self.magnitude(size, |decoder| decoder.dc(table, at + 14));
        let value = last.wrapping_add(if is_negative { -value } else { value });
        self.last[part].0 = value;
        Some(value)
    }

    /// Reads the coefficients of a band (T.81 figure F.20).
    fn coefficients(&mut self, table: usize, band: Band, block: &mut [i16; 64]) {
        let mut k = band.first;
        while k <= band.last {
            if self.ac(table, 3 * (k - 1)) {
                return;
            }
            while !self.ac(table, 3 * (k - 1) + 1) {
                k += 1;
                if k > band.last {
                    self.is_lost = true;
                    return;
                }
            }
            let is_negative = self.even();
            let mut at = 3 * (k - 1) + 2;
            let mut size = i32::from(self.ac(table, at));
            if size > 0 && self.ac(table, at) {
                size <<= 1;
                at = if k <= usize::from(self.conditioning.ac[table]) { 189 } else { 217 };
                while self.ac(table, at) {
                    size <<= 1;
                    if size == 0x8000 {
                        self.is_lost = true;
                        return;
                    }
                    at += 1;
                }
            }
            let value = self.magnitude(size, |decoder| decoder.ac(table, at + 14));
            let value = if is_negative { -value } else { value };
            block[ZIGZAG[k]] = (value << band.low) as i16;
            k += 1;
        }
    }

    /// Reads one more bit of a band (T.81 G.2.3).
    fn refine(&mut self, table: usize, band: Band, block: &mut [i16; 64]) {
        let bit = 1i16 << band.low;
        let last_known = (1..=band.last).rev().find(|&k| block[ZIGZAG[k]] != 0).unwrap_or(0);
        let mut k = band.first;
        while k <= band.last {
            if k > last_known && self.ac(table, 3 * (k - 1)) {
                return;
            }
            loop {
                let value = block[ZIGZAG[k]];
                if value != 0 {
                    if self.ac(table, 3 * (k - 1) + 2) {
                        let more = if value < 0 { -bit } else { bit };
                        block[ZIGZAG[k]] = value.wrapping_add(more);
                    }
                    break;
                }
                if self.ac(table, 3 * (k - 1) + 1) {
                    block[ZIGZAG[k]] = if self.even() { -bit } else { bit };
                    break;
                }
                k += 1;
                if k > band.last {
                    self.is_lost = true;
                    return;
                }
            }
            k += 1;
        }
    }

    /// A magnitude whose highest bit, or 0, is `size`: one more than its bits say.
    fn magnitude(&mut self, size: i32, mut bit: impl FnMut(&mut Self) -> bool) -> i32 {
        let (mut value, mut mask) = (size, size >> 1);
        while mask > 0 {
            if bit(self) {
                value |= mask;
            }
            mask >>= 1;
        }
        value + 1
    }

    fn dc(&mut self, table: usize, at: usize) -> bool {
        let (next, answer) = self.decide(self.states.dc[table][at]);
        self.states.dc[table][at] = next;
        answer
    }

    fn ac(&mut self, table: usize, at: usize) -> bool {
        let (next, answer) = self.decide(self.states.ac[table][at]);
        self.states.ac[table][at] = next;
        answer
    }

    /// A decision whose answers are equally likely.
    fn even(&mut self) -> bool {
        self.decide(EVEN).1
    }

    /// Decodes a decision (T.81 D.2): its next state and the answer. The upper bit of a state is
    /// the likelier answer, the others are a row of [`ESTIMATES`].
    fn decide(&mut self, state: u8) -> (u8, bool) {
        while self.interval < 0x8000 {
            self.ahead -= 1;
            if self.ahead < 0 {
                // A marker may come early: zeros follow the data as far as they are needed.
                self.code = self.code << 8 | u32::from(self.stream.byte().unwrap_or(0));
                self.ahead += 8;
                if self.ahead < 0 {
                    self.ahead += 1;
                    if self.ahead == 0 {
                        self.interval = 0x8000;
                    }
                }
            }
            self.interval <<= 1;
        }
        let likely = state & 0x80;
        let (size, if_less, if_likely, flips) = ESTIMATES[usize::from(state & 0x7f)];
        let size = u32::from(size);
        let less = (if flips { likely ^ 0x80 } else { likely } | if_less, likely == 0);
        let more = (likely | if_likely, likely != 0);
        self.interval -= size;
        let border = self.interval << self.ahead;
        let is_small = self.interval < size;
        if self.code >= border {
            self.code -= border;
            self.interval = size;
            return if is_small { more } else { less };
        }
        match self.interval < 0x8000 {
            true if is_small => less,
            true => more,
            false => (state, likely != 0),
        }
    }
}

/// The state of decisions that are not learned.
const EVEN: u8 = 113;

/// Size of the less likely part, next states after the less and after the more likely answer, and
/// whether the former changes sides (T.81 table D.3).
#[rustfmt::skip]
const ESTIMATES: [(u16, u8, u8, bool); 128] = {
    let rows = [
        (0x5a1d, 1, 1, 1), (0x2586, 14, 2, 0), (0x1114, 16, 3, 0), (0x080b, 18, 4, 0),
        (0x03d8, 20, 5, 0), (0x01da, 23, 6, 0), (0x00e5, 25, 7, 0), (0x006f, 28, 8, 0),
        (0x0036, 30, 9, 0), (0x001a, 33, 10, 0), (0x000d, 35, 11, 0), (0x0006, 9, 12, 0),
        (0x0003, 10, 13, 0), (0x0001, 12, 13, 0), (0x5a7f, 15, 15, 1), (0x3f25, 36, 16, 0),
        (0x2cf2, 38, 17, 0), (0x207c, 39, 18, 0), (0x17b9, 40, 19, 0), (0x1182, 42, 20, 0),
        (0x0cef, 43, 21, 0), (0x09a1, 45, 22, 0), (0x072f, 46, 23, 0), (0x055c, 48, 24, 0),
        (0x0406, 49, 25, 0), (0x0303, 51, 26, 0), (0x0240, 52, 27, 0), (0x01b1, 54, 28, 0),
        (0x0144, 56, 29, 0), (0x00f5, 57, 30, 0), (0x00b7, 59, 31, 0), (0x008a, 60, 32, 0),
        (0x0068, 62, 33, 0), (0x004e, 63, 34, 0), (0x003b, 32, 35, 0), (0x002c, 33, 9, 0),
        (0x5ae1, 37, 37, 1), (0x484c, 64, 38, 0), (0x3a0d, 65, 39, 0), (0x2ef1, 67, 40, 0),
        (0x261f, 68, 41, 0), (0x1f33, 69, 42, 0), (0x19a8, 70, 43, 0), (0x1518, 72, 44, 0),
        (0x1177, 73, 45, 0), (0x0e74, 74, 46, 0), (0x0bfb, 75, 47, 0), (0x09f8, 77, 48, 0),
        (0x0861, 78, 49, 0), (0x0706, 79, 50, 0), (0x05cd, 48, 51, 0), (0x04de, 50, 52, 0),
        (0x040f, 50, 53, 0), (0x0363, 51, 54, 0), (0x02d4, 52, 55, 0), (0x025c, 53, 56, 0),
        (0x01f8, 54, 57, 0), (0x01a4, 55, 58, 0), (0x0160, 56, 59, 0), (0x0125, 57, 60, 0),
        (0x00f6, 58, 61, 0), (0x00cb, 59, 62, 0), (0x00ab, 61, 63, 0), (0x008f, 61, 32, 0),
        (0x5b12, 65, 65, 1), (0x4d04, 80, 66, 0), (0x412c, 81, 67, 0), (0x37d8, 82, 68, 0),
        (0x2fe8, 83, 69, 0), (0x293c, 84, 70, 0), (0x2379, 86, 71, 0), (0x1edf, 87, 72, 0),
        (0x1aa9, 87, 73, 0), (0x174e, 72, 74, 0), (0x1424, 72, 75, 0), (0x119c, 74, 76, 0),
        (0x0f6b, 74, 77, 0), (0x0d51, 75, 78, 0), (0x0bb6, 77, 79, 0), (0x0a40, 77, 48, 0),
        (0x5832, 80, 81, 1), (0x4d1c, 88, 82, 0), (0x438e, 89, 83, 0), (0x3bdd, 90, 84, 0),
        (0x34ee, 91, 85, 0), (0x2eae, 92, 86, 0), (0x299a, 93, 87, 0), (0x2516, 86, 71, 0),
        (0x5570, 88, 89, 1), (0x4ca9, 95, 90, 0), (0x44d9, 96, 91, 0), (0x3e22, 97, 92, 0),
        (0x3824, 99, 93, 0), (0x32b4, 99, 94, 0), (0x2e17, 93, 86, 0), (0x56a8, 95, 96, 1),
        (0x4f46, 101, 97, 0), (0x47e5, 102, 98, 0), (0x41cf, 103, 99, 0), (0x3c3d, 104, 100, 0),
        (0x375e, 99, 93, 0), (0x5231, 105, 102, 0), (0x4c0f, 106, 103, 0), (0x4639, 107, 104, 0),
        (0x415e, 103, 99, 0), (0x5627, 105, 106, 1), (0x50e7, 108, 107, 0), (0x4b85, 109, 103, 0),
        (0x5597, 110, 109, 0), (0x504f, 111, 107, 0), (0x5a10, 110, 111, 1), (0x5522, 112, 109, 0),
        (0x59eb, 112, 111, 1),
    ];
    let mut table = [(0x5a1d, 113, 113, false); 128];
    let mut row = 0;
    while row < rows.len() {
        let (size, if_less, if_likely, flips) = rows[row];
        table[row] = (size, if_less, if_likely, flips == 1);
        row += 1;
    }
    table
};
