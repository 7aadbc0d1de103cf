//! Progress bars for what takes longer than a second, on a terminal only.

use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A bar on standard error that shows itself after a second and leaves no trace.
pub(crate) struct Progress {
    what: &'static str,
    unit: Unit,
    begun: Instant,
    bar: Option<ProgressBar>,
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Tokens of a text.
    Tokens,
}

impl Progress {
    pub(crate) fn new(what: &'static str, unit: Unit) -> Self {
        Self { what, unit, begun: Instant::now(), bar: None }
    }

    /// `done` of `total` units are done.
    pub(crate) fn set(&mut self, done: u64, total: u64) {
        if self.bar.is_none() && self.begun.elapsed() >= QUIET {
            self.bar = Some(self.show(total));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn show(&self, total: u64) -> ProgressBar {
        let template = match self.unit {
            Unit::Bytes => "{msg} {bar:30} {bytes} of {total_bytes}, {eta} left",
            Unit::Tokens => "{msg} {bar:30} {pos} of {len} tokens, {rate}/s, {eta} left",
        };
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            // A number that is not written leaves a gap in the bar.
            let _ = write!(out, "{:.0}", state.per_sec());
        };
        // indicatif draws nothing where standard error is no terminal.
        ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
            .with_style(style.with_key("rate", rate))
            .with_message(self.what)
            .with_elapsed(self.begun.elapsed())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What is done within this time needs no bar.
const QUIET: Duration = Duration::from_secs(1);
