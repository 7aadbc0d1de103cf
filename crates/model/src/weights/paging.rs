//! When the system is told beforehand which experts are needed.
//!
//! Experts in a cache file that memory has no room for are read from the disk when a kernel touches
//! them: page after page, each with neighbours that nobody asked for. Told of all the matrices of a
//! layer at once, the system reads them side by side and nothing else: 26B-A4B in Q4_0 with 8 GB
//! says 4.8 to 5.0 tokens/s instead of less than one (Xeon, a disk of 1 GB/s). But being told takes
//! time where all experts are in memory already. So a layer tells only for some passes after one in
//! which its experts took longer than memory explains.

use std::sync::{Mutex, PoisonError};

/// How long the experts of a layer take.
#[derive(Debug, Default)]
pub(super) struct Paging(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Seconds a byte in a quick pass of late.
    quick: f64,
    /// For how many passes the system is told.
    passes: u32,
}

impl Default for State {
    fn default() -> Self {
        Self { quick: f64::INFINITY, passes: 0 }
    }
}

impl Paging {
    /// Whether the next experts may have to be read from the disk.
    pub(super) fn is_expected(&self) -> bool {
        self.with(|state| state.passes > 0)
    }

    /// Products with so many bytes of experts took so long.
    pub(super) fn took(&self, bytes: usize, seconds: f64) {
        let each = seconds / bytes as f64;
        self.with(|state| {
            let is_long = each > LONG * state.quick || each > LONG_EACH;
            state.passes = if is_long { PASSES } else { state.passes.saturating_sub(1) };
            state.quick = (state.quick * FORGOTTEN).min(each);
        });
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many times as long as a quick pass others have to take.
const LONG: f64 = 2.0;

/// Seconds a byte that no memory takes: 1 GB/s.
const LONG_EACH: f64 = 1e-9;

/// Passes in which the system is told after a long one.
const PASSES: u32 = 8;

/// A quick pass is forgotten by a hundredth with each other one: the machine may have grown slower.
const FORGOTTEN: f64 = 1.01;

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes with experts of 1 MB that take so many microseconds each.
    fn pass(paging: &Paging, count: usize, micros: f64) {
        (0..count).for_each(|_| paging.took(1 << 20, micros * 1e-6));
    }

    #[test]
    fn the_system_is_told_after_long_passes_alone() {
        let paging = Paging::default();
        assert!(!paging.is_expected());
        pass(&paging, 100, 60.0); // 17 GB/s
        assert!(!paging.is_expected());
        pass(&paging, 1, 300.0);
        assert!(paging.is_expected(), "five times as long");
        pass(&paging, 7, 61.0);
        assert!(paging.is_expected());
        pass(&paging, 1, 61.0);
        assert!(!paging.is_expected(), "eight quick passes");
    }

    #[test]
    fn the_first_pass_from_a_disk_is_noticed() {
        let paging = Paging::default();
        pass(&paging, 1, 5000.0);
        assert!(paging.is_expected());
    }

    /// As long as experts keep coming from the disk, a few quick layers do not end it.
    #[test]
    fn it_goes_on_while_passes_stay_uneven() {
        let paging = Paging::default();
        for _ in 0..100 {
            pass(&paging, 1, 2000.0);
            pass(&paging, 7, 60.0);
            assert!(paging.is_expected());
        }
    }

    #[test]
    fn a_machine_that_grew_slower_is_not_taken_for_a_disk() {
        let paging = Paging::default();
        pass(&paging, 10, 60.0);
        pass(&paging, 200, 130.0);
        assert!(!paging.is_expected());
    }
}
