//! The boxes of a file (ISO/IEC 14496-12, clause 4.2) and the numbers in them.

/// A box.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) kind: [u8; 4],
    /// Where its kind stands in the file.
    pub(super) at: usize,
    /// What follows the header, and where that begins in the file.
    pub(super) body: &'a [u8],
    pub(super) start: usize,
}

impl<'a> Part<'a> {
    /// The boxes in this one, after `skipped` bytes of its body.
    pub(super) fn parts(&self, skipped: usize) -> Option<Vec<Part<'a>>> {
        parts(self.body.get(skipped..)?, self.start + skipped)
    }
}

/// The boxes that follow each other in `bytes`, which begin at `start` of the file. One that is
/// longer than what is left ends there; one that is shorter than its header is an error.
pub(super) fn parts(bytes: &[u8], start: usize) -> Option<Vec<Part<'_>>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while bytes.len() - at >= 8 {
        let mut fields = Fields(&bytes[at..]);
        let short = fields.number(4)?;
        let kind = *fields.take(4)?.first_chunk()?;
        let length = match short {
            0 => u64::MAX,
            1 => fields.number(8)?,
            length => length,
        };
        let header = bytes.len() - at - fields.0.len();
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len() - at);
        let body = bytes[at..][..length].get(header..)?;
        parts.push(Part { kind, at: start + at + 4, body, start: start + at + header });
        at += length;
    }
    Some(parts)
}

/// Big-endian numbers, one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of at most eight bytes; 0 if it has none.
    pub(super) fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The version and the flags that many boxes begin with.
    pub(super) fn version(&mut self) -> Option<(u64, u64)> {
        Some((self.number(1)?, self.number(3)?))
    }
}

/// The samples of a picture, luma and chroma, by the parameter sets in the body of an `hvcC` box
/// (ISO/IEC 14496-15, clause 8.3.2.1); the most if there are several.
pub(super) fn samples(configuration: &[u8]) -> Option<u64> {
    let mut fields = Fields(configuration.get(22..)?);
    let mut most = 0;
    for _ in 0..fields.number(1)? {
        fields.take(1)?;
        for _ in 0..fields.number(2)? {
            let length = fields.number(2)? as usize;
            let unit = fields.take(length)?;
            if unit.first().is_some_and(|head| head >> 1 & 0x3f == SEQUENCE_PARAMETERS) {
                most = most.max(sequence_samples(unit.get(2..)?)?);
            }
        }
    }
    Some(most)
}

/// The same by one sequence parameter set (ITU-T H.265, 7.3.2.2), up to its sides.
fn sequence_samples(unit: &[u8]) -> Option<u64> {
    let mut bits = Bits { bytes: unescaped(unit), at: 0 };
    bits.number(4)?;
    let layers = bits.number(3)?;
    bits.skip(1 + 88 + 8);
    let mut of_layers = 0;
    for _ in 0..layers {
        of_layers += 88 * bits.number(1)? as usize + 8 * bits.number(1)? as usize;
    }
    if layers > 0 {
        bits.skip(2 * (8 - layers as usize) + of_layers);
    }
    bits.golomb()?;
    let format = bits.golomb()?;
    if format == 3 {
        bits.skip(1);
    }
    let pixels = bits.golomb()?.checked_mul(bits.golomb()?)?;
    let chroma = match format {
        0 => 0,
        1 => pixels.div_ceil(2),
        2 => pixels,
        _ => pixels.checked_mul(2)?,
    };
    pixels.checked_add(chroma)
}

/// A unit without the bytes that keep start codes out of it (7.3.1.1).
fn unescaped(unit: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        bytes.push(byte);
    }
    bytes
}

/// Bits from the high end of each byte.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn skip(&mut self, count: usize) {
        self.at += count;
    }

    fn number(&mut self, count: u32) -> Option<u64> {
        let mut number = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            number = number << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(number)
    }

    /// An Exp-Golomb code (9.2).
    fn golomb(&mut self) -> Option<u64> {
        let mut zeros = 0;
        while self.number(1)? == 0 {
            zeros += 1;
            if zeros > 32 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.number(zeros)?)
    }
}

/// The kind of unit that has the sides (ITU-T H.265, table 7-1).
const SEQUENCE_PARAMETERS: u8 = 33;
