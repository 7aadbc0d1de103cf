//! Progress bars for what takes longer than a second, on a terminal only.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::text::say;

/// A bar on standard error that shows itself after a second and leaves no trace.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Milliseconds from the beginning to the last call of [`Progress::set`].
    heard: Arc<AtomicU64>,
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
        let heard = Arc::new(AtomicU64::new(0));
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden())
            .with_style(style(unit, &heard))
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
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self { bar, heard, waiting }
    }

    /// `done` of `total` units are done.
    pub(crate) fn set(&mut self, done: u64, total: u64) {
        // All at once, so that nothing is drawn in between.
        self.bar.update(|state| {
            self.heard.store(state.elapsed().as_millis() as u64, Ordering::Relaxed);
            state.set_len(total);
            state.set_pos(done);
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.waiting.take() {
            drop(sender);
            // A bar that failed to show itself is no reason to fail.
            let _ = thread.join();
        }
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.bar.finish_and_clear();
    }
}

/// Says something in between, from any thread, on a line of its own.
pub(crate) fn interject(words: &str) {
    let bar = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) if !bar.is_hidden() => bar.suspend(|| say!("{words}")),
        // The line may have an answer, or what the terminal writes for Ctrl-C.
        _ if io::stderr().is_terminal() => say!("\n{words}"),
        _ => say!("{words}"),
    }
}

/// The bar that may be on the terminal.
static CURRENT: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The rate is that of the last report, and from then on the time left runs down by itself.
fn style(unit: Unit, heard: &Arc<AtomicU64>) -> ProgressStyle {
    let template = match unit {
        Unit::Bytes => "{msg} {bar:30} {bytes} of {total_bytes}{left}",
        Unit::Tokens => "{msg} {bar:30} {pos} of {len} tokens{rate}{left}",
    };
    let at = |heard: &AtomicU64| Duration::from_millis(heard.load(Ordering::Relaxed));
    let (for_rate, for_left) = (heard.clone(), heard.clone());
    // A word that is not written leaves a gap in the bar.
    let rate = move |state: &ProgressState, out: &mut dyn Write| {
        let _ = out.write_str(&rate(state.pos(), at(&for_rate)));
    };
    let left = move |state: &ProgressState, out: &mut dyn Write| {
        let (total, at) = (state.len().unwrap_or(0), at(&for_left));
        let since = state.elapsed().saturating_sub(at);
        let _ = out.write_str(&left(state.pos(), total, at, since));
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    style.with_key("rate", rate).with_key("left", left)
}

/// `, 12.3 tokens/s`, the mean up to a time; nothing before the first.
fn rate(done: u64, at: Duration) -> String {
    let rate = done as f64 / at.as_secs_f64();
    let decimals = if rate < 100.0 { 1 } else { 0 };
    match done > 0 && rate.is_finite() {
        true => format!(", {rate:.decimals$} tokens/s"),
        false => String::new(),
    }
}

/// `, 1:05 min left` at that rate, `since` that time; nothing before the first unit and after the
/// last.
fn left(done: u64, total: u64, at: Duration, since: Duration) -> String {
    if done == 0 || done >= total {
        return String::new();
    }
    let seconds = at.as_secs_f64() * (total - done) as f64 / done as f64;
    // A second at least: nobody knows when it is less.
    let seconds = (seconds - since.as_secs_f64()).ceil().max(1.0) as u64;
    format!(", {} left", in_words(seconds))
}

/// `7 s`, `1:05 min`, `1:23 h`.
pub(crate) fn in_words(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
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
    fn the_rate_is_the_mean_up_to_the_last_report() {
        assert_eq!(rate(512, Duration::from_secs(5)), ", 102 tokens/s");
        assert_eq!(rate(256, Duration::from_secs(20)), ", 12.8 tokens/s");
        assert_eq!(rate(0, Duration::from_secs(5)) + &rate(9, Duration::ZERO), "");
    }

    #[test]
    fn the_time_left_is_in_words_that_fit_it() {
        let seconds = Duration::from_secs;
        let after = |done, at| left(done, 1000, seconds(at), seconds(0));
        assert_eq!(after(500, 7), ", 7 s left");
        assert_eq!(after(100, 10), ", 1:30 min left");
        assert_eq!(after(1, 5), ", 1:23 h left");
        let waiting = [2, 9].map(|since| left(500, 1000, seconds(7), seconds(since)));
        assert_eq!(waiting, [", 5 s left", ", 1 s left"]);
        assert_eq!(after(0, 5) + &after(1000, 5), "", "nothing is known, nothing is left");
    }
}
