//! Strings of a template: characters that know whether they come from the template.

use std::cmp::Ordering;
use std::rc::Rc;

use super::budget::{Builder, Heap, Held, Result};

/// A character and where it comes from. Equality, order and hashes are those of the character.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ch(u32);

impl Ch {
    /// A character that the template holds: a special token may cover it.
    pub(super) fn trusted(c: char) -> Self {
        Self(u32::from(c))
    }

    /// A character of the conversation or of a printed value.
    pub(super) fn foreign(c: char) -> Self {
        Self(u32::from(c) | FOREIGN)
    }

    pub(super) fn is_trusted(self) -> bool {
        self.0 & FOREIGN == 0
    }

    pub(super) fn char(self) -> char {
        char::from_u32(self.0 & !FOREIGN).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// Another character from the same place.
    pub(super) fn with(self, c: char) -> Self {
        Self(u32::from(c) | (self.0 & FOREIGN))
    }

    /// As Python's `str.isspace`.
    pub(super) fn is_space(self) -> bool {
        let c = self.char();
        c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
    }
}

impl PartialEq for Ch {
    fn eq(&self, other: &Self) -> bool {
        self.0 & !FOREIGN == other.0 & !FOREIGN
    }
}

impl Eq for Ch {}

impl PartialOrd for Ch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ch {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0 & !FOREIGN).cmp(&(other.0 & !FOREIGN))
    }
}

/// A string value.
#[derive(Clone, Debug)]
pub(super) struct Text(Rc<Held<Ch>>);

impl Text {
    pub(super) fn new(heap: &Heap, chars: &[Ch]) -> Result<Self> {
        let mut out = Builder::new(heap);
        out.extend(chars)?;
        out.text()
    }

    /// Text that the program makes; no special token may cover it.
    pub(super) fn foreign(heap: &Heap, text: &str) -> Result<Self> {
        let mut out = Builder::new(heap);
        out.foreign(text)?;
        out.text()
    }

    /// The characters without their places, counted by the caller.
    pub(super) fn plain(&self) -> String {
        plain(self.chars())
    }

    pub(super) fn chars(&self) -> &[Ch] {
        &self.0
    }

    /// Whether both are one object.
    pub(super) fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn is(&self, text: &str) -> bool {
        is(self.chars(), text)
    }
}

impl Builder<Ch> {
    pub(super) fn foreign(&mut self, text: &str) -> Result<()> {
        text.chars().try_for_each(|c| self.push(Ch::foreign(c)))
    }

    pub(super) fn text(self) -> Result<Text> {
        Ok(Text(Rc::new(self.finish()?)))
    }
}

pub(super) fn plain(chars: &[Ch]) -> String {
    chars.iter().map(|c| c.char()).collect()
}

/// Whether the characters are those of `text`.
pub(super) fn is(chars: &[Ch], text: &str) -> bool {
    chars.len() <= text.len() && chars.iter().map(|c| c.char()).eq(text.chars())
}

/// Where `needle` first stands in `text`.
pub(super) fn find(heap: &Heap, text: &[Ch], needle: &[Ch]) -> Result<Option<usize>> {
    let Some(last) = text.len().checked_sub(needle.len()) else { return Ok(None) };
    let Some(first) = needle.first() else { return Ok(Some(0)) };
    heap.scan(last)?;
    for at in 0..=last {
        if text[at] == *first && matches(heap, &text[at..], needle)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Where `needle` last stands in `text`.
pub(super) fn rfind(heap: &Heap, text: &[Ch], needle: &[Ch]) -> Result<Option<usize>> {
    let Some(last) = text.len().checked_sub(needle.len()) else { return Ok(None) };
    let Some(first) = needle.first() else { return Ok(Some(text.len())) };
    heap.scan(last)?;
    for at in (0..=last).rev() {
        if text[at] == *first && matches(heap, &text[at..], needle)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Whether `text` begins with `needle`; both begin alike.
fn matches(heap: &Heap, text: &[Ch], needle: &[Ch]) -> Result<bool> {
    let same = text.iter().zip(needle).take_while(|(a, b)| a == b).count();
    heap.scan(same + 8)?;
    Ok(same == needle.len())
}

/// Without the characters at the ends that `strip` accepts.
pub(super) fn trim(text: &[Ch], start: bool, end: bool, strip: impl Fn(Ch) -> bool) -> &[Ch] {
    let mut text = text;
    while let (true, [first, rest @ ..]) = (start, text)
        && strip(*first)
    {
        text = rest;
    }
    while let (true, [rest @ .., last]) = (end, text)
        && strip(*last)
    {
        text = rest;
    }
    text
}

/// Upper case, a character after the other.
pub(super) fn upper(out: &mut Builder<Ch>, text: &[Ch]) -> Result<()> {
    text.iter().try_for_each(|c| c.char().to_uppercase().try_for_each(|u| out.push(c.with(u))))
}

/// Lower case; a sigma at the end of a word is a final one.
pub(super) fn lower(out: &mut Builder<Ch>, text: &[Ch]) -> Result<()> {
    for (at, c) in text.iter().enumerate() {
        let before = at > 0 && is_cased(text[at - 1]);
        let after = text.get(at + 1).is_some_and(|next| is_cased(*next));
        if c.char() == 'Σ' && before && !after {
            out.push(c.with('ς'))?;
            continue;
        }
        c.char().to_lowercase().try_for_each(|l| out.push(c.with(l)))?;
    }
    Ok(())
}

/// The first letter of a word in title case.
pub(super) fn title_case(out: &mut Builder<Ch>, c: Ch) -> Result<()> {
    let mut upper = c.char().to_uppercase();
    upper.next().map_or(Ok(()), |first| out.push(c.with(first)))?;
    // A ligature becomes a capital and small letters.
    for rest in upper {
        rest.to_lowercase().try_for_each(|l| out.push(c.with(l)))?;
    }
    Ok(())
}

pub(super) fn is_cased(c: Ch) -> bool {
    c.char().is_lowercase() || c.char().is_uppercase()
}

/// Where Python's `splitlines` ends a line: the end of the line and the start of the next.
pub(super) fn line_end(text: &[Ch], from: usize) -> Option<(usize, usize)> {
    let is_end = |c: &Ch| matches!(c.char(), '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let at = from + text[from..].iter().position(is_end)?;
    let pair = text[at].char() == '\r' && text.get(at + 1).is_some_and(|c| c.char() == '\n');
    Some((at, at + 1 + usize::from(pair)))
}

const FOREIGN: u32 = 1 << 31;
