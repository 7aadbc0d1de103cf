//! PBM, PGM and PPM pictures, plain or packed (netpbm's pbm(5), pgm(5) and ppm(5)).
//!
//! Samples are scaled to 255, and gray ones of more than 8 bits to 65535 and then clipped: these
//! are the reference's rules.

use super::ImageError;
use super::decode::Rgb;
use crate::media::pixels::check_sides;

/// Decodes the first picture of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let &[b'P', kind @ b'1'..=b'6', ref rest @ ..] = bytes else {
        let source = "a kind other than P1 to P6".into();
        return Err(ImageError::Variant { format: "PNM", source });
    };
    let mut data = Data { rest };
    let [width, height] = [data.number()?, data.number()?];
    check_sides(width, height)?;
    let (is_plain, channels) = (kind <= b'3', if matches!(kind, b'3' | b'6') { 3 } else { 1 });
    let is_bitmap = matches!(kind, b'1' | b'4');
    let most = if is_bitmap { 1 } else { data.number()? };
    if !(1..65_536).contains(&most) {
        return Err(damaged("a largest value that is not 1 to 65535"));
    }
    let (across, down) = (width as usize, height as usize);
    let count = across * down * channels;
    let bytes = match (is_bitmap, most) {
        (true, _) => across.div_ceil(8) * down,
        (false, ..256) => count,
        (false, _) => 2 * count,
    };
    if data.rest.len() < if is_plain { count } else { bytes } {
        return Err(TRUNCATED);
    }

    let scaled = |value: u32| match channels == 1 && most > 255 {
        true => scale(value, most, 65_535).min(255) as u8,
        false => scale(value, most, 255).min(255) as u8,
    };
    let bit = |is_black: bool| if is_black { 0 } else { 255 };
    let mut samples = Vec::new();
    let none = |_| ImageError::Memory { bytes: count as u64 };
    samples.try_reserve_exact(count).map_err(none)?;
    match (is_plain, is_bitmap) {
        (true, true) => {
            for _ in 0..count {
                samples.push(bit(data.plain_bit()?));
            }
        }
        (true, false) => {
            for _ in 0..count {
                let value = data.number()?;
                if value > most {
                    return Err(damaged("a sample above the largest value"));
                }
                samples.push(scaled(value));
            }
        }
        (false, true) => {
            let rows = data.rest.chunks_exact(across.div_ceil(8)).take(down);
            let black = |row: &[u8], x: usize| row[x / 8] & (0x80 >> (x % 8)) != 0;
            rows.for_each(|row| samples.extend((0..across).map(|x| bit(black(row, x)))));
        }
        (false, false) if most < 256 => {
            samples.extend(data.rest[..bytes].iter().map(|&value| scaled(value.into())));
        }
        (false, false) => {
            let pairs = data.rest[..bytes].as_chunks().0.iter();
            samples.extend(pairs.map(|&pair| scaled(u16::from_be_bytes(pair).into())));
        }
    }
    let pixels = match channels {
        3 => samples,
        _ => samples.iter().flat_map(|&sample| [sample; 3]).collect(),
    };
    Ok(Rgb { width, height, pixels })
}

/// `value` of `from` as part of `to`, to the nearest, halves to the even one.
fn scale(value: u32, from: u32, to: u32) -> u32 {
    let product = u64::from(value) * u64::from(to);
    let (from, twice) = (u64::from(from), 2 * (product % u64::from(from)));
    let whole = product / from;
    let is_up = twice > from || twice == from && !whole.is_multiple_of(2);
    (whole + u64::from(is_up)) as u32
}

/// What is left of the file.
struct Data<'a> {
    rest: &'a [u8],
}

impl Data<'_> {
    /// The next number, and the one byte that ends it. Comments begin with `#`.
    fn number(&mut self) -> Result<u32, ImageError> {
        let mut number = None;
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match (byte, number) {
                (b'0'..=b'9', _) => {
                    let more = number.unwrap_or(0u32).checked_mul(10);
                    let more = more.and_then(|n| n.checked_add(u32::from(byte - b'0')));
                    number = Some(more.ok_or_else(|| damaged("a number that is too large"))?);
                }
                (b'#', _) => self.skip_line(),
                (_, None) if is_space(byte) => {}
                (_, Some(number)) if is_space(byte) => return Ok(number),
                _ => return Err(damaged("something else where a number is due")),
            }
        }
        number.ok_or(TRUNCATED)
    }

    /// The next digit, 0 or 1.
    fn plain_bit(&mut self) -> Result<bool, ImageError> {
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match byte {
                b'0' | b'1' => return Ok(byte == b'1'),
                b'#' => self.skip_line(),
                _ if is_space(byte) => {}
                _ => return Err(damaged("something else where a bit is due")),
            }
        }
        Err(TRUNCATED)
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|byte| b"\r\n".contains(byte));
        self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
    }
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { format: "PNM", source: what.into() }
}

const TRUNCATED: ImageError = ImageError::Truncated { format: "PNM" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_rounded_to_the_even_one() {
        // 1/2, 3/2 and 127.5 of 255 by hand.
        assert_eq!((scale(1, 510, 255), scale(3, 510, 255), scale(1, 2, 255)), (0, 2, 128));
        assert_eq!((scale(31, 31, 255), scale(0, 31, 255)), (255, 0));
    }
}
