//! The state of one answer: what was said, and what may come next.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::time::Instant;

use super::guide::Guide;
use super::render::Asked;
use super::{
    AnswerOptions, Chat, Content, ConversationError, Done, Event, Finish, Message, Overflow, Role,
    Thinking, Timings, Usage,
};
use crate::chat::{ToolCall, parse_call};
use crate::draft::DraftStats;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::reply::{LoopGuard, Piece, Splitter, StopStrings, ThinkingBudget};
use crate::sampler::{LIKELIEST_MAX, log_probabilities};
use crate::session::{Input, MediaPrompt, Session, SessionError, Stop};
use crate::tokenizer::Tokenizer;
use crate::{Sampler, TokenId, TokenMask};

/// One answer, without the session that computes it: what [`Chat::reply`] drives for a single
/// conversation, and a service for many.
///
/// ```no_run
/// # use carat::{Answer, AnswerOptions, Cancel, Chat, Error, Event, Model};
/// # fn answer(model: &Model, chats: &mut [Chat]) -> Result<(), Error> {
/// let begin = |chat| Answer::begin(chat, model, AnswerOptions::default());
/// let mut answers = chats.iter_mut().map(begin).collect::<Result<Vec<_>, _>>()?;
/// while answers.iter().any(|answer| !answer.is_done()) {
///     let mut sessions: Vec<_> = chats.iter_mut().map(Chat::session_mut).collect();
///     carat::evaluate(&mut sessions, &Cancel::new())?;
///     for (answer, chat) in answers.iter_mut().zip(&mut *chats) {
///         answer.advance(chat.session_mut())?;
///         while let Some(event) = answer.next_event() {
///             println!("{event:?}");
///         }
///     }
/// }
/// for (answer, chat) in answers.into_iter().zip(chats) {
///     chat.push(answer.into_message());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Answer<'t> {
    tokenizer: &'t Tokenizer,
    options: AnswerOptions,
    sampler: Sampler,
    splitter: Splitter<'t>,
    stop: StopStrings,
    budget: Option<ThinkingBudget<'t>>,
    guard: Option<LoopGuard>,
    guide: Option<Guide>,
    /// Where the prompt of the next turn goes on differently.
    answer_at: usize,
    /// Tokens that come next in place of what would be chosen.
    forced: VecDeque<TokenId>,
    events: VecDeque<Event>,
    text: String,
    thought: String,
    calls: Vec<(String, ToolCall)>,
    /// Calls of the conversation before.
    calls_before: usize,
    usage: Usage,
    timings: Timings,
    /// What drafts were good for, and what the session had counted before.
    drafts: DraftStats,
    drafts_before: DraftStats,
    begun: Instant,
    is_begun: bool,
    is_done: bool,
}

impl<'t> Answer<'t> {
    /// Begins the answer to the last message of `chat`: makes its session hold the conversation, of
    /// which what is new is left pending. `model` is the conversation's.
    ///
    /// # Errors
    /// [`ConversationError`], [`ChatError`](crate::chat::ChatError) if the template does not take
    /// the conversation, [`SessionError::ContextFull`], and those of samplers and grammars: all
    /// before anything is evaluated, and with the conversation as it was.
    pub fn begin(chat: &mut Chat, model: &'t Model, options: AnswerOptions) -> Result<Self> {
        let Chat { session, template, tools, messages, .. } = chat;
        let template = template.as_deref().or(model.chat_template());
        let template = template.ok_or(ConversationError::NoTemplate)?;
        let asked = Asked { model, template, tools, messages };
        let (answer, old) = Self::new(asked, model.tokenizer(), session, options)?;
        messages.drain(old);
        Ok(answer)
    }

    /// [`Answer::begin`], which also says which messages must go.
    pub(super) fn new(
        asked: Asked<'_>,
        tokenizer: &'t Tokenizer,
        session: &mut Session,
        options: AnswerOptions,
    ) -> Result<(Self, Range<usize>)> {
        let begun = Instant::now();
        let stop = StopStrings::new(&options.stop).map_err(ConversationError::from)?;
        if let Some(found) = options.log_probabilities.filter(|n| *n > LIKELIEST_MAX) {
            let (setting, most) = ("log_probabilities", LIKELIEST_MAX);
            return Err(ConversationError::Setting { setting, found, most }.into());
        }
        let mut sampler = Sampler::new(options.sampling.clone(), tokenizer.vocab_size())?;
        let mut events = VecDeque::new();
        let (prompt, answer_at, dropped) = fitting(asked, session.context(), &options)?;
        let mut budget = match options.thinking {
            Thinking::Budget(tokens) => ThinkingBudget::new(tokenizer, tokens),
            Thinking::Off | Thinking::On => None,
        };
        let splitter = Splitter::after(tokenizer, &prompt.ids);
        let guide = guide(asked, &options, splitter.is_thinking())?;
        let forced =
            budget.as_mut().and_then(|budget| budget.begin(&prompt.ids).map(<[_]>::to_vec));
        let reused = session.enqueue_prompt(&prompt)?;
        let most = options.max_tokens.unwrap_or(usize::MAX);
        session.draft_until(prompt.ids.len().saturating_add(most));
        let system = asked.system_messages();
        if dropped > 0 {
            events.push_back(Event::Dropped(dropped));
        }
        sampler.seek(prompt.ids.len() as u64);
        let usage = Usage {
            prompt_tokens: prompt.ids.len(),
            cached_tokens: reused.reused,
            ..Usage::default()
        };
        let calls = asked.messages.iter().map(|message| message.tool_calls.len());
        let answer = Self {
            tokenizer,
            sampler,
            splitter,
            stop,
            budget,
            guard: options.loop_guard.then(LoopGuard::new),
            guide,
            answer_at,
            forced: forced.unwrap_or_default().into(),
            events,
            text: String::new(),
            thought: String::new(),
            calls: Vec::new(),
            calls_before: calls.sum(),
            usage,
            timings: Timings::default(),
            drafts: DraftStats::default(),
            drafts_before: session.draft_stats(),
            begun,
            is_begun: false,
            is_done: false,
            options,
        };
        Ok((answer, system..system + dropped))
    }

    /// Whether the answer is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The next event that is not given out yet.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Chooses the next token, or those that come next in any case, and appends them to the
    /// conversation's session, which has evaluated all tokens; where some are still pending,
    /// nothing happens.
    ///
    /// # Errors
    /// Logits that are no numbers, a grammar that takes too much work, or no memory. The answer is
    /// not over then; asked again, it gives the same error.
    pub fn advance(&mut self, session: &mut Session) -> Result<()> {
        if self.is_done || session.pending() > 0 {
            return Ok(());
        }
        self.drafts = session.draft_stats().since(&self.drafts_before);
        if !self.is_begun {
            self.is_begun = true;
            self.timings.prompt = self.begun.elapsed();
            if let Err(Error::Memory(error)) = session.mark(self.answer_at) {
                return Err(error.into());
            }
        }
        if self.left() == 0 {
            self.finish(Finish::MaxTokens);
            return Ok(());
        }
        if !self.forced.is_empty() {
            self.append_forced(session)?;
            self.propose(session);
            return Ok(());
        }
        session.settle()?;
        let Some(token) = self.choose(session)? else {
            self.finish(match session.stop() {
                Some(Stop::ContextFull) => Finish::ContextFull,
                _ if !self.calls.is_empty() => Finish::ToolCalls,
                _ => Finish::EndOfTurn,
            });
            return Ok(());
        };
        self.said(token)?;
        // No logits are wanted between a token and those that come after it in any case.
        self.append_forced(session)?;
        self.propose(session);
        Ok(())
    }

    /// Ends the answer before its time.
    pub fn cancel(&mut self) {
        if !self.is_done {
            self.finish(Finish::Cancelled);
        }
    }

    /// What was said, as a message of the conversation.
    #[must_use]
    pub fn into_message(self) -> Message {
        Message {
            thought: self.thought,
            tool_calls: self.calls,
            ..Message::new(Role::Assistant, vec![Content::Text(self.text)])
        }
    }

    /// Whether nothing was said yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thought.is_empty() && self.calls.is_empty()
    }

    fn choose(&mut self, session: &mut Session) -> Result<Option<TokenId>> {
        let forbidden = self.budget.as_ref().and_then(ThinkingBudget::forbidden);
        let mut mask = match &mut self.guide {
            Some(guide) => Some(TokenMask::from_words(guide.allowed()?)),
            None => forbidden.map(|_| TokenMask::all(self.tokenizer.vocab_size())),
        };
        if let (Some(mask), Some(id)) = (&mut mask, forbidden) {
            mask.forbid(id);
        }
        let raw = match self.options.log_probabilities {
            Some(_) => session.logits()?.to_vec(),
            None => Vec::new(),
        };
        let chosen = session.choose(&mut self.sampler, mask.as_ref())?;
        if let (Some(token), Some(count)) = (chosen, self.options.log_probabilities) {
            self.events.push_back(Event::Token(log_probabilities(&raw, token, count)?));
        }
        if let Some(guide) = &mut self.guide
            && let Some(token) = chosen
        {
            guide.accept(token)?;
            self.forced.extend(guide.forced());
        }
        Ok(chosen)
    }

    /// Lets the session draft what may follow.
    fn propose(&self, session: &mut Session) {
        if let Some(guide) = self.guide.as_ref().filter(|_| !self.is_done) {
            session.propose(&mut |drafts, most| guide.cut(drafts, most));
        }
    }

    /// Appends the tokens that come next in any case, to be evaluated in one pass.
    fn append_forced(&mut self, session: &mut Session) -> Result<()> {
        while !self.forced.is_empty() && !self.is_done {
            self.append_some(session)?;
        }
        Ok(())
    }

    fn append_some(&mut self, session: &mut Session) -> Result<()> {
        for token in mem::take(&mut self.forced) {
            if self.is_done {
                return Ok(());
            }
            match session.enqueue(Input::Tokens(&[token])) {
                Err(Error::Session(SessionError::ContextFull { .. })) => {
                    self.finish(Finish::ContextFull);
                    return Ok(());
                }
                result => result?,
            }
            self.sampler.accept(token);
            if let Some(guide) = &mut self.guide {
                guide.accept(token)?;
            }
            self.said(token)?;
        }
        if let Some(guide) = &mut self.guide
            && self.forced.is_empty()
        {
            self.forced.extend(guide.forced());
        }
        Ok(())
    }

    /// How many tokens may still come.
    fn left(&self) -> usize {
        self.options.max_tokens.unwrap_or(usize::MAX).saturating_sub(self.usage.completion_tokens)
    }

    /// Takes note of a token that is now part of the session.
    fn said(&mut self, token: TokenId) -> Result<()> {
        self.usage.completion_tokens += 1;
        let now = self.begun.elapsed();
        self.timings.rest = now - *self.timings.first.get_or_insert(now);
        let was_thinking = self.splitter.is_thinking();
        let piece = self.splitter.push(token);
        if was_thinking || self.splitter.is_thinking() {
            self.usage.thought_tokens += 1;
        }
        self.give(piece);
        if self.is_done {
            return Ok(());
        }
        if let Some(closing) = self.budget.as_mut().and_then(|budget| budget.accept(token)) {
            self.forced = closing.to_vec().into();
        }
        if let Some(repeat) = self.guard.as_mut().and_then(|guard| guard.accept(token)) {
            match self.tokenizer.special("<channel|>").filter(|_| self.splitter.is_thinking()) {
                Some(close) => {
                    self.events.push_back(Event::ThoughtRepeated(repeat));
                    self.forced = [close].into();
                    self.guard = Some(LoopGuard::new());
                }
                None => self.finish(Finish::Repetition(repeat)),
            }
        }
        if self.left() == 0 && !self.is_done {
            self.finish(Finish::MaxTokens);
        }
        Ok(())
    }

    /// Gives out what a token completed.
    fn give(&mut self, piece: Option<Piece>) {
        match piece {
            None => {}
            Some(Piece::Text(text)) => {
                let text = self.stop.push(&text).to_owned();
                self.text.push_str(&text);
                if !text.is_empty() {
                    self.events.push_back(Event::Text(text));
                }
                if let Some(index) = self.stop.stopped() {
                    self.finish(Finish::StopString(self.options.stop[index].clone()));
                }
            }
            Some(Piece::Thought(text)) => {
                self.thought.push_str(&text);
                self.events.push_back(Event::Thought(text));
            }
            Some(Piece::ToolCall(text)) => match parse_call(&text) {
                Ok(call) => {
                    let id = format!("call_{}", self.calls_before + self.calls.len());
                    let ToolCall { name, arguments, json } = call.clone();
                    self.events.push_back(Event::ToolCall {
                        id: id.clone(),
                        name,
                        arguments,
                        json,
                    });
                    self.calls.push((id, call));
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.events.push_back(Event::InvalidToolCall { text, reason });
                }
            },
            Some(Piece::CutToolCall(text)) => {
                let reason = "the answer ended within the call".to_owned();
                self.events.push_back(Event::InvalidToolCall { text, reason });
            }
        }
    }

    /// Ends the answer: gives out what was held back, and why it is over.
    fn finish(&mut self, reason: Finish) {
        self.is_done = true;
        if !matches!(reason, Finish::StopString(_)) {
            let rest = self.splitter.finish();
            self.give_rest(rest);
        }
        let (usage, timings, drafts) = (self.usage, self.timings, self.drafts);
        self.events.push_back(Event::Done(Done { reason, usage, timings, drafts }));
    }

    fn give_rest(&mut self, piece: Option<Piece>) {
        match piece {
            Some(Piece::Text(text)) => {
                let text = self.stop.push(&text).to_owned();
                self.rest(&text);
            }
            other => self.give(other),
        }
        if self.stop.stopped().is_none() {
            let held = self.stop.finish().to_owned();
            self.rest(&held);
        }
    }

    fn rest(&mut self, text: &str) {
        self.text.push_str(text);
        if !text.is_empty() {
            self.events.push_back(Event::Text(text.to_owned()));
        }
    }
}

/// The prompt of a conversation, the length that later prompts begin with too, and how many of the
/// oldest messages behind the system's must go for it to fit.
fn fitting(
    asked: Asked<'_>,
    context: usize,
    options: &AnswerOptions,
) -> Result<(MediaPrompt, usize, usize)> {
    let (prompt, answer_at) = asked.prompt(options.thinking)?;
    let room = options.max_tokens.unwrap_or(usize::MAX).min(context / ROOM_SHARE).max(1);
    let wanted = prompt.ids.len() + room;
    if wanted <= context || options.overflow == Overflow::Error {
        return Ok((prompt, answer_at, 0));
    }
    let (system, all) = (asked.system_messages(), asked.messages);
    let mut shortest = (prompt, answer_at, 0);
    for turn in (system + 1..all.len()).filter(|i| all[*i].role == Role::User) {
        let messages: Vec<_> = all[..system].iter().chain(&all[turn..]).cloned().collect();
        let (prompt, answer_at) =
            Asked { messages: &messages, ..asked }.prompt(options.thinking)?;
        let fits = prompt.ids.len() + room <= context;
        shortest = (prompt, answer_at, turn - system);
        if fits {
            break;
        }
    }
    match shortest.0.ids.len() < context {
        true => Ok(shortest),
        false => Err(SessionError::ContextFull { wanted, context }.into()),
    }
}

/// What guides an answer that has a format or calls tools.
#[cfg(feature = "grammar")]
fn guide(asked: Asked<'_>, options: &AnswerOptions, is_thinking: bool) -> Result<Option<Guide>> {
    use crate::chat::ToolChoice;
    use crate::grammar::{Constraint, Grammar};
    let calls = !asked.tools.is_empty() && options.tool_choice != ToolChoice::None;
    let constraint = match &options.format {
        Some(_) if calls => return Err(ConversationError::FormatAndTools.into()),
        Some(format) => Constraint::new(format),
        None if asked.tools.is_empty() => return Ok(None),
        None => {
            let env = asked.model.grammar_env()?;
            Constraint::new(&Grammar::tools(env, asked.tools, &options.tool_choice)?)
        }
    };
    let may_think = options.thinking != Thinking::Off;
    Ok(Some(Guide::new(constraint, asked.model.tokenizer(), is_thinking, may_think)))
}

#[cfg(not(feature = "grammar"))]
fn guide(_: Asked<'_>, _: &AnswerOptions, _: bool) -> Result<Option<Guide>> {
    Ok(None)
}

/// The share of the context that is left for an answer without a limit when old turns are dropped.
const ROOM_SHARE: usize = 4;
