//! Fax codes: rows of black and white as the lengths of their runs (ITU-T T.4, Group 3) or as
//! their differences from the row above (T.4 two-dimensional, and T.6, Group 4).
//!
//! A run ends where a color changes, so a row is kept as the ascending positions of its changes,
//! the first one from white to black.

use std::convert::Infallible;

use fax::BitReader;
use fax::maps::{Mode, black, mode, white};

use super::super::ImageError;
use super::{damaged, truncated};

/// How rows follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fax {
    /// Runs alone, each row beginning at a multiple of so many bits (compressions 2 and 32771).
    Aligned(usize),
    /// Group 3: rows with a mark in front of each, which may tell whether it has two dimensions.
    Group3 { has_two_dimensions: bool },
    /// Group 4: differences alone.
    Group4,
}

impl Fax {
    /// Decodes as many rows of `width` pixels as `out` has room for, one bit a pixel, 1 for black,
    /// each row beginning at a whole byte. `out` must be zero.
    ///
    /// # Errors
    ///
    /// If the data end before the rows do or a Group 4 code does not exist. A damaged row of Group
    /// 3 stays as it is up to there.
    pub(super) fn decode(
        self,
        data: &[u8],
        width: usize,
        out: &mut [u8],
    ) -> Result<(), ImageError> {
        let mut bits = Bits { data, at: 0 };
        let (mut above, mut row) = (Vec::new(), Vec::new());
        for out in out.chunks_exact_mut(width.div_ceil(8)) {
            row.clear();
            match self {
                Self::Aligned(multiple) => {
                    bits.at = bits.at.next_multiple_of(multiple);
                    bits.runs(width, &mut row).ok_or_else(|| bits.flaw())?;
                }
                Self::Group3 { has_two_dimensions } => {
                    let marks = bits.skip_marks();
                    if marks > 1 {
                        return Ok(()); // the end of the data: the rest is white
                    }
                    if bits.is_at_end() {
                        return Err(truncated());
                    }
                    let is_plain = !has_two_dimensions || marks == 0 || bits.take(1) == 1;
                    let whole = if is_plain {
                        bits.runs(width, &mut row)
                    } else {
                        bits.differences(width, &above, &mut row)?
                    };
                    if whole.is_none() && !bits.seek_mark() {
                        return Err(truncated());
                    }
                }
                Self::Group4 => match bits.differences(width, &above, &mut row)? {
                    Some(()) => {}
                    None => return Ok(()), // the end of the block: the rest is white
                },
            }
            paint(&row, width, out);
            std::mem::swap(&mut above, &mut row);
        }
        Ok(())
    }
}

/// Sets the bits between each change to black and the next one to white.
fn paint(changes: &[usize], width: usize, out: &mut [u8]) {
    for run in changes.chunks(2) {
        let end = run.get(1).copied().unwrap_or(width);
        for x in run[0]..end {
            out[x / 8] |= 0x80 >> (x % 8);
        }
    }
}

/// Bits of the data, the highest of each byte first, zeros after the last.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// Reads runs, white and black in turn, until they fill a row; `None` where a code does not
    /// exist.
    fn runs(&mut self, width: usize, row: &mut Vec<usize>) -> Option<()> {
        let (mut at, mut is_black) = (0, false);
        loop {
            at += self.run(is_black)?;
            if at >= width {
                return Some(());
            }
            change(row, at);
            is_black = !is_black;
        }
    }

    /// The length of a run: any number of multiples of 64, then the rest.
    fn run(&mut self, is_black: bool) -> Option<usize> {
        let mut length = 0;
        loop {
            let code = if is_black { black::decode(self)? } else { white::decode(self)? };
            length += usize::from(code);
            if code < 64 {
                return Some(length);
            }
        }
    }

    /// Reads a row as differences from the one above; `None` at the end of the block and where a
    /// row breaks off at a mark.
    fn differences(
        &mut self,
        width: usize,
        above: &[usize],
        row: &mut Vec<usize>,
    ) -> Result<Option<()>, ImageError> {
        // Where the row is known up to; a change above the very first pixel lies after it.
        let (mut known, mut is_start, mut is_black) = (0, true, false);
        let mut next = 0;
        loop {
            while next > 0 && above[next - 1] > known {
                next -= 1;
            }
            while above.get(next).is_some_and(|&at| at < known || at == known && !is_start) {
                next += 1;
            }
            // The change above must be to the other color.
            let b1 = next + usize::from(next.is_multiple_of(2) == is_black);
            let place = |index: usize| above.get(index).copied().unwrap_or(width);
            match mode::decode(self).ok_or_else(|| self.flaw())? {
                Mode::Pass => known = place(b1 + 1),
                Mode::Vertical(delta) => {
                    let at = place(b1).checked_add_signed(delta.into());
                    let at = at.filter(|&at| at >= known).ok_or_else(|| damaged(BAD_CODE))?;
                    if at < width {
                        change(row, at);
                    }
                    (known, is_black) = (at, !is_black);
                }
                Mode::Horizontal => {
                    for is_black in [is_black, !is_black] {
                        known += self.run(is_black).ok_or_else(|| self.flaw())?;
                        if known < width {
                            change(row, known);
                        }
                    }
                }
                Mode::EOF => return Ok(None),
                Mode::Extension => return Err(super::variant("uncompressed parts in fax codes")),
            }
            if known >= width {
                return Ok(Some(()));
            }
            is_start = false;
        }
    }

    /// Skips the marks between rows, eleven or more zeros and a one, and says how many there were.
    fn skip_marks(&mut self) -> usize {
        let mut marks = 0;
        loop {
            let start = self.at;
            while !self.is_at_end() && self.peek_bits(1) == 0 {
                self.at += 1;
            }
            if self.is_at_end() {
                return marks;
            }
            if self.at < start + 11 {
                self.at = start;
                return marks;
            }
            self.at += 1;
            marks += 1;
        }
    }

    /// Goes to the next mark; false where there is none.
    fn seek_mark(&mut self) -> bool {
        while !self.is_at_end() {
            if self.peek_bits(12) == 1 {
                return true;
            }
            self.at += 1;
        }
        false
    }

    fn is_at_end(&self) -> bool {
        self.at >= 8 * self.data.len()
    }

    /// What is wrong where a code does not exist.
    fn flaw(&self) -> ImageError {
        if self.at + LONGEST_CODE > 8 * self.data.len() { truncated() } else { damaged(BAD_CODE) }
    }

    fn take(&mut self, count: usize) -> u16 {
        let value = self.peek_bits(count);
        self.at += count;
        value
    }

    /// The next up to 16 bits.
    fn peek_bits(&self, count: usize) -> u16 {
        let byte = |i: usize| self.data.get(self.at / 8 + i).copied().unwrap_or(0);
        let word = u32::from_be_bytes([byte(0), byte(1), byte(2), 0]) << (self.at % 8);
        if count == 0 { 0 } else { (word >> (32 - count)) as u16 }
    }
}

impl BitReader for Bits<'_> {
    type Error = Infallible;

    fn peek(&self, bits: u8) -> Option<u16> {
        (bits <= 16 && !self.is_at_end()).then(|| self.peek_bits(bits.into()))
    }

    fn consume(&mut self, bits: u8) -> Result<(), Infallible> {
        self.at += usize::from(bits);
        Ok(())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        ((8 - self.at % 8) % 8) as u8
    }
}

/// Adds a change; two at one place are none.
fn change(row: &mut Vec<usize>, at: usize) {
    if row.last() == Some(&at) {
        row.pop();
    } else {
        row.push(at);
    }
}

/// Bits of the longest code, which is that of a long black run.
const LONGEST_CODE: usize = 13;

const BAD_CODE: &str = "a fax code that does not exist";
