//! How fast the weights of a model can be read right now.
//!
//! The roof is the machine at its best. Memory that others share gives twice as much at one moment
//! as at the next, and there the speed of decoding says something only beside a reading of the same
//! bytes by the same number of threads right before and right after it.

use std::hint::black_box;

use super::{loops, pass};

/// Reads the weights of a model, from the first layer on.
///
/// What is smaller than the caches is read from there, as it is in decoding.
#[derive(Debug)]
pub(crate) struct WeightReader<'m> {
    /// What each thread reads.
    parts: Vec<Vec<&'m [u8]>>,
    /// How often a reading goes over it.
    rounds: usize,
    read: loops::Read,
}

impl<'m> WeightReader<'m> {
    /// Finds the loop that reads `weights` fastest; none if there is nothing to read.
    pub(crate) fn new(weights: impl Iterator<Item = &'m [u8]>, threads: usize) -> Option<Self> {
        let parts = split(weights, threads.max(1), BYTES_MAX);
        let bytes = length(&parts);
        let rounds = BYTES_MIN.checked_div(bytes)?.max(1);
        let mut reader = Self { parts, rounds, read: *loops::read().first()? };
        let mut fastest = (0.0, reader.read);
        for _ in 0..TRIALS {
            for read in loops::read() {
                reader.read = read;
                let speed = reader.gb_s();
                if speed > fastest.0 {
                    fastest = (speed, read);
                }
            }
        }
        reader.read = fastest.1;
        Some(reader)
    }

    /// One reading, in 10⁹ bytes a second: 15 to 40 ms where the weights are large.
    pub(crate) fn gb_s(&self) -> f64 {
        let seconds = pass(self.parts.len(), |thread| {
            for _ in 0..self.rounds {
                for part in &self.parts[thread] {
                    black_box(self.read.run(black_box(part)));
                }
            }
        });
        (length(&self.parts) * self.rounds) as f64 / seconds / 1e9
    }
}

/// Cuts the first `bytes_max` bytes into contiguous parts of the same length, one for each thread.
/// Lines that are not whole are left out, since the loops pass over them.
fn split<'m>(
    weights: impl Iterator<Item = &'m [u8]>,
    threads: usize,
    bytes_max: usize,
) -> Vec<Vec<&'m [u8]>> {
    let mut left = bytes_max;
    let slices = weights.map(|slice| {
        let slice = &slice[..slice.len().min(left) / LINE * LINE];
        left -= slice.len();
        slice
    });
    let slices: Vec<&[u8]> = slices.collect();
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    let share = (total / LINE).div_ceil(threads) * LINE;
    let mut parts = vec![Vec::new(); threads];
    let mut at = 0;
    for mut slice in slices {
        while !slice.is_empty() {
            let thread = at / share;
            let room = (thread + 1) * share - at;
            let (head, rest) = slice.split_at(slice.len().min(room));
            parts[thread].push(head);
            at += head.len();
            slice = rest;
        }
    }
    parts
}

fn length(parts: &[Vec<&[u8]>]) -> usize {
    parts.iter().flatten().map(|part| part.len()).sum()
}

/// Of a large model so much is read: some twenty milliseconds, which are enough.
const BYTES_MAX: usize = 1 << 30;

/// A small model is read again and again, so that the start of the threads does not count.
const BYTES_MIN: usize = 1 << 28;

/// Readings by each loop before one is chosen.
const TRIALS: usize = 3;

/// What the loops read at a time.
const LINE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_split_evenly_and_in_order() {
        // Two whole lines, one, none, and four: seven of eight, and threads have four and three.
        let bytes: Vec<u8> = (0..8 * LINE).map(|i| (i / LINE) as u8).collect();
        let lines = |from: usize, to: usize| &bytes[from * LINE..to * LINE];
        let slices = [&bytes[..2 * LINE + 5], lines(3, 4), &bytes[..LINE - 1], lines(4, 8)];
        let parts = split(slices.into_iter(), 2, usize::MAX);
        let wanted = [vec![lines(0, 2), lines(3, 4), lines(4, 5)], vec![lines(5, 8)]];
        assert_eq!(parts, wanted);
        assert_eq!(length(&parts), 7 * LINE);

        // The first three and a half lines are three, one each for three of five threads.
        let parts = split(slices.into_iter(), 5, 3 * LINE + LINE / 2);
        let found: Vec<_> = parts.iter().map(|part| part.concat()).collect();
        assert_eq!(found, [lines(0, 1), lines(1, 2), lines(3, 4), &[], &[]]);
    }

    #[test]
    fn small_weights_are_read_often_and_none_not_at_all() {
        let bytes = vec![1; 1 << 20];
        let reader = WeightReader::new([&bytes[..], &bytes[..]].into_iter(), 3).expect("bytes");
        // 256 MiB are 128 times two.
        assert_eq!((length(&reader.parts), reader.rounds), (2 << 20, 128));
        let speed = reader.gb_s();
        assert!(speed > 0.05 && speed < 1e5, "no computer reads {speed} GB/s");
        assert!(WeightReader::new([&bytes[..LINE - 1]].into_iter(), 1).is_none());
    }
}
