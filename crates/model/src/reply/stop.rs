//! Strings that end an answer.

use std::collections::HashMap;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::noncontiguous::NFA;
use aho_corasick::{Anchored, MatchKind};

/// Why strings cannot end an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopStringError {
    /// An empty string is part of every text.
    #[error("stop string {index} is empty; leave it out or give it at least one character")]
    Empty {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// The strings are more than can be searched for.
    #[error("the stop strings are too many or too long ({reason}); give fewer or shorter ones")]
    TooMany {
        /// What the search library says.
        reason: String,
    },
}

/// Lets text through up to the first stop string, of which no part gets out.
///
/// The string that is complete first ends the text, since nothing is generated after that; of those
/// that end with the same character, the longest counts. The text ends before its first character,
/// as in OpenAI's and vLLM's interfaces. Characters that may be the beginning of a stop string are
/// held back until that is certain. How the text is cut into pieces changes nothing.
///
/// ```
/// use carat::reply::StopStrings;
///
/// let mut stop = StopStrings::new(&["END", "\n\n"])?;
/// assert_eq!(stop.push("the E"), "the ");
/// assert_eq!(stop.push("N"), "");
/// assert_eq!(stop.push("EMY.\nEN"), "ENEMY.\n");
/// assert_eq!(stop.push("D of it"), "");
/// assert_eq!(stop.stopped(), Some(0));
/// # Ok::<(), carat::reply::StopStringError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StopStrings {
    search: Option<Search>,
    /// What was lent last, then what is held back.
    text: String,
    lent: usize,
    stopped: Option<usize>,
}

#[derive(Clone, Debug)]
struct Search {
    automaton: NFA,
    start: StateID,
    state: StateID,
    /// How many bytes at the end of the text are the beginning of a stop string.
    depths: HashMap<StateID, usize>,
}

impl StopStrings {
    /// A filter for `strings`, of which there may be none: then all text goes through.
    ///
    /// # Errors
    /// [`StopStringError::Empty`] for an empty string; [`StopStringError::TooMany`] for more than
    /// can be searched for, some thousand million bytes.
    pub fn new<S: AsRef<str>>(strings: &[S]) -> Result<Self, StopStringError> {
        if let Some(index) = strings.iter().position(|s| s.as_ref().is_empty()) {
            return Err(StopStringError::Empty { index });
        }
        let search = if strings.is_empty() { None } else { Some(Search::new(strings)?) };
        Ok(Self { search, text: String::new(), lent: 0, stopped: None })
    }

    /// Adds text and returns what can no longer be part of a stop string; nothing once a stop
    /// string has come.
    pub fn push(&mut self, piece: &str) -> &str {
        self.text.drain(..self.lent);
        self.lent = 0;
        if self.stopped.is_some() {
            return "";
        }
        let held = self.text.len();
        self.text.push_str(piece);
        self.lent = match &mut self.search {
            None => self.text.len(),
            Some(search) => match search.find(piece) {
                Found::Stop { index, len, end } => {
                    self.stopped = Some(index);
                    let cut = held + end - len;
                    self.text.truncate(cut);
                    cut
                }
                Found::Held(held) => self.text.len() - held,
            },
        };
        &self.text[..self.lent]
    }

    /// Ends the text and returns what was held back. The next piece begins another text.
    pub fn finish(&mut self) -> &str {
        self.text.drain(..self.lent);
        self.lent = self.text.len();
        self.stopped = None;
        if let Some(search) = &mut self.search {
            search.state = search.start;
        }
        &self.text
    }

    /// The place in the list of the string that ended the text, until [`StopStrings::finish`]; of
    /// equal strings the first.
    #[must_use]
    pub fn stopped(&self) -> Option<usize> {
        self.stopped
    }
}

/// What a piece of text holds.
enum Found {
    /// A stop string of `len` bytes ends at byte `end` of the piece.
    Stop { index: usize, len: usize, end: usize },
    /// No stop string; so many bytes may begin one.
    Held(usize),
}

impl Search {
    fn new<S: AsRef<str>>(strings: &[S]) -> Result<Self, StopStringError> {
        let too_many = |reason: String| StopStringError::TooMany { reason };
        let automaton = NFA::builder()
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(strings.iter().map(S::as_ref))
            .map_err(|error| too_many(error.to_string()))?;
        let start =
            automaton.start_state(Anchored::No).map_err(|error| too_many(error.to_string()))?;
        // Each state stands for a beginning of a stop string: the one that leads there.
        let mut depths = HashMap::from([(start, 0)]);
        for string in strings {
            let mut state = start;
            for (depth, byte) in (1..).zip(string.as_ref().bytes()) {
                state = automaton.next_state(Anchored::No, state, byte);
                depths.insert(state, depth);
            }
        }
        Ok(Self { automaton, start, state: start, depths })
    }

    fn find(&mut self, piece: &str) -> Found {
        for (end, byte) in (1..).zip(piece.bytes()) {
            self.state = self.automaton.next_state(Anchored::No, self.state, byte);
            if self.automaton.is_match(self.state) {
                let (index, len) = self.longest();
                return Found::Stop { index, len, end };
            }
        }
        Found::Held(self.depths.get(&self.state).copied().unwrap_or(0))
    }

    /// The longest stop string that ends here, and its length; of equal ones the first.
    fn longest(&self) -> (usize, usize) {
        let all = (0..self.automaton.match_len(self.state)).map(|at| {
            let pattern = self.automaton.match_pattern(self.state, at);
            (pattern.as_usize(), self.automaton.pattern_len(pattern))
        });
        all.reduce(|best, other| {
            let is_better = other.1 > best.1 || (other.1 == best.1 && other.0 < best.0);
            if is_better { other } else { best }
        })
        .unwrap_or((0, 0))
    }
}
