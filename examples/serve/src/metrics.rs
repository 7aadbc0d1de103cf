//! Numbers about the server in Prometheus' text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use carat::{Done, Finish};

/// What is counted since the server began.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
    waiting: AtomicUsize,
    busy: AtomicUsize,
    slots: AtomicUsize,
}

#[derive(Debug, Default)]
struct Counts {
    /// Requests by path and status.
    requests: BTreeMap<(String, u16), u64>,
    prompt: u64,
    cached: u64,
    completion: u64,
    drafted: u64,
    accepted: u64,
    answers: u64,
    cancelled: u64,
    answer_seconds: f64,
    prompt_seconds: f64,
}

impl Metrics {
    /// A request was answered, one way or another.
    pub(crate) fn request(&self, path: &str, status: u16) {
        *self.counts().requests.entry((path.to_owned(), status)).or_default() += 1;
    }

    /// An answer ended that took so long in its slot.
    pub(crate) fn answer(&self, done: &Done, whole: Duration) {
        let Done { reason, usage, timings, drafts, .. } = done;
        let mut counts = self.counts();
        counts.prompt += usage.prompt_tokens as u64;
        counts.cached += usage.cached_tokens as u64;
        counts.completion += usage.completion_tokens as u64;
        counts.drafted += drafts.drafted as u64;
        counts.accepted += drafts.accepted as u64;
        counts.answers += 1;
        counts.cancelled += u64::from(*reason == Finish::Cancelled);
        counts.answer_seconds += whole.as_secs_f64();
        counts.prompt_seconds += timings.prompt.as_secs_f64();
    }

    /// So many requests wait now, and so many are being answered.
    pub(crate) fn busy(&self, waiting: usize, busy: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// So many may be answered at once.
    pub(crate) fn slots(&self, slots: usize) {
        self.slots.store(slots, Ordering::Relaxed);
    }

    /// How long it will take, about, until one of those who wait gets one of `slots` slots.
    pub(crate) fn seconds_to_wait(&self, slots: usize) -> u64 {
        let counts = self.counts();
        let mean = counts.answer_seconds / counts.answers.max(1) as f64;
        ((mean / slots.max(1) as f64).ceil() as u64).clamp(1, 60)
    }

    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        let counts = self.counts();
        let mut text = String::new();
        let mut add = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            let _ = writeln!(text, "# HELP carat_{name} {help}\n# TYPE carat_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "carat_{name}{labels} {value}");
            }
        };
        let requests = counts.requests.iter().map(|((path, status), count)| {
            (format!("{{path=\"{path}\",status=\"{status}\"}}"), count.to_string())
        });
        let help = "Requests by path and status.";
        add("requests_total", "counter", help, &requests.collect::<Vec<_>>());
        for (name, kind, help, value) in [
            ("prompt_tokens_total", "counter", "Tokens of prompts.", counts.prompt.to_string()),
            (
                "cached_tokens_total",
                "counter",
                "Tokens of prompts that a slot held already.",
                counts.cached.to_string(),
            ),
            (
                "completion_tokens_total",
                "counter",
                "Tokens of answers.",
                counts.completion.to_string(),
            ),
            (
                "drafted_tokens_total",
                "counter",
                "Tokens that were guessed ahead and verified.",
                counts.drafted.to_string(),
            ),
            (
                "accepted_tokens_total",
                "counter",
                "Guessed tokens that became text.",
                counts.accepted.to_string(),
            ),
            ("answers_total", "counter", "Answers that were begun.", counts.answers.to_string()),
            (
                "answers_cancelled_total",
                "counter",
                "Answers whose client left.",
                counts.cancelled.to_string(),
            ),
            (
                "answer_seconds_total",
                "counter",
                "Seconds that answers were in a slot.",
                counts.answer_seconds.to_string(),
            ),
            (
                "prompt_seconds_total",
                "counter",
                "Seconds from a slot to the end of the prompt.",
                counts.prompt_seconds.to_string(),
            ),
            ("queue_requests", "gauge", "Requests that wait.", load(&self.waiting).to_string()),
            ("slots_busy", "gauge", "Answers under way.", load(&self.busy).to_string()),
            ("slots", "gauge", "Answers possible at once.", load(&self.slots).to_string()),
        ] {
            add(name, kind, help, &[(String::new(), value)]);
        }
        text
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(gauge: &AtomicUsize) -> usize {
    gauge.load(Ordering::Relaxed)
}
