//! PPM pictures in a stream of bytes, as ffmpeg sends them.

use crate::media::pixels::check_sides;

/// What received bytes begin with.
pub(super) enum Ppm<'a> {
    Whole { width: u32, height: u32, start: usize, pixels: &'a [u8] },
    Partial,
    Other,
}

/// Looks for a PPM picture: `P6`, width, height and 255, each after white space, one white space,
/// and three bytes for each pixel.
pub(super) fn ppm(bytes: &[u8]) -> Ppm<'_> {
    let (mut fields, mut at) = ([0u32; 3], 2);
    if !b"P6".starts_with(&bytes[..bytes.len().min(2)]) {
        return Ppm::Other;
    }
    for field in &mut fields {
        let rest = bytes.get(at..).unwrap_or_default();
        let blank = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let digits = rest[blank..].iter().take_while(|b| b.is_ascii_digit()).count();
        if blank + digits == rest.len() && rest.len() <= HEADER_BYTES_MAX {
            return Ppm::Partial;
        }
        let number = str::from_utf8(&rest[blank..blank + digits]).ok();
        let Some(number) = number.and_then(|digits| digits.parse().ok()) else {
            return Ppm::Other;
        };
        *field = number;
        at += blank + digits;
    }
    let [width, height, 255] = fields else { return Ppm::Other };
    if check_sides(width, height).is_err() {
        return Ppm::Other;
    }
    let start = at + 1;
    let length = 3 * width as usize * height as usize;
    match bytes.get(start..start + length) {
        Some(pixels) => Ppm::Whole { width, height, start, pixels },
        None => Ppm::Partial,
    }
}

/// White space and digits of one field of a PPM header.
const HEADER_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ppm_picture_is_found_in_pieces_of_any_length() {
        let whole = b"P6\n2 1\n255\nabcdefP6";
        for length in 0..17 {
            assert!(matches!(ppm(&whole[..length]), Ppm::Partial), "{length} bytes");
        }
        let Ppm::Whole { width, height, start, pixels } = ppm(whole) else {
            panic!("a whole picture is taken for something else")
        };
        assert_eq!((width, height, start, pixels), (2, 1, 11, &b"abcdef"[..]));
    }

    #[test]
    fn what_is_no_ppm_picture_is_not_waited_for() {
        let endless = [&b"P6 "[..], &[b'1'; 100]].concat();
        for other in [
            &b"P5\n2 1\n255\n"[..],
            b"x",
            b"P6 a",
            b"P6 0 1 255 ",
            b"P6 2 1 65535 ",
            b"P6 99999 99999 255 ",
            &endless,
        ] {
            assert!(matches!(ppm(other), Ppm::Other), "{}", String::from_utf8_lossy(other));
        }
    }
}
