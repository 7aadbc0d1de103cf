//! An answer as an iterator.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::ops::ControlFlow;

use super::render::Asked;
use super::{Answer, AnswerOptions, Chat, ConversationError, Event, Message};
use crate::error::{Error, Result};
use crate::session::{Progress, Session};

/// What a model says, made by [`Chat::reply`]. The last event is [`Event::Done`].
///
/// Once the iterator has ended or is dropped, the answer is the last message of the conversation,
/// as far as it came. An answer of which nothing came leaves no message.
#[derive(Debug)]
pub struct Reply<'c> {
    /// `None` once the answer is a message.
    answer: Option<Answer<'c>>,
    session: &'c mut Session,
    messages: &'c mut Vec<Message>,
    /// What is given out after the answer became a message.
    last: VecDeque<Event>,
}

impl Chat {
    /// [`Chat::reply`], with `progress` called after each chunk of the prompt; it may break off.
    ///
    /// # Errors
    /// As [`Chat::reply`].
    pub fn reply_with(
        &mut self,
        options: AnswerOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Reply<'_>> {
        let Self { model, session, template, tools, messages } = self;
        let template = template.as_deref().or(model.chat_template());
        let template = template.ok_or(ConversationError::NoTemplate)?;
        let asked = Asked { model, template, tools, messages };
        let (answer, old) = Answer::new(asked, model.tokenizer(), session, options)?;
        messages.drain(old);
        session.append(None, &[], &[], progress)?;
        Ok(Reply { answer: Some(answer), session, messages, last: VecDeque::new() })
    }
}

impl Reply<'_> {
    /// Makes the answer the last message, unless nothing was said.
    fn keep(&mut self) {
        if let Some(mut answer) = self.answer.take() {
            self.last.extend(std::iter::from_fn(|| answer.next_event()));
            if !answer.is_empty() {
                self.messages.push(answer.into_message());
            }
        }
    }
}

impl Iterator for Reply<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(answer) = &mut self.answer {
            if let Some(event) = answer.next_event() {
                return Some(Ok(event));
            }
            if answer.is_done() {
                self.keep();
                break;
            }
            // What was forced is pending, and so is the last token.
            match self.session.settle().and_then(|()| answer.advance(self.session)) {
                Ok(()) => {}
                Err(Error::Cancelled { .. }) => answer.cancel(),
                Err(error) => {
                    self.keep();
                    return Some(Err(error));
                }
            }
        }
        self.last.pop_front().map(Ok)
    }
}

impl FusedIterator for Reply<'_> {}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        self.keep();
    }
}
