//! Where requests wait for the scheduler, and where their clients say that they are gone.
//!
//! The handlers of requests put an [`Ask`] on the desk and get a [`Running`] back, from which the
//! answer comes. Whoever drops it has left: a request that waits is taken off the desk, one that is
//! being answered loses its slot, and a pass that is under way for nobody else is cancelled.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use carat::chat::{ChatTemplate, Tool};
use carat::{AnswerOptions, Cancel, Event};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::ApiError;
use crate::messages::Turn;
use crate::metrics::Metrics;

/// What is to be answered.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The conversation.
    pub(crate) turns: Vec<Turn>,
    /// What the model may call.
    pub(crate) tools: Vec<Tool>,
    /// Whether the answer is over after the first call.
    pub(crate) one_call: bool,
    /// How the answer is given.
    pub(crate) options: AnswerOptions,
    /// The template in place of the model's own.
    pub(crate) template: Option<Arc<ChatTemplate>>,
}

/// What the scheduler says to a handler.
#[derive(Debug)]
pub(crate) enum Update {
    /// The prompt is well-formed and fits: the answer will come.
    Begun,
    /// A part of the answer.
    Event(Event),
}

/// A request on the desk.
#[derive(Debug)]
pub(crate) struct Job {
    /// Its number.
    pub(crate) id: u64,
    /// What is to be answered.
    pub(crate) ask: Ask,
    /// Where the answer goes. A send fails only if the client is gone, which the desk tells, too.
    pub(crate) updates: UnboundedSender<Result<Update, ApiError>>,
}

/// An answer that is awaited. Dropping it cancels the answer.
#[derive(Debug)]
pub(crate) struct Running {
    id: u64,
    desk: Arc<Desk>,
    updates: UnboundedReceiver<Result<Update, ApiError>>,
}

impl Running {
    /// The next thing that happens; an error is the last.
    pub(crate) async fn next(&mut self) -> Result<Update, ApiError> {
        match self.updates.recv().await {
            Some(update) => update,
            None => {
                let message = "the answer was lost in the engine: report it, and try again";
                Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.desk.leave(self.id);
    }
}

/// What the scheduler does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Begin this answer.
    Job(Box<Job>),
    /// Nothing new is there.
    Nothing,
    /// The server ends, and nobody waits.
    End,
}

/// The desk.
#[derive(Debug)]
pub(crate) struct Desk {
    most: usize,
    slots: usize,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    changed: Condvar,
    cancel: Cancel,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// The numbers of the requests that are being answered, and whether their clients are gone.
    answering: Vec<(u64, bool)>,
    last: u64,
    is_closing: bool,
    is_over: bool,
}

impl Desk {
    /// A desk on which up to `most` requests wait for `slots` places.
    pub(crate) fn new(most: usize, slots: usize, metrics: Arc<Metrics>) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { most, slots, metrics, state, changed, cancel: Cancel::new() }
    }

    /// Refuses a request that would have to wait and cannot, before anything is read of it.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        self.admit(&self.lock())
    }

    /// Puts a request on the desk.
    pub(crate) fn enqueue(self: &Arc<Self>, ask: Ask) -> Result<Running, ApiError> {
        let (sender, updates) = unbounded_channel();
        let mut state = self.lock();
        self.admit(&state)?;
        state.last += 1;
        let id = state.last;
        state.waiting.push_back(Job { id, ask, updates: sender });
        self.metrics.waiting(state.waiting.len());
        self.changed.notify_all();
        Ok(Running { id, desk: Arc::clone(self), updates })
    }

    fn admit(&self, state: &State) -> Result<(), ApiError> {
        if state.is_closing {
            return Err(ApiError::closing());
        }
        // A free slot takes what waits within a moment.
        let free = self.slots.saturating_sub(state.answering.len());
        match state.waiting.len() < self.most + free {
            true => Ok(()),
            false => Err(ApiError::busy(self.metrics.seconds_to_wait(self.slots))),
        }
    }

    /// The next request; waits for one if `may_wait`.
    pub(crate) fn next(&self, may_wait: bool) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.answering.push((job.id, false));
                self.metrics.waiting(state.waiting.len());
                return Next::Job(Box::new(job));
            }
            if !may_wait {
                return Next::Nothing;
            }
            if state.is_closing {
                return Next::End;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that a request is answered.
    pub(crate) fn done(&self, id: u64) {
        self.lock().answering.retain(|(other, _)| *other != id);
    }

    /// Says that nothing is being answered any more.
    pub(crate) fn forget(&self) {
        self.lock().answering.clear();
    }

    /// Prepares a pass: the numbers of those for whom it need not be, the flag that ends it early,
    /// and whether all answers must end.
    pub(crate) fn begin_pass(&self) -> (Vec<u64>, &Cancel, bool) {
        let mut state = self.lock();
        let gone = state.answering.extract_if(.., |(_, is_gone)| *is_gone).map(|(id, _)| id);
        let gone = gone.collect();
        self.cancel.reset();
        (gone, &self.cancel, state.is_over)
    }

    /// Takes no more requests, and sends those away that wait.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closing = true;
        for job in state.waiting.drain(..) {
            let _ = job.updates.send(Err(ApiError::closing()));
        }
        self.metrics.waiting(0);
        self.changed.notify_all();
    }

    /// Ends all answers.
    pub(crate) fn end(&self) {
        self.close();
        self.lock().is_over = true;
        self.cancel.cancel();
    }

    /// A client is gone, or has its answer.
    fn leave(&self, id: u64) {
        let mut state = self.lock();
        state.waiting.retain(|job| job.id != id);
        self.metrics.waiting(state.waiting.len());
        if let Some((_, is_gone)) = state.answering.iter_mut().find(|(other, _)| *other == id) {
            *is_gone = true;
            if state.answering.iter().all(|(_, is_gone)| *is_gone) {
                self.cancel.cancel();
            }
        }
    }

    /// What the lock guards is whole whenever it is given back.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask {
            turns: Vec::new(),
            tools: Vec::new(),
            one_call: false,
            options: AnswerOptions::default(),
            template: None,
        }
    }

    fn take(desk: &Desk) -> u64 {
        match desk.next(false) {
            Next::Job(job) => job.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_full_desk_refuses_and_who_leaves_makes_room() {
        let desk = Arc::new(Desk::new(1, 1, Arc::default()));
        let first = desk.enqueue(ask()).expect("for the slot");
        let second = desk.enqueue(ask()).expect("waits");
        let refused = desk.enqueue(ask()).expect_err("one too many");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.retry_after.is_some() && desk.check().is_err());
        assert_eq!(take(&desk), first.id);
        drop(second);
        assert!(desk.check().is_ok());
        assert!(matches!(desk.next(false), Next::Nothing));
    }

    #[test]
    fn a_pass_for_nobody_is_cancelled() {
        let desk = Arc::new(Desk::new(4, 2, Arc::default()));
        let (first, second) =
            (desk.enqueue(ask()).expect("one"), desk.enqueue(ask()).expect("two"));
        let ids = (take(&desk), take(&desk));
        let (gone, cancel, _) = desk.begin_pass();
        assert!(gone.is_empty() && !cancel.is_cancelled());
        drop(first);
        assert!(!cancel.is_cancelled(), "the second one waits");
        drop(second);
        assert!(cancel.is_cancelled());
        let (gone, cancel, _) = desk.begin_pass();
        assert!(gone == [ids.0, ids.1] && !cancel.is_cancelled());
    }

    #[test]
    fn a_closed_desk_sends_everybody_away() {
        let desk = Arc::new(Desk::new(4, 1, Arc::default()));
        let mut waits = desk.enqueue(ask()).expect("waits");
        desk.close();
        let sent = waits.updates.try_recv().expect("a word").expect_err("an error");
        assert_eq!(sent.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(desk.enqueue(ask()).is_err() && matches!(desk.next(true), Next::End));
    }
}
