//! How far a download is, on a terminal only, and what is said beside it.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::progress::in_words;
use crate::text::{say, shortened};

/// The bar of one file.
pub(super) struct Meter {
    bar: ProgressBar,
    is_quiet: bool,
}

impl Meter {
    /// `is_quiet` shows nothing.
    pub(super) fn new(file: &str, bytes: u64, is_quiet: bool) -> Self {
        let is_shown = !is_quiet && io::stderr().is_terminal();
        let target =
            if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
        let style = style.with_key("left", |state: &ProgressState, out: &mut dyn Write| {
            // A word that is not written leaves a gap in the bar; at first nothing is known.
            let seconds = state.eta().as_secs().max(1);
            let _ = match state.per_sec() > 0.0 {
                true => write!(out, ", {} left", in_words(seconds)),
                false => Ok(()),
            };
        });
        let name = shortened(file.rsplit('/').next().unwrap_or(file), LONGEST_NAME);
        let bar = ProgressBar::with_draw_target(Some(bytes), target).with_style(style);
        let bar = bar.with_message(name);
        if is_shown {
            bar.enable_steady_tick(TICK);
        }
        Self { bar, is_quiet }
    }

    /// Bytes that were there before; the rate does not count them.
    pub(super) fn begin_at(&self, bytes: u64) {
        self.bar.set_position(bytes);
        self.bar.reset_eta();
    }

    pub(super) fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// Says something on a line of its own.
    pub(super) fn say(&self, words: &str) {
        if !self.is_quiet {
            self.bar.suspend(|| say!("carat: {words}"));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

const TEMPLATE: &str =
    "{msg} {bar:20} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}{left}";
const LONGEST_NAME: usize = 40;
const TICK: Duration = Duration::from_millis(250);
