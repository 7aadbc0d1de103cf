//! Samples stored as differences from the pixel to their left (TIFF 6.0, section 14) and their
//! form for floating point numbers (Adobe's TIFF technical note 3).

use super::super::ImageError;
use super::variant;

/// Undoes a predictor in rows of pixels of `samples` samples of `bits` bits. Numbers of several
/// bytes have their lowest byte first, afterwards in both cases.
pub(super) fn undo(
    predictor: u64,
    data: &mut [u8],
    row_bytes: usize,
    samples: usize,
    bits: usize,
) -> Result<(), ImageError> {
    let rows = data.chunks_exact_mut(row_bytes);
    match (predictor, bits) {
        (1, _) => {}
        (DIFFERENCES, 8) => rows.for_each(|row| add_bytes(row, samples)),
        (DIFFERENCES, 16) => rows.for_each(|row| add::<2>(row, samples)),
        (DIFFERENCES, 32) => rows.for_each(|row| add::<4>(row, samples)),
        (DIFFERENCES, 64) => rows.for_each(|row| add::<8>(row, samples)),
        (FLOAT, 16 | 24 | 32 | 64) => {
            let (mut row_copy, width) = (Vec::new(), bits / 8);
            for row in rows {
                add_bytes(row, samples);
                row_copy.clear();
                row_copy.extend_from_slice(row);
                // All highest bytes come first.
                let count = row.len() / width;
                for (i, value) in row.chunks_exact_mut(width).enumerate() {
                    for (byte, out) in value.iter_mut().rev().enumerate() {
                        *out = row_copy[byte * count + i];
                    }
                }
            }
        }
        _ => return Err(variant("a predictor that is unknown or for samples of other sizes")),
    }
    Ok(())
}

/// Adds to each byte the one that is `step` bytes before it.
fn add_bytes(row: &mut [u8], step: usize) {
    for i in step..row.len() {
        row[i] = row[i].wrapping_add(row[i - step]);
    }
}

/// Adds to each number of `N` bytes the one that is `samples` numbers before it.
fn add<const N: usize>(row: &mut [u8], samples: usize) {
    let values = row.as_chunks_mut::<N>().0;
    for i in samples..values.len() {
        let mut carry = 0;
        for byte in 0..N {
            let sum = u16::from(values[i][byte]) + u16::from(values[i - samples][byte]) + carry;
            values[i][byte] = sum as u8;
            carry = sum >> 8;
        }
    }
}

const DIFFERENCES: u64 = 2;
pub(super) const FLOAT: u64 = 3;
