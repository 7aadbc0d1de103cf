//! A slot: a session, and the answer that it is giving.

use std::time::Instant;

use carat::{Answer, Chat, Done, Event, Finish, MediaPrompt, Message, Model, Session};

use crate::desk::{Desk, Job, Update};
use crate::error::ApiError;
use crate::metrics::Metrics;

/// A session that answers one request at a time and keeps what it has read for the next one.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The session, where no answer has it.
    pub(crate) session: Option<Session>,
    /// The answer under way.
    busy: Option<Busy>,
    /// When it was used last, as a count of all answers.
    pub(crate) used: u64,
}

/// An answer under way.
#[derive(Debug)]
pub(crate) struct Busy {
    id: u64,
    /// The conversation, with the session.
    chat: Chat,
    job: Job,
    answer: Answer<'static>,
    begun: Instant,
}

impl Slot {
    /// A slot that has answered nothing yet.
    pub(crate) fn new(session: Session) -> Self {
        Self { session: Some(session), busy: None, used: 0 }
    }

    /// Whether it can take a request.
    pub(crate) fn is_free(&self) -> bool {
        self.session.is_some() && self.busy.is_none()
    }

    /// How many tokens a prompt begins with as the session does, if that is worth keeping: at least
    /// half of the prompt, or half of what the session holds. To keep less would cost another
    /// conversation all that it has here.
    pub(crate) fn shared(&self, prompt: &MediaPrompt) -> usize {
        let held = self.session.as_ref().map_or(&[][..], Session::tokens);
        let shared = held.iter().zip(&prompt.ids).take_while(|(a, b)| a == b).count();
        match 2 * shared >= prompt.ids.len().min(held.len()) {
            true => shared,
            false => 0,
        }
    }

    /// Begins an answer; says whether it has begun.
    pub(crate) fn begin(
        &mut self,
        model: &'static Model,
        mut job: Job,
        messages: Vec<Message>,
    ) -> bool {
        let Some(session) = self.session.take() else { return false };
        let begun = Instant::now();
        let tools = std::mem::take(&mut job.ask.tools);
        let chat = Chat::with_session(session, job.ask.template.take(), tools);
        let mut chat = match chat {
            Ok(chat) => chat,
            Err(error) => {
                let _ = job.updates.send(Err(error.into()));
                return false;
            }
        };
        chat.set_messages(messages);
        match Answer::begin(&mut chat, model, job.ask.options.clone()) {
            Ok(answer) => {
                let _ = job.updates.send(Ok(Update::Begun));
                self.busy = Some(Busy { id: job.id, chat, job, answer, begun });
                true
            }
            Err(error) => {
                let _ = job.updates.send(Err(error.into()));
                self.session = Some(chat.into_session());
                false
            }
        }
    }

    /// The number of the request that is being answered.
    pub(crate) fn id(&self) -> Option<u64> {
        self.busy.as_ref().map(|busy| busy.id)
    }

    /// The session of an answer under way.
    pub(crate) fn evaluated(&mut self) -> Option<&mut Session> {
        self.busy.as_mut().map(|busy| busy.chat.session_mut())
    }

    /// Chooses the next token, whose pass is over, and gives out what it means. Once the answer is
    /// over, the slot is free and the desk knows.
    pub(crate) fn advance(&mut self, desk: &Desk, metrics: &Metrics) {
        let Some(busy) = &mut self.busy else { return };
        if let Err(error) = busy.answer.advance(busy.chat.session_mut()) {
            self.end(Some(error.into()), desk, metrics);
            return;
        }
        let mut events: Vec<_> = busy.events().collect();
        let call = events.iter().position(|event| matches!(event, Event::ToolCall { .. }));
        if let Some(call) = call.filter(|_| busy.job.ask.one_call) {
            let rest = events.split_off(call + 1);
            busy.answer.cancel();
            let done = rest.into_iter().chain(busy.events()).find_map(|event| match event {
                Event::Done(mut done) => {
                    done.reason = Finish::ToolCalls;
                    Some(Event::Done(done))
                }
                _ => None,
            });
            events.extend(done);
        }
        let updates = busy.job.updates.clone();
        if let Some(Event::Done(done)) = events.last() {
            self.free(Some(done), desk, metrics);
        }
        for event in events {
            let _ = updates.send(Ok(Update::Event(event)));
        }
    }

    /// Ends the answer before its time, with an error if somebody still waits for it.
    pub(crate) fn end(&mut self, error: Option<ApiError>, desk: &Desk, metrics: &Metrics) {
        let Some(busy) = &mut self.busy else { return };
        busy.answer.cancel();
        let updates = busy.job.updates.clone();
        let done = busy.events().find_map(|event| match event {
            Event::Done(done) => Some(done),
            _ => None,
        });
        self.free(done.as_ref(), desk, metrics);
        if let Some(error) = error {
            let _ = updates.send(Err(error));
        }
    }

    fn free(&mut self, done: Option<&Done>, desk: &Desk, metrics: &Metrics) {
        let Some(busy) = self.busy.take() else { return };
        if let Some(done) = done {
            metrics.answer(done, busy.begun.elapsed());
        }
        desk.done(busy.id);
        self.session = Some(busy.chat.into_session());
    }
}

impl Busy {
    fn events(&mut self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.answer.next_event())
    }
}
