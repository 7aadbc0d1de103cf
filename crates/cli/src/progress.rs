//! Progress bars for what takes longer than a second, on a terminal only.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A bar on standard error that shows itself after a second and leaves no trace.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Waits for that second: between two calls of [`Progress::set`] many may pass. Dropping the
    /// sender ends it.
    waiting: Option<(Sender<()>, JoinHandle<()>)>,
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
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden())
            .with_style(style(unit))
            .with_message(what);
        let waiting = io::stderr().is_terminal().then(|| {
            let (sender, receiver) = mpsc::channel::<()>();
            let bar = bar.clone();
            let wait = move || {
                if receiver.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(TICK);
                }
            };
            (sender, thread::spawn(wait))
        });
        Self { bar, waiting }
    }

    /// `done` of `total` units are done.
    pub(crate) fn set(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.waiting.take() {
            drop(sender);
            // A bar that failed to show itself is no reason to fail.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

fn style(unit: Unit) -> ProgressStyle {
    let template = match unit {
        Unit::Bytes => "{msg} {bar:30} {bytes} of {total_bytes}{left}",
        Unit::Tokens => "{msg} {bar:30} {pos} of {len} tokens{rate}{left}",
    };
    // A word that is not written leaves a gap in the bar.
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        let _ = out.write_str(&rate(state.pos(), state.elapsed()));
    };
    let left = |state: &ProgressState, out: &mut dyn Write| {
        let total = state.len().unwrap_or(0);
        let _ = out.write_str(&left(state.pos(), total, state.elapsed()));
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    style.with_key("rate", rate).with_key("left", left)
}

/// `, 12.3 tokens/s`, the mean since the beginning; nothing before the first.
fn rate(done: u64, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64();
    let decimals = if rate < 100.0 { 1 } else { 0 };
    match done > 0 && rate.is_finite() {
        true => format!(", {rate:.decimals$} tokens/s"),
        false => String::new(),
    }
}

/// `, 1:05 left` at that rate; nothing before the first unit and after the last.
fn left(done: u64, total: u64, elapsed: Duration) -> String {
    if done == 0 || done >= total {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() * (total - done) as f64 / done as f64;
    let seconds = seconds.ceil() as u64;
    match seconds {
        0..60 => format!(", {seconds} s left"),
        60..3600 => format!(", {}:{:02} min left", seconds / 60, seconds % 60),
        _ => format!(", {}:{:02} h left", seconds / 3600, seconds / 60 % 60),
    }
}

/// What is done within this time needs no bar.
const QUIET: Duration = Duration::from_secs(1);

/// How often the bar is drawn anew.
const TICK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_mean_since_the_beginning() {
        assert_eq!(rate(512, Duration::from_secs(5)), ", 102 tokens/s");
        assert_eq!(rate(256, Duration::from_secs(20)), ", 12.8 tokens/s");
        assert_eq!(rate(0, Duration::from_secs(5)) + &rate(9, Duration::ZERO), "");
    }

    #[test]
    fn the_time_left_is_in_words_that_fit_it() {
        let after = |done, seconds| left(done, 1000, Duration::from_secs(seconds));
        assert_eq!(after(500, 7), ", 7 s left");
        assert_eq!(after(100, 10), ", 1:30 min left");
        assert_eq!(after(1, 5), ", 1:23 h left");
        assert_eq!(after(0, 5) + &after(1000, 5), "", "nothing is known, nothing is left");
    }
}
