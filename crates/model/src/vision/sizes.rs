//! How many patches a picture becomes: it is scaled, up or down, until it fills its token budget,
//! and each side is cut down to whole patches.
//!
//! The reference computes this in double precision and rounds down, so the order of the operations
//! is part of the specification: a side that is a whole number of patches in exact arithmetic can
//! come out just below it.

use super::image::PATCH;

/// The grid that a picture of `width` x `height` pixels fills: (columns, rows) of patches, both at
/// least 1, their product at most `budget`.
///
/// Both sides must be positive and their product below 2^53.
pub(super) fn grid(width: u32, height: u32, budget: usize) -> (usize, usize) {
    debug_assert!(width > 0 && height > 0, "{width} x {height} has no pixels");
    let (width, height, side) = (f64::from(width), f64::from(height), PATCH as f64);
    let factor = (budget as f64 * side * side / (width * height)).sqrt();
    let columns = (factor * width / side).floor() as usize;
    let rows = (factor * height / side).floor() as usize;

    // Sides more unequal than the budget allows: one row or column of square patches, as many as
    // the ratio of the sides says. Both cannot vanish, as the exact product is the budget.
    if rows == 0 {
        ((width / height).floor().min(budget as f64) as usize, 1)
    } else if columns == 0 {
        (1, (height / width).floor().min(budget as f64) as usize)
    } else {
        (columns, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes, budgets and grids of the reference's picture cases.
    const REFERENCE: [(u32, u32, usize, usize, usize); 14] = [
        (640, 480, 280, 19, 14),
        (512, 512, 280, 16, 16),
        (1600, 120, 280, 61, 4),
        (90, 1400, 140, 3, 46),
        (7, 5, 70, 9, 7),
        (2400, 1800, 1120, 38, 28),
        (300, 200, 280, 20, 13),
        (260, 190, 280, 19, 14),
        (220, 170, 140, 13, 10),
        (120, 150, 70, 7, 9),
        (250, 400, 140, 9, 14),
        (3000, 9, 70, 70, 1),
        (333, 777, 560, 15, 36),
        (768, 816, 280, 16, 17),
    ];

    #[test]
    fn grids_are_those_of_the_reference() {
        for (width, height, budget, columns, rows) in REFERENCE {
            assert_eq!(grid(width, height, budget), (columns, rows), "{width} x {height}");
            assert_eq!(grid(height, width, budget), (rows, columns), "{height} x {width}");
        }
    }

    #[test]
    fn a_vanishing_side_becomes_one_patch() {
        // The longer side follows the ratio of the sides, not the budget: 100 / 1 < 140.
        assert_eq!(grid(1, 20_000, 280), (1, 280));
        assert_eq!(grid(20_000, 1, 280), (280, 1));
        assert_eq!(grid(3, 4_000, 1120), (1, 1120));
        assert_eq!(grid(300, 1, 280), (280, 1));
        assert_eq!(grid(1, 281, 280), (1, 280));
    }

    #[test]
    fn a_grid_is_never_empty_and_never_over_its_budget() {
        let sides = (0..20).flat_map(|p| [(1u32 << p) - 1, 1 << p, (1 << p) + 1]);
        let sides: Vec<u32> = sides.chain([48, 96, 333, 777, 4_000, 65_535]).collect();
        for budget in [70, 140, 280, 560, 1120] {
            for &width in sides.iter().filter(|&&side| side > 0) {
                for &height in sides.iter().filter(|&&side| side > 0) {
                    let (columns, rows) = grid(width, height, budget);
                    let tokens = columns * rows;
                    assert!((1..=budget).contains(&tokens), "{width} x {height}: {tokens}");
                }
            }
        }
    }
}
