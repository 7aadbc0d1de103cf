//! Places in a conversation to which a session can come back from however far.
//!
//! Full layers keep all positions, but the rings of sliding layers forget. A mark is a copy of what
//! the rings hold of the positions that the next token sees, with the last residual row, so that
//! coming back costs a copy and no evaluation.

use super::{Placed, Session, SessionError};
use crate::error::Result;
use crate::pages::MemoryError;
use crate::text::kv_cache::Snapshot;

/// The marks of a session, in the order of their positions.
#[derive(Debug, Default)]
pub(super) struct Marks {
    most: usize,
    marks: Vec<Mark>,
}

#[derive(Debug)]
pub(super) struct Mark {
    snapshot: Snapshot,
    /// The residual row of the token before, `[hidden]`; empty where it was not there any more.
    hidden: Vec<f32>,
}

impl Marks {
    pub(super) fn new(most: usize) -> Self {
        Self { most, marks: Vec::new() }
    }

    /// The most that are kept.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// The number of them.
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter()
    }

    /// Adds a mark behind the others; its row is empty where it is not known.
    pub(super) fn push(&mut self, snapshot: Snapshot, hidden: Vec<f32>) {
        self.marks.push(Mark { snapshot, hidden });
    }

    /// Drops those that are not true of a conversation any more that went back to `len` tokens.
    fn forget(&mut self, len: usize) {
        self.marks.retain(|mark| mark.snapshot.at() <= len);
    }
}

impl Mark {
    pub(super) fn at(&self) -> usize {
        self.snapshot.at()
    }

    /// The residual row of the token before, or none.
    pub(super) fn row(&self) -> &[f32] {
        &self.hidden
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Session {
    /// Marks a length, so that [`Session::truncate`] and [`Session::prompt`] can come back to it
    /// from any greater one. It is one that they can come back to now, and of which all tokens are
    /// evaluated; to mark the end costs no evaluation later.
    ///
    /// Of the last [`SessionConfig::marks`](super::SessionConfig::marks) marks each takes as much
    /// memory as a sliding window of keys and values; the oldest one is dropped for a new one.
    /// Worth marking is where an answer begins: a template that drops thoughts goes back there.
    ///
    /// # Errors
    /// If the session is shorter or has forgotten too much, or there is no memory.
    pub fn mark(&mut self, tokens: usize) -> Result<()> {
        let (have, least) = (self.kv.len(), self.kv.least());
        if tokens > have {
            return Err(SessionError::TruncateBeyond { wanted: tokens, have }.into());
        }
        let marks = &mut self.marks.marks;
        let at = marks.partition_point(|mark| mark.snapshot.at() < tokens);
        let is_known = marks.get(at).is_some_and(|mark| mark.snapshot.at() == tokens);
        if self.marks.most == 0 || tokens == 0 || is_known {
            return Ok(());
        }
        if tokens < least {
            return Err(SessionError::Rollback { wanted: tokens, least }.into());
        }
        let mut hidden = Vec::new();
        let bytes = size_of_val(&self.hidden[..]) as u64;
        hidden
            .try_reserve_exact(self.hidden.len())
            .map_err(|_| MemoryError { what: "a mark", bytes })?;
        if self.hidden_at == tokens {
            hidden.extend_from_slice(&self.hidden);
        }
        let is_full = marks.len() == self.marks.most;
        if is_full {
            marks.remove(0); // before the new one takes its memory
        }
        let mark = Mark { snapshot: self.kv.snapshot(tokens)?, hidden };
        marks.insert(at.saturating_sub(usize::from(is_full)), mark);
        Ok(())
    }

    /// The lengths to which [`Session::truncate`] can come back from however far.
    pub fn marks(&self) -> impl Iterator<Item = usize> + '_ {
        self.marks.marks.iter().map(|mark| mark.snapshot.at())
    }

    /// Drops what the cache holds beyond `len` positions.
    ///
    /// # Errors
    /// The least possible length, if the sliding layers have forgotten too much.
    pub(super) fn rewind(&mut self, len: usize) -> Result<(), usize> {
        if len < self.kv.len() {
            self.kv.truncate(len)?;
            self.marks.forget(len);
            self.drop_ahead();
            (self.hidden_at, self.logits_at) = (0, 0);
        }
        Ok(())
    }

    /// Makes the cache hold `tokens` tokens with the row of the last one, or `cached` tokens or
    /// fewer, so that the rest is evaluated again.
    pub(super) fn come_back(&mut self, tokens: usize, cached: usize) -> Result<(), SessionError> {
        let marks = &self.marks.marks;
        let count = marks.partition_point(|mark| mark.snapshot.at() <= tokens);
        let has_row = |mark: &Mark| cached == tokens || !mark.hidden.is_empty();
        let fits = |mark: &Mark| mark.snapshot.at() == tokens && has_row(mark);
        let is_exact = marks[..count].last().is_some_and(fits);
        if !is_exact {
            let Err(least) = self.rewind(cached) else { return Ok(()) };
            // Media cannot be evaluated again: their rows are gone.
            let at = mark_at(&self.marks.marks[..count]).filter(|at| *at < tokens);
            let is_lost = |at, placed: &Placed| placed.at.start < tokens && at < placed.at.end;
            if at.is_none_or(|at| self.media.iter().any(|placed| is_lost(at, placed))) {
                return Err(SessionError::Rollback { wanted: tokens, least: least + 1 });
            }
        }
        self.drop_ahead();
        if let Some(Mark { snapshot, hidden }) = self.marks.marks[..count].last() {
            self.kv.restore(snapshot);
            (self.hidden_at, self.logits_at) = (0, 0);
            if !hidden.is_empty() {
                self.hidden.copy_from_slice(hidden);
                self.hidden_at = snapshot.at();
            }
        }
        self.marks.forget(self.kv.len());
        Ok(())
    }
}

/// The position of the last of some marks.
fn mark_at(marks: &[Mark]) -> Option<usize> {
    marks.last().map(|mark| mark.snapshot.at())
}
