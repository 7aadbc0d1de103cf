//! The one thread that owns all sessions: it begins answers in free slots, evaluates all answers
//! under way in one pass, and lets each of them choose its next token.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::http::StatusCode;
use carat::conversation::prompt;
use carat::{Content, ConversationError, Error, Message, Model, Session, SessionConfig};

use crate::desk::{Desk, Job, Next};
use crate::error::ApiError;
use crate::messages::Turn;
use crate::metrics::Metrics;
use crate::say;
use crate::slot::Slot;

/// The sessions, and what they are used for.
#[derive(Debug)]
pub(crate) struct Scheduler {
    model: &'static Model,
    config: SessionConfig,
    slots: Vec<Slot>,
    desk: Arc<Desk>,
    metrics: Arc<Metrics>,
    /// How many answers were begun.
    begun: u64,
}

impl Scheduler {
    /// A scheduler of `slots` sessions.
    pub(crate) fn new(
        model: &'static Model,
        config: SessionConfig,
        slots: usize,
        desk: Arc<Desk>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let slot = |_| {
            let session = Session::new(model, config.clone())?;
            Ok::<_, Error>(Slot::new(session))
        };
        let slots = (0..slots).map(slot).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { model, config, slots, desk, metrics, begun: 0 })
    }

    /// Bytes of memory that all sessions take once their contexts are full, weights left out.
    pub(crate) fn bytes(&self) -> u64 {
        let sessions = self.slots.iter().filter_map(|slot| slot.session.as_ref());
        sessions.map(|session| session.memory().kv).sum()
    }

    /// Answers until the desk is closed and nothing is left to answer. Sleeps where there is
    /// nothing to do.
    pub(crate) fn run(mut self) {
        loop {
            while self.slots.iter().any(Slot::is_free) {
                let is_idle = self.slots.iter().all(|slot| slot.id().is_none());
                match self.desk.next(is_idle) {
                    Next::Job(job) => self.guarded(|scheduler| scheduler.begin(*job)),
                    Next::Nothing => break,
                    Next::End => return,
                }
            }
            self.guarded(Self::pass);
            if self.slots.iter().all(|slot| !slot.is_free() && slot.id().is_none()) {
                return; // no session is left
            }
        }
    }

    /// Does `work`, of which a panic ends the answers under way and not the server: what the
    /// sessions hold is not known then, so that they are made anew.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_ok() {
            return;
        }
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let error = ApiError::new(status, "the engine failed on this answer: report it, try again");
        for slot in &mut self.slots {
            slot.end(Some(error.clone()), &self.desk, &self.metrics);
            slot.session = None; // before the new one takes its memory
            slot.session = Session::new(self.model, self.config.clone()).ok();
        }
        self.desk.forget();
        if !self.slots.iter().any(Slot::is_free) {
            say!("carat-serve: no memory for new sessions, the server ends");
            self.desk.end();
        }
    }

    /// Begins an answer in the free slot that has read most of its prompt, or else in the one whose
    /// last use is longest ago.
    fn begin(&mut self, job: Job) {
        let (id, updates) = (job.id, job.updates.clone());
        if let Err(error) = self.try_begin(job) {
            let _ = updates.send(Err(error.into()));
        }
        if self.slots.iter().all(|slot| slot.id() != Some(id)) {
            self.desk.done(id);
        }
    }

    fn try_begin(&mut self, mut job: Job) -> Result<(), Error> {
        let free = |slot: &&mut Slot| slot.is_free();
        let first = self.slots.iter_mut().find(free).and_then(|slot| slot.session.as_mut());
        let Some(session) = first else { return Ok(()) };
        let turns = std::mem::take(&mut job.ask.turns);
        let messages = embed(turns, session)?;
        let template = job.ask.template.as_deref().or(self.model.chat_template());
        let template = template.ok_or(ConversationError::NoTemplate)?;
        let thinking = job.ask.options.thinking;
        let prompt = prompt(self.model, template, &job.ask.tools, &messages, thinking)?;
        let shared = |slot: &&mut Slot| (slot.shared(&prompt), u64::MAX - slot.used);
        let best = self.slots.iter_mut().filter(free).max_by_key(shared);
        let Some(slot) = best else { return Ok(()) };
        self.begun += 1;
        slot.used = self.begun;
        slot.begin(self.model, job, messages);
        Ok(())
    }

    /// Evaluates what is pending in all slots, as far as it fits into one pass.
    fn pass(&mut self) {
        let desk = Arc::clone(&self.desk);
        let (gone, cancel, is_over) = desk.begin_pass();
        for slot in &mut self.slots {
            if slot.id().is_some_and(|id| gone.contains(&id)) {
                slot.end(None, &desk, &self.metrics);
            } else if is_over {
                slot.end(Some(ApiError::closing()), &desk, &self.metrics);
            }
        }
        let mut sessions: Vec<_> = self.slots.iter_mut().filter_map(Slot::evaluated).collect();
        let results = match carat::evaluate(&mut sessions, cancel) {
            Ok(results) => results,
            Err(Error::Cancelled { .. }) => return,
            Err(error) => {
                let error = ApiError::from(error);
                for slot in &mut self.slots {
                    slot.end(Some(error.clone()), &desk, &self.metrics);
                }
                return;
            }
        };
        let busy = self.slots.iter_mut().filter(|slot| slot.id().is_some());
        for (slot, result) in busy.zip(results) {
            match result {
                Ok(_) => slot.advance(&desk, &self.metrics),
                Err(error) => slot.end(Some(error.into()), &desk, &self.metrics),
            }
        }
    }
}

/// Messages whose media are rows of the model.
fn embed(turns: Vec<Turn>, session: &mut Session) -> Result<Vec<Message>, Error> {
    let message = |Turn { mut message, pieces }: Turn| {
        let contents = pieces.into_iter().map(|piece| piece.embed(session));
        message.content = contents.collect::<Result<Vec<Content>, _>>()?;
        Ok(message)
    };
    turns.into_iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use carat::{AnswerOptions, Event};
    use tokio::runtime::Builder;

    use super::*;
    use crate::answer::all;
    use crate::desk::{Ask, Update};
    use crate::media::Piece;

    fn ask() -> Ask {
        let options = AnswerOptions { max_tokens: Some(4), ..AnswerOptions::default() };
        Ask {
            turns: vec![Turn::user(vec![Piece::Text("hello".to_owned())])],
            tools: Vec::new(),
            one_call: false,
            options,
            template: None,
        }
    }

    /// A panic ends the answers under way with an error; the next ones are given as ever.
    #[test]
    fn a_panic_ends_answers_and_not_the_server() {
        let kit =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/model/tests/data/tiny-s");
        let model = Box::leak(Box::new(Model::open(kit.join("text-q4_0.gguf")).expect("the kit")));
        let metrics = Arc::new(Metrics::default());
        let desk = Arc::new(Desk::new(4, 2, Arc::clone(&metrics)));
        let config = SessionConfig { context: 256, threads: 1, ..Default::default() };
        let scheduler = Scheduler::new(model, config, 2, Arc::clone(&desk), metrics);
        let mut scheduler = scheduler.expect("a scheduler");
        let runtime = Builder::new_current_thread().build().expect("a runtime");

        let mut lost = desk.enqueue(ask()).expect("on the desk");
        let Next::Job(job) = desk.next(false) else { panic!("it waits") };
        scheduler.guarded(|scheduler| scheduler.begin(*job));
        let begun = runtime.block_on(lost.next()).expect("it has begun");
        assert!(matches!(begun, Update::Begun));
        scheduler.guarded(|_| panic!("on purpose"));
        let error = runtime.block_on(lost.next()).expect_err("it is lost");
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(scheduler.slots.iter().all(Slot::is_free));

        let next = desk.enqueue(ask()).expect("on the desk");
        let thread = std::thread::spawn(|| scheduler.run());
        let events = runtime.block_on(all(next)).expect("an answer");
        assert!(matches!(events.last(), Some(Event::Done(done)) if done.usage.prompt_tokens > 0));
        desk.close();
        thread.join().expect("it ends");
    }
}
