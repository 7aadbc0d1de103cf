//! What a session has evaluated beyond its text: the drafts of the last pass.
//!
//! A pass over the last tokens of the text takes drafts along ([`Session::draft`]). Of what it
//! computes for these, nothing goes to the cache; their rows, logits, and keys and values of
//! sliding layers are set aside here. Then tokens are chosen as ever. Where the next ones are the
//! drafts that stand here, [`Session::take_over`] moves them into the cache; otherwise the next
//! pass drops them. They are worth something only directly behind the cache, so whatever changes
//! its end drops them, too: a pass, going back, coming back to a mark.

use std::fmt;
use std::time::Instant;

use super::{Session, SessionError, media};
use crate::TokenId;
use crate::cancel::Cancel;
use crate::config::Config;
use crate::draft::{
    self, By, DRAFT_MAX, DraftConfig, DraftSource, DraftStats, Drafts, Found, Length, Lookup, Pass,
    Start,
};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::pages::{MemoryError, Pages, zeros};
use crate::text;
use crate::text::kv_cache::{KvLimits, ring_bytes};

/// Drafts, what a pass made of them, and where they come from.
pub(super) struct Ahead {
    config: DraftConfig,
    source: Source,
    length: Length,
    stats: DraftStats,
    /// Sessions of a pass that say one token at a time.
    talks: usize,
    /// The length of the text at which it ends at the latest.
    until: usize,
    ids: Vec<TokenId>,
    /// Who guessed them.
    by: By,
    /// The length of the text that they were proposed for, though there may be none; [`NEVER`] once
    /// they took part in a pass.
    proposed_at: usize,
    /// The number of tokens that were evaluated, by which `staged` is laid out, and how many of
    /// them are text by now.
    evaluated: usize,
    taken: usize,
    /// `[evaluated, hidden]`.
    rows: Vec<f32>,
    /// `[evaluated, vocab]`.
    logits: Vec<f32>,
    /// Whether each of these rows is of numbers.
    are_finite: [bool; DRAFT_MAX],
    /// Keys and values of sliding layers.
    staged: Pages,
}

/// Who guesses next, and the most tokens.
struct Turn {
    by: By,
    /// What the lookup found.
    found: Option<Found>,
    most: usize,
}

/// Where drafts come from, ready to be asked.
enum Source {
    Off,
    Lookup(Lookup),
    Drafter,
    /// The lookup where it finds much, else the drafter.
    Both(Lookup),
    Other(Box<dyn DraftSource>),
    /// The drafter works first, and its drafts are dropped.
    Rehearsal(Box<dyn DraftSource>),
}

impl Ahead {
    /// Room for the drafts of a session; `None` where it has none.
    pub(super) fn new(session: &Session) -> Result<Option<Box<Self>>> {
        let (config, most) = (session.draft, session.draft.most);
        if most == 0 {
            return Ok(None);
        }
        let (of_model, limits) = (session.model.config(), session.limits);
        let mut ahead = Self {
            config,
            source: Source::Off,
            length: Length::default(),
            stats: DraftStats::default(),
            ids: Vec::with_capacity(DRAFT_MAX),
            by: By::Other,
            talks: 1,
            until: usize::MAX,
            proposed_at: NEVER,
            evaluated: 0,
            taken: 0,
            rows: zeros("drafts", most * of_model.hidden)?,
            logits: zeros("drafts", most * of_model.vocab)?,
            are_finite: [false; DRAFT_MAX],
            staged: Pages::zeroed("drafts", most * ring_bytes(of_model, limits))?,
        };
        ahead.begin(Source::new(session, Drafts::Auto)?, &session.model);
        Ok(Some(Box::new(ahead)))
    }

    /// Lets drafts come from `source` from now on.
    fn begin(&mut self, source: Source, model: &Model) {
        let has_drafter =
            matches!(source, Source::Drafter | Source::Both(_) | Source::Rehearsal(_));
        let bytes =
            model.drafter_shape().filter(|_| has_drafter).map_or(0, |drafter| drafter.bytes);
        // A step reads the drafter's weights once, as a pass does the model's.
        self.length.begin(bytes as f64 / model.text_bytes().max(1) as f64);
        self.source = source;
    }

    /// The bytes of one.
    pub(super) fn bytes(config: &Config, limits: KvLimits, draft: DraftConfig) -> u64 {
        let values = (config.hidden + config.vocab) * size_of::<f32>();
        let one = (values + ring_bytes(config, limits)) as u64;
        let lookup = if draft.most > 0 { Lookup::bytes(limits.context) } else { 0 };
        draft.most as u64 * one + lookup
    }

    /// Forgets what comes after the first `tokens` tokens of `text`.
    pub(super) fn forget(&mut self, text: &[TokenId], tokens: usize) {
        self.proposed_at = NEVER;
        if let Source::Lookup(lookup) | Source::Both(lookup) = &mut self.source {
            lookup.truncate(text, tokens);
        }
    }

    /// Drops the drafts.
    pub(super) fn drop_all(&mut self) {
        self.ids.clear();
        (self.proposed_at, self.evaluated, self.taken) = (NEVER, 0, 0);
    }

    /// What the drafts have in a pass.
    pub(super) fn part(&mut self, hidden: usize, vocab: usize) -> text::Ahead<'_> {
        let count = self.ids.len();
        let staged = self.staged.len() / self.config.most * count;
        text::Ahead {
            ids: &self.ids,
            rows: &mut self.rows[..count * hidden],
            logits: &mut self.logits[..count * vocab],
            staged: &mut self.staged[..staged],
            are_finite: &mut self.are_finite[..count],
        }
    }

    fn is_proposed(&self, len: usize) -> bool {
        self.proposed_at == len
    }

    /// The most drafts behind a text of `len` tokens: the last token that may come is chosen from
    /// the row before it. A limit that was reached is one of an earlier text.
    fn room(&self, len: usize) -> usize {
        if self.until > len { self.until - len - 1 } else { usize::MAX }
    }

    /// Who guesses what follows `text`, whose last `pending` tokens are not evaluated, and how many
    /// of up to `room` tokens. `has_row` tells whether a drafter has something to go on from.
    fn turn(&mut self, text: &[TokenId], pending: usize, room: usize, has_row: bool) -> Turn {
        let Self { config, source, length, talks, .. } = self;
        let mut turn = |by, found| {
            let most = match config.adaptive {
                true => length.choose(by, *talks, pending, room),
                false => room,
            };
            Turn { by, found, most }
        };
        let none = Turn { by: By::Other, found: None, most: 0 };
        match source {
            Source::Lookup(lookup) => {
                let found = lookup.find(text);
                found.map_or(none, |found| turn(By::Lookup, Some(found)))
            }
            Source::Both(lookup) => {
                let found = lookup.find(text).filter(|found| !has_row || found.len >= MUCH);
                let by_lookup = found.map(|found| turn(By::Lookup, Some(found)));
                let by_lookup = by_lookup.filter(|turn| turn.most > 0);
                match by_lookup {
                    Some(by_lookup) => by_lookup,
                    None if has_row => turn(By::Other, None),
                    None => none,
                }
            }
            Source::Drafter if has_row => turn(By::Other, None),
            Source::Off | Source::Drafter => none,
            Source::Other(_) | Source::Rehearsal(_) => turn(By::Other, None),
        }
    }

    /// The drafts that are evaluated and no text yet.
    fn rest(&self) -> &[TokenId] {
        self.ids.get(self.taken..).filter(|_| self.evaluated > 0).unwrap_or(&[])
    }

    /// Takes note of a pass with `guessed` drafts: what comes after a row that is no numbers is
    /// worth nothing.
    fn evaluated(&mut self, guessed: usize) {
        if guessed == 0 {
            return self.drop_all();
        }
        (self.proposed_at, self.evaluated, self.taken) = (NEVER, guessed, 0);
        self.ids.truncate(self.are_finite[..guessed].iter().take_while(|is| **is).count());
    }

    /// The next draft is the token that was chosen, or is not.
    fn decided(&mut self, is_right: bool) {
        self.length.decided(self.by, self.taken, is_right);
        self.stats.accepted += usize::from(is_right);
        self.stats.tokens += usize::from(is_right);
    }
}

impl Source {
    fn new(session: &Session, drafts: Drafts) -> Result<Self, MemoryError> {
        let lookup = || {
            let opaque = media::soft_tokens(&session.model).collect();
            Lookup::new(session.limits.context, opaque)
        };
        Ok(match drafts {
            Drafts::Off => Self::Off,
            Drafts::Auto if session.model.drafts() => Self::Both(lookup()?),
            Drafts::Auto | Drafts::Lookup => Self::Lookup(lookup()?),
            Drafts::Drafter => Self::Drafter,
            Drafts::Source(source) => Self::Other(source),
            Drafts::Rehearsal(source) => Self::Rehearsal(source),
        })
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, ids, evaluated, taken, .. } = self;
        f.debug_struct("Ahead")
            .field("config", config)
            .field("ids", ids)
            .field("evaluated", evaluated)
            .field("taken", taken)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Lets drafts come from somewhere else from now on; at first they come from [`Drafts::Auto`].
    ///
    /// # Errors
    /// [`SessionError::Setting`] if the session was made without room for drafts
    /// ([`DraftConfig::most`]) and there are to be some, [`Error::NoDrafter`] if the model was
    /// opened without the drafter that they are to come from.
    pub fn set_drafts(&mut self, drafts: Drafts) -> Result<()> {
        if matches!(drafts, Drafts::Drafter | Drafts::Rehearsal(_)) && !self.model.drafts() {
            return Err(Error::NoDrafter);
        }
        let source = Source::new(self, drafts)?;
        match &mut self.ahead {
            Some(ahead) => {
                ahead.begin(source, &self.model);
                Ok(())
            }
            None if matches!(source, Source::Off) => Ok(()),
            None => {
                let (setting, wanted) = ("draft.most", "1 to 7 in SessionConfig");
                Err(SessionError::Setting { setting, found: 0, wanted }.into())
            }
        }
    }

    /// Says that the text will end after so many tokens at the latest, prompt and earlier turns
    /// among them: what could only come later is not drafted. Once the session holds as many, it
    /// drafts as ever. An answer of a conversation says it for the most tokens that it may have.
    pub fn draft_until(&mut self, tokens: usize) {
        if let Some(ahead) = &mut self.ahead {
            ahead.until = tokens;
        }
    }

    /// What drafts were good for since the session was made.
    pub fn draft_stats(&self) -> DraftStats {
        self.ahead.as_ref().map_or(DraftStats::default(), |ahead| ahead.stats)
    }

    /// How many of the tokens that are not in the cache yet are drafts that were evaluated.
    pub(super) fn evaluated_ahead(&self) -> usize {
        match &self.ahead {
            Some(ahead) if !self.has_pending_media() => {
                let pending = &self.tokens[self.kv.len()..];
                ahead.rest().iter().zip(pending).take_while(|(a, b)| a == b).count()
            }
            _ => 0,
        }
    }

    /// Whether all that is not in the cache yet is evaluated.
    pub(super) fn is_ahead(&self) -> bool {
        self.pending() > 0 && self.evaluated_ahead() == self.pending()
    }

    /// Takes over the next `count` tokens, which are drafts that were evaluated, with the logits
    /// after the last of them.
    pub(super) fn take_over(&mut self, count: usize) {
        let Some(ahead) = self.ahead.as_deref_mut().filter(|_| count > 0) else { return };
        for _ in 0..count {
            self.kv.keep_one(&ahead.staged, ahead.evaluated, ahead.taken);
            ahead.decided(true);
            ahead.taken += 1;
        }
        let (hidden, vocab) = (self.hidden.len(), self.logits.len());
        let last = ahead.taken - 1;
        self.hidden.copy_from_slice(&ahead.rows[last * hidden..][..hidden]);
        self.logits.copy_from_slice(&ahead.logits[last * vocab..][..vocab]);
        (self.hidden_at, self.logits_at) = (self.kv.len(), self.kv.len());
    }

    /// Proposes drafts for the next pass over all that is pending, in which this session is one of
    /// `talks`; none where there is no room for them. Those that were evaluated are dropped.
    pub(super) fn draft(&mut self, talks: usize) {
        if let Some(ahead) = &mut self.ahead {
            ahead.talks = talks;
            self.draft_and(&mut |_, _| {});
        }
    }

    /// Does what [`Session::draft`] does ahead of the pass, unless none will be needed, and lets
    /// `edit` change the drafts, of which there may be up to so many.
    #[cfg(feature = "chat")]
    pub(crate) fn propose(&mut self, edit: &mut dyn FnMut(&mut Vec<TokenId>, usize)) {
        if self.evaluated_ahead() == 0 {
            self.draft_and(edit);
        }
    }

    fn draft_and(&mut self, edit: &mut dyn FnMut(&mut Vec<TokenId>, usize)) {
        let (pending, len, has_media) = (self.pending(), self.len(), self.has_pending_media());
        let Some(ahead) = self.ahead.as_deref_mut() else { return };
        if pending == 0 || ahead.is_proposed(len) {
            return;
        }
        let next = self.tokens.get(self.kv.len());
        if ahead.rest().first().is_some_and(|draft| Some(draft) != next) && !has_media {
            ahead.decided(false);
        }
        ahead.drop_all();
        ahead.proposed_at = len;
        let room = (DRAFT_MAX + 1).saturating_sub(pending).min(self.limits.context - len);
        let room = room.min(ahead.config.most).min(ahead.room(len));
        if room == 0 || has_media {
            return;
        }
        let mut begun = Instant::now();
        let is_begun = self.kv.len() > 0 && self.hidden_at == self.kv.len();
        let has_row = is_begun && pending <= GONE_THROUGH_MAX;
        let Turn { by, found, most } = ahead.turn(&self.tokens, pending, room, has_row);
        if most == 0 {
            return;
        }
        ahead.by = by;
        let has_drafter =
            matches!(ahead.source, Source::Drafter | Source::Both(_) | Source::Rehearsal(_));
        let mut steps = 0;
        // Where a cache file was changed, the pass tells.
        let is_whole = self.model.weights().check().is_ok();
        if has_drafter && has_row && by == By::Other && is_whole {
            let (model, kv, row) = (&self.model, &self.kv, &self.hidden);
            let tokens = &self.tokens[len - pending..];
            let start = Start { model, kv, row, tokens, past_end: false };
            let begins = || begun = Instant::now();
            by_drafter(&self.engine, &self.cancel, &start, most, &mut ahead.ids, begins);
            steps = pending - 1 + ahead.ids.len().max(1);
        }
        match &mut ahead.source {
            Source::Lookup(lookup) | Source::Both(lookup) => {
                if let Some(found) = found {
                    lookup.follow(found, &self.tokens, most, &mut ahead.ids);
                }
            }
            Source::Off | Source::Drafter => {}
            Source::Other(source) => source.draft(&self.tokens, most, &mut ahead.ids),
            Source::Rehearsal(source) => {
                ahead.ids.clear();
                source.draft(&self.tokens, most, &mut ahead.ids);
            }
        }
        cut(&self.model, most, &mut ahead.ids);
        if !ahead.ids.is_empty() {
            edit(&mut ahead.ids, most);
            cut(&self.model, most, &mut ahead.ids);
        }
        if steps > 0 && ahead.ids.is_empty() {
            ahead.decided(false); // it would end the text, or say what a grammar forbids
        }
        let steps = if steps > 0 { steps } else { ahead.ids.len() };
        ahead.length.drafted(by, steps, begun.elapsed().as_secs_f64());
    }

    /// The drafts that take part in a pass over the next `tokens` tokens whose logits are wanted.
    pub(super) fn proposed(&self, tokens: usize) -> usize {
        let is_all = tokens == self.pending();
        let ahead = self.ahead.as_ref().filter(|ahead| is_all && ahead.is_proposed(self.len()));
        ahead.map_or(0, |ahead| ahead.ids.len())
    }

    /// Takes note of a pass in which this session had `tokens` tokens beside its drafts, and whose
    /// last logits were wanted.
    pub(super) fn passed_ahead(&mut self, tokens: usize, pass: Pass, seconds: f64) {
        let Some(ahead) = self.ahead.as_deref_mut() else { return };
        ahead.evaluated(pass.own);
        if tokens <= DRAFT_MAX {
            ahead.length.passed(pass, seconds);
            ahead.stats.passes += 1;
            ahead.stats.tokens += tokens;
            ahead.stats.drafted += pass.own;
        }
    }

    /// Drops the drafts.
    pub(super) fn drop_ahead(&mut self) {
        self.ahead.iter_mut().for_each(|ahead| ahead.drop_all());
    }

    /// Whether a token that is not in the cache yet stands for a medium.
    fn has_pending_media(&self) -> bool {
        self.media.last().is_some_and(|placed| placed.at.end > self.kv.len())
    }
}

/// Lets the model's drafter fill `ids` with up to `most` drafts; `begins` is called when it is its
/// turn. There are none where that was cancelled.
fn by_drafter(
    engine: &Engine,
    cancel: &Cancel,
    start: &Start<'_>,
    most: usize,
    ids: &mut Vec<TokenId>,
    begins: impl FnOnce(),
) {
    let Ok(mut turn) = engine.turn(cancel) else { return };
    begins();
    let (pool, frame) = turn.parts();
    ids.resize(most, 0);
    let drafted = draft::draft(start, pool, ids, frame, &mut |_, _| {});
    ids.truncate(drafted.unwrap_or(0));
}

/// Leaves at most `most` drafts, and none from one on that cannot be a part of text.
fn cut(model: &Model, most: usize, drafts: &mut Vec<TokenId>) {
    let (tokenizer, vocab) = (model.tokenizer(), model.config().vocab);
    let can_be_said = |id: &&TokenId| {
        (**id as usize) < vocab && !tokenizer.is_eog(**id) && !tokenizer.suppressed().contains(id)
    };
    let count = drafts.iter().take(most).take_while(can_be_said).count();
    drafts.truncate(count);
}

/// So much in common with an earlier text makes the lookup's guess better than a drafter's.
const MUCH: usize = 8;

/// The most pending tokens that a drafter goes through: each makes its row a worse one.
const GONE_THROUGH_MAX: usize = 4;

/// No length of a text.
const NEVER: usize = usize::MAX;
