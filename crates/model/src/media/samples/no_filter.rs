//! Stands for the filter in builds without the feature `sound`, where samples have 16 kHz already.

use std::ops::RangeInclusive;

use super::RATE;

/// There is none.
#[derive(Debug)]
pub(super) enum Filter {}

impl Filter {
    pub(super) fn of(_rate: u32) -> Option<Filter> {
        None
    }

    pub(super) fn push(&mut self, _samples: &[f32], _out: &mut Vec<f32>) {
        match *self {}
    }

    pub(super) fn flush(&mut self, _out: &mut Vec<f32>) {
        match *self {}
    }

    pub(super) fn reset(&mut self) {
        match *self {}
    }
}

/// The rates that need no filter.
pub(super) const RATES: RangeInclusive<u32> = RATE..=RATE;
