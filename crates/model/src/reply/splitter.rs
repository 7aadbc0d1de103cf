//! From tokens to text, thoughts and tool calls.
//!
//! Only the ids of special tokens count, so nothing that a model spells out in letters can pass for
//! structure. The rules, also for what no model should write:
//!
//! * A channel goes from `<|channel>` to `<channel|>`; its first line is its name. All of it is
//!   thought, whatever the name: text is only what stands outside of channels.
//! * A channel that is never closed goes on to the end. `<|channel>` within one ends it and begins
//!   another; `<channel|>` outside of one means nothing.
//! * A first line of more than 64 bytes is no name: it is part of the thought.
//! * A tool call goes from `<|tool_call>` to `<tool_call|>`, and in it every other special token is
//!   written out. A second `<|tool_call>` ends the first one, which is then given as cut.
//!   `<tool_call|>` outside of a call means nothing.
//! * A tool call within a channel is a call. The thought goes on after it.
//! * Other special tokens give nothing, and neither do ids outside the vocabulary.
//! * Where a vocabulary lacks one of the two tokens of a pair, the other means nothing either.

use std::mem;

use super::marks::{Mark, Marks, NAME_MAX};
use crate::tokenizer::Decoder;
use crate::{TokenId, Tokenizer};

/// A part of an answer. None is empty but for a tool call, which is given as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// More of the text.
    Text(String),
    /// More of the thought, without the channel's name.
    Thought(String),
    /// The inside of a tool call that is complete: what stands between `<|tool_call>` and
    /// `<tool_call|>`, with special tokens such as `<|"|>` written out.
    ToolCall(String),
    /// The inside of a tool call that was never ended.
    CutToolCall(String),
}

/// Turns the tokens of an answer into [`Piece`]s as they come.
#[derive(Clone, Debug)]
pub struct Splitter<'t> {
    marks: Marks,
    /// Gives special tokens no text.
    plain: Decoder<'t>,
    /// Writes special tokens out.
    written: Decoder<'t>,
    channel: Channel,
    call: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Channel {
    None,
    /// The first line, as far as it came.
    Name(String),
    Body,
}

impl<'t> Splitter<'t> {
    /// A splitter for an answer that begins as text.
    #[must_use]
    pub fn new(tokenizer: &'t Tokenizer) -> Self {
        Self {
            marks: Marks::new(tokenizer),
            plain: tokenizer.decoder(),
            written: tokenizer.decoder().show_special(true),
            channel: Channel::None,
            call: None,
        }
    }

    /// A splitter for what follows `prompt`, whose last turn may end within a channel or a tool
    /// call. What the prompt holds is given by no piece.
    #[must_use]
    pub fn after(tokenizer: &'t Tokenizer, prompt: &[TokenId]) -> Self {
        let mut splitter = Self::new(tokenizer);
        for token in splitter.marks.last_turn(prompt) {
            splitter.push(*token);
        }
        if let Some(call) = &mut splitter.call {
            call.clear();
        }
        splitter
    }

    /// Adds a token and returns what is now complete.
    pub fn push(&mut self, token: TokenId) -> Option<Piece> {
        match (self.marks.of(token), &mut self.call) {
            (Some(Mark::OpenCall), Some(_)) => {
                self.end_call(Some(String::new()), Piece::CutToolCall)
            }
            (Some(Mark::CloseCall), Some(_)) => self.end_call(None, Piece::ToolCall),
            (_, Some(call)) => {
                call.push_str(self.written.push(token));
                None
            }
            (Some(Mark::OpenCall), None) => {
                let piece = self.end_text();
                self.call = Some(String::new());
                piece
            }
            (Some(Mark::OpenChannel), None) => self.turn(Channel::Name(String::new())),
            (Some(Mark::CloseChannel), None) => self.turn(Channel::None),
            (Some(Mark::CloseCall) | None, None) => {
                let text = self.plain.push(token);
                give(text, &mut self.channel)
            }
        }
    }

    /// Ends the answer: a character of which bytes are missing becomes U+FFFD, and a tool call that
    /// is open is given as cut. The next token begins another answer.
    pub fn finish(&mut self) -> Option<Piece> {
        if self.call.is_some() {
            let piece = self.end_call(None, Piece::CutToolCall);
            self.channel = Channel::None;
            return piece;
        }
        self.turn(Channel::None)
    }

    /// Whether the next token belongs to a thought, past the name of its channel, or to a tool call
    /// within one.
    #[must_use]
    pub fn is_thinking(&self) -> bool {
        self.channel == Channel::Body
    }

    /// Ends the channel, if there is one, or the text, and goes on with `to`.
    fn turn(&mut self, to: Channel) -> Option<Piece> {
        let piece = self.end_text();
        self.channel = to;
        piece
    }

    /// Gives what the decoder still holds.
    fn end_text(&mut self) -> Option<Piece> {
        let text = self.plain.finish();
        give(text, &mut self.channel)
    }

    fn end_call(&mut self, next: Option<String>, piece: fn(String) -> Piece) -> Option<Piece> {
        let rest = self.written.finish();
        let mut inside = mem::replace(&mut self.call, next)?;
        inside.push_str(rest);
        Some(piece(inside))
    }
}

/// The piece that `text` makes where the stream is at `channel`.
fn give(text: &str, channel: &mut Channel) -> Option<Piece> {
    if text.is_empty() {
        return None;
    }
    match channel {
        Channel::None => Some(Piece::Text(text.to_owned())),
        Channel::Body => Some(Piece::Thought(text.to_owned())),
        Channel::Name(name) => {
            name.push_str(text);
            let body = match name.split_once('\n') {
                Some((name, body)) if name.len() <= NAME_MAX => body.to_owned(),
                None if name.len() <= NAME_MAX => return None,
                _ => mem::take(name),
            };
            *channel = Channel::Body;
            (!body.is_empty()).then_some(Piece::Thought(body))
        }
    }
}
