//! Learns in how many streams products with few tokens best read their weights.
//!
//! Such products wait for memory, and what suits one machine costs another half of its speed
//! (`carat_kernels::Streams`). So the products of the first tokens are read in both ways by turns
//! and timed, and the faster way is taken from then on. It changes no bit of a result.
//!
//! Products of one shape are compared with each other alone. What disturbs can only slow, so a
//! shorter time replaces what is known of a way at once, and a longer one raises it by and by. The
//! slower way is tried again now and then, since weights that were read from a disk at first, or
//! threads that moved to other cores, change what is right.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use carat_kernels::{Format, Isa, Streams, Weights};

use super::Run;

/// What products have to share to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    format: Format,
    tokens: usize,
    /// Of all matrices that have the same input.
    bytes: usize,
}

/// Products of one shape that are computed together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Products {
    shape: Shape,
    count: usize,
}

/// How products of one shape were read, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightReading {
    /// Format of the weights, by its name in GGUF.
    pub format: &'static str,
    /// Tokens in a pass.
    pub tokens: usize,
    /// Bytes of weights in a product, or in several with the same input.
    pub bytes: usize,
    /// Whether four groups of rows are read side by side; otherwise one or two.
    pub is_four: bool,
    /// Speed in 10⁹ bytes a second with few groups, and with four.
    pub gb_s: [f64; 2],
}

/// The readings of the threads of an engine.
#[derive(Debug, Default)]
pub(super) struct Readings(Mutex<Vec<(Shape, Choice)>>);

impl Products {
    /// Products that share an input of so many tokens.
    pub(super) fn new<'w>(tokens: usize, weights: impl Iterator<Item = Weights<'w>>) -> Self {
        Self { shape: Shape::new(tokens, weights), count: 1 }
    }

    /// Products of runs, where `weights` gives the matrices of each.
    pub(super) fn of_runs<'w, W: Iterator<Item = Weights<'w>>>(
        runs: &[Run],
        weights: impl Fn(usize) -> W,
    ) -> Self {
        let tokens = runs.iter().map(|run| run.count).max().unwrap_or(0) as usize;
        let matrices = runs.first().map(|run| weights(run.matrix as usize));
        Self { shape: Shape::new(tokens, matrices.into_iter().flatten()), count: runs.len() }
    }
}

impl Shape {
    fn new<'w>(tokens: usize, weights: impl Iterator<Item = Weights<'w>>) -> Self {
        let mut shape = Self { format: Format::F32, tokens, bytes: 0 };
        let mut most = 0;
        for w in weights {
            let bytes = w.rows() * w.format().row_bytes(w.cols());
            if bytes > most {
                (most, shape.format) = (bytes, w.format());
            }
            shape.bytes += bytes;
        }
        shape
    }
}

impl Readings {
    /// Calls `work` with the streams in which these products are to be read, and learns from the
    /// time that it takes. `work` says whether it did all of it.
    pub(super) fn time(&self, isa: Isa, products: Products, work: impl FnOnce(Streams) -> bool) {
        let Products { shape, count } = products;
        let Some(way) = self.next(isa, products) else {
            work(Streams::Few);
            return;
        };
        let begun = Instant::now();
        if work(WAYS[way]) {
            let seconds = begun.elapsed().as_secs_f64() / count as f64;
            self.with(|shapes| {
                if let Some((_, choice)) = shapes.iter_mut().find(|(known, _)| *known == shape) {
                    choice.learn(way, seconds);
                }
            });
        }
    }

    /// What was learnt of products that both ways have read.
    pub(super) fn report(&self) -> Vec<WeightReading> {
        self.with(|shapes| {
            let known = shapes.iter().filter(|(_, choice)| choice.is_known());
            let report = known.map(|(shape, choice)| WeightReading {
                format: shape.format.name(),
                tokens: shape.tokens,
                bytes: shape.bytes,
                is_four: WAYS[choice.way] == Streams::Four,
                gb_s: choice.ways.map(|way| shape.bytes as f64 / way.seconds / 1e9),
            });
            report.collect()
        })
    }

    /// The way of the next product, or none if there is nothing to choose.
    fn next(&self, isa: Isa, Products { shape, count }: Products) -> Option<usize> {
        if shape.bytes * count < BYTES_MIN
            || isa.streams(shape.format, shape.tokens).len() < WAYS.len()
        {
            return None;
        }
        self.with(|shapes| {
            if let Some((_, choice)) = shapes.iter_mut().find(|(known, _)| *known == shape) {
                return Some(choice.next());
            }
            let mut choice = Choice::default();
            let way = choice.next();
            (shapes.len() < SHAPES_MAX).then(|| shapes.push((shape, choice))).map(|()| way)
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<(Shape, Choice)>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is known of the two ways, and which of them is taken.
#[derive(Debug)]
struct Choice {
    ways: [Way; WAYS.len()],
    /// The way that is taken.
    way: usize,
    /// Products until the other way is tried again.
    until_trial: u32,
    /// How many there are between trials.
    interval: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// An estimate of the time of a product.
    seconds: f64,
    samples: u32,
}

impl Default for Choice {
    fn default() -> Self {
        let ways = [Way::default(); WAYS.len()];
        Self { ways, way: 0, until_trial: INTERVAL_MIN, interval: INTERVAL_MIN }
    }
}

impl Choice {
    /// The way of the next product: each by turns at first, then the faster one.
    fn next(&mut self) -> usize {
        if !self.is_known() {
            return usize::from(self.ways[1].samples < self.ways[0].samples);
        }
        self.until_trial -= 1;
        if self.until_trial > 0 {
            return self.way;
        }
        self.until_trial = self.interval;
        self.interval = (2 * self.interval).min(INTERVAL_MAX);
        1 - self.way
    }

    fn learn(&mut self, way: usize, seconds: f64) {
        let Way { seconds: known, samples } = &mut self.ways[way];
        let longer = seconds.min(LONGER_MAX * *known) - *known;
        *known = if *samples == 0 || longer < 0.0 { seconds } else { *known + longer / 8.0 };
        *samples = samples.saturating_add(1);
        let best = usize::from(self.ways[1].seconds < WORTH_IT * self.ways[0].seconds);
        if self.is_known() && best != self.way {
            (self.way, self.interval) = (best, INTERVAL_MIN);
            self.until_trial = INTERVAL_MIN;
        }
    }

    fn is_known(&self) -> bool {
        self.ways.iter().all(|way| way.samples >= SAMPLES)
    }
}

/// The ways to choose from.
const WAYS: [Streams; 2] = [Streams::Few, Streams::Four];

/// Smaller products stay in a cache, and take no longer than threads need to meet.
const BYTES_MIN: usize = 256 << 10;

/// A model of mixed formats has a dozen shapes, each for one to four tokens, and its drafter more.
const SHAPES_MAX: usize = 128;

/// How often each way is timed before one is taken.
const SAMPLES: u32 = 5;

/// The time that four streams have to stay below, as a part of that of few.
const WORTH_IT: f64 = 0.97;

/// How many times as long as expected a product may count: it was disturbed.
const LONGER_MAX: f64 = 2.0;

/// Products between two trials of the slower way: a 12B has some 40 of a shape in a pass, so that
/// no more than a thousandth of them is read in vain in the end.
const INTERVAL_MIN: u32 = 16;
const INTERVAL_MAX: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `count` products, of which one takes `seconds[way]`; how many were read in each way.
    fn read(
        choice: &mut Choice,
        count: usize,
        seconds: impl Fn(usize, usize) -> f64,
    ) -> [usize; 2] {
        let mut counts = [0; 2];
        for i in 0..count {
            let way = choice.next();
            counts[way] += 1;
            choice.learn(way, seconds(i, way));
        }
        counts
    }

    #[test]
    fn the_faster_way_is_taken_after_ten_products() {
        for (seconds, faster) in [([1.0, 0.7], 1), ([0.7, 1.0], 0), ([1.0, 0.99], 0)] {
            let mut choice = Choice::default();
            assert_eq!(read(&mut choice, 10, |_, way| seconds[way]), [5, 5]);
            assert_eq!(choice.way, faster);
            let counts = read(&mut choice, 10_000, |_, way| seconds[way]);
            assert!(counts[1 - faster] <= 20, "{counts:?} with {seconds:?}");
        }
    }

    #[test]
    fn times_that_were_disturbed_decide_nothing() {
        let mut choice = Choice::default();
        // Every seventh product takes fifty times as long.
        let disturbed = |i: usize, way| if i % 7 == 3 { 50.0 } else { [1.0, 0.8][way] };
        read(&mut choice, 10, disturbed);
        let counts = read(&mut choice, 1000, disturbed);
        assert!(choice.way == 1 && counts[0] < 40, "{counts:?}");
    }

    #[test]
    fn what_was_learnt_while_weights_came_from_a_disk_is_forgotten() {
        let mut choice = Choice::default();
        read(&mut choice, 10, |_, way| [90.0, 100.0][way]);
        assert_eq!(choice.way, 0);
        read(&mut choice, 40, |_, way| [1.0, 0.7][way]);
        assert_eq!(choice.way, 1, "the first trial shows it");
    }

    #[test]
    fn another_machine_is_noticed() {
        let mut choice = Choice::default();
        read(&mut choice, 5000, |_, way| [1.0, 0.7][way]);
        read(&mut choice, 1100, |_, way| [0.7, 1.0][way]);
        assert_eq!(choice.way, 0);
    }

    #[test]
    fn only_what_can_be_read_in_two_ways_is_timed() {
        let readings = Readings::default();
        let shape = Shape { format: Format::Q4_0, tokens: 1, bytes: 1 << 20 };
        for (isa, shape) in [
            (Isa::scalar(), shape),
            (Isa::best(), Shape { bytes: 1000, ..shape }),
            (Isa::best(), Shape { tokens: 9, ..shape }),
            (Isa::best(), Shape { format: Format::F32, ..shape }),
        ] {
            readings.time(isa, Products { shape, count: 1 }, |streams| streams == Streams::Few);
            readings.with(|shapes| assert!(shapes.is_empty(), "{shape:?}"));
        }
    }

    /// What was stopped took no time, and says nothing.
    #[test]
    fn work_that_was_stopped_is_not_learnt_from() {
        let isa = Isa::best();
        let shape = Shape { format: Format::Q4_0, tokens: 1, bytes: 1 << 20 };
        if isa.streams(shape.format, shape.tokens).len() < 2 {
            return eprintln!("not tested: {isa:?} reads weights in one way");
        }
        let readings = Readings::default();
        for _ in 0..20 {
            readings.time(isa, Products { shape, count: 1 }, |_| false);
        }
        assert_eq!(readings.report(), []);
        for _ in 0..10 {
            readings.time(isa, Products { shape, count: 1 }, |_| true);
        }
        let [reading] = readings.report()[..] else { panic!("one shape") };
        assert_eq!((reading.format, reading.tokens, reading.bytes), ("Q4_0", 1, 1 << 20));
    }
}
