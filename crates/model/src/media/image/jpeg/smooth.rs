//! What a progressive picture that ended early shows: coefficients that no scan told are estimated
//! from the mean values of the blocks around, so that blocks do not stand out.
//!
//! The idea is that of ITU-T T.81 K.8. The weights are the reference's, for 5 x 5 blocks, because
//! they decide the pixels: one set for blocks of which only the mean is known, one for the others.
//! An estimate is made only where the coefficient is still zero, and stays below what the scans
//! that were read leave open.

use super::entropy::{Band, ZIGZAG};
use super::{Component, idct};

/// How well each coefficient of a component is known, in zigzag order: the lowest bit that was
/// read, or -1 where nothing was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    now: [i8; 64],
    /// The same before the last scan that had the component.
    before: [i8; 64],
}

impl Default for Known {
    fn default() -> Self {
        Self { now: [-1; 64], before: [-1; 64] }
    }
}

impl Known {
    /// Notes a scan of this band; `scans` counts it.
    pub(super) fn begin(&mut self, band: Band, scans: usize) {
        let earlier = if scans > 1 { self.now } else { [0; 64] };
        let from = band.first.min(1);
        let to = band.last.max(ESTIMATES.len());
        self.before[from..=to].copy_from_slice(&earlier[from..=to]);
        self.now[band.first..=band.last].fill(band.low as i8);
    }
}

/// Whether estimates are made: all mean values are known, and something else is not.
pub(super) fn applies(components: &[Component]) -> bool {
    let is_possible = components.iter().all(|c| {
        let steps = c.steps.is_some_and(|steps| (0..=LAST).all(|k| steps[ZIGZAG[k]] != 0));
        steps && c.known.now[0] >= 0
    });
    is_possible && components.iter().any(|c| c.known.now[1..=LAST].iter().any(|&bit| bit != 0))
}

/// Turns coefficients into samples. Rows of units after `last_good_row` were not in the last of
/// `scans`.
pub(super) fn transform(component: &mut Component, last_good_row: usize, scans: usize) {
    let Some(steps) = component.steps else { return };
    let coefficients = std::mem::take(&mut component.coefficients);
    let (columns, rows) = (component.width.div_ceil(8), component.height.div_ceil(8));
    let across = component.blocks_across;
    let stride = 8 * across;
    let units = component.blocks_down / component.down;
    for row in 0..rows {
        let unit = row / component.down;
        let known = match unit > last_good_row {
            true if scans > 1 => component.known.before,
            true => [-1; 64],
            false => component.known.now,
        };
        let only_means = known[1..=LAST] == [-1; LAST];
        // The reference takes a unit's rows for those of the last one, so the last unit's rows
        // count as those that the picture needs.
        let unit_height = match unit + 1 == units {
            true => rows - unit * component.down,
            false => component.down,
        };
        let place = unit * unit_height + row % component.down;
        let last_place = unit_height * units - 1;
        let around: [usize; 5] = {
            let up = if place > 0 { row - 1 } else { row };
            let up_2 = if place > 1 { row - 2 } else { up };
            let next = if place < last_place { row + 1 } else { row };
            let next_2 = if place + 1 < last_place { row + 2 } else { next };
            [up_2, up, row, next, next_2]
        };
        for column in 0..columns {
            let mut block = coefficients[row * across + column];
            let means = around.map(|row| {
                let mean = |column: usize| i64::from(coefficients[row * across + column][0]);
                let right = |by: usize| mean((column + by).min(columns - 1));
                let left = |by: usize| mean(column.saturating_sub(by));
                [left(2), left(1), mean(column), right(1), right(2)]
            });
            estimate(&mut block, &means, &known, &steps, only_means);
            let at = 8 * (row * stride + column);
            idct::inverse(&block, &steps, &mut component.samples[at..], stride);
        }
    }
}

/// Fills what is unknown of a block from the means of the 5 x 5 blocks around and in it.
fn estimate(
    block: &mut [i16; 64],
    means: &[[i64; 5]; 5],
    known: &[i8; 64],
    steps: &[u16; 64],
    only_means: bool,
) {
    let weighed = |weights: &[[i64; 5]; 5]| -> i64 {
        let pairs = weights.iter().flatten().zip(means.iter().flatten());
        i64::from(steps[0]) * pairs.map(|(weight, mean)| weight * mean).sum::<i64>()
    };
    let rounded = |value: i64, step: u16| {
        let step = i64::from(step);
        ((step << 7) + value.abs()) / (step << 8) * value.signum()
    };
    for (k, estimate) in (1..).zip(&ESTIMATES) {
        let (at, bit) = (ZIGZAG[k], known[k]);
        let weights = if only_means { Some(&estimate.0) } else { estimate.1.as_ref() };
        let Some(weights) = weights.filter(|_| bit != 0 && block[at] == 0) else { continue };
        let mut value = rounded(weighed(weights), steps[at]);
        if bit > 0 {
            let most = (1 << bit) - 1;
            value = value.clamp(-most, most);
        }
        block[at] = value as i16;
    }
    if only_means {
        block[0] = rounded(weighed(&MEAN), steps[0]) as i16;
    }
}

/// The last coefficient, in zigzag order, that is estimated.
const LAST: usize = ESTIMATES.len();

type Weights = [[i64; 5]; 5];

/// For coefficients 1 to 9, in zigzag order: weights where only means are known, and where more is.
#[rustfmt::skip]
const ESTIMATES: [(Weights, Option<Weights>); 9] = [
    ([[-1, -1, 0, 1, 1], [-3, 13, 0, -13, 3], [-3, 38, 0, -38, 3], [-3, 13, 0, -13, 3],
      [-1, -1, 0, 1, 1]],
     Some([[0; 5], [0; 5], [-7, 50, 0, -50, 7], [0; 5], [0; 5]])),
    ([[-1, -3, -3, -3, -1], [-1, 13, 38, 13, -1], [0; 5], [1, -13, -38, -13, 1], [1, 3, 3, 3, 1]],
     Some([[0, 0, -7, 0, 0], [0, 0, 50, 0, 0], [0; 5], [0, 0, -50, 0, 0], [0, 0, 7, 0, 0]])),
    ([[0, 0, 1, 0, 0], [0, 2, 7, 2, 0], [0, -5, -14, -5, 0], [0, 2, 7, 2, 0], [0, 0, 1, 0, 0]],
     Some([[0, 0, -1, 0, 0], [0, 0, 13, 0, 0], [0, 0, -24, 0, 0], [0, 0, 13, 0, 0],
           [0, 0, -1, 0, 0]])),
    ([[-1, 0, 0, 0, 1], [0, 9, 0, -9, 0], [0; 5], [0, -9, 0, 9, 0], [1, 0, 0, 0, -1]],
     Some([[0, -1, 0, 1, 0], [-1, 10, 0, -10, 1], [0; 5], [1, -10, 0, 10, -1],
           [0, 1, 0, -1, 0]])),
    ([[0; 5], [0, 2, -5, 2, 0], [1, 7, -14, 7, 1], [0, 2, -5, 2, 0], [0; 5]],
     Some([[0; 5], [0; 5], [-1, 13, -24, 13, -1], [0; 5], [0; 5]])),
    ([[0; 5], [0, 1, 0, -1, 0], [0, 2, 0, -2, 0], [0, 1, 0, -1, 0], [0; 5]], None),
    ([[0; 5], [0, 1, -3, 1, 0], [0; 5], [0, -1, 3, -1, 0], [0; 5]], None),
    ([[0; 5], [0, 1, 0, -1, 0], [0, -3, 0, 3, 0], [0, 1, 0, -1, 0], [0; 5]], None),
    ([[0; 5], [0, 1, 2, 1, 0], [0; 5], [0, -1, -2, -1, 0], [0; 5]], None),
];

/// Weights of the mean itself, where only means are known.
#[rustfmt::skip]
const MEAN: Weights = [
    [-2, -6, -8, -6, -2], [-6, 6, 42, 6, -6], [-8, 42, 152, 42, -8], [-6, 6, 42, 6, -6],
    [-2, -6, -8, -6, -2],
];
