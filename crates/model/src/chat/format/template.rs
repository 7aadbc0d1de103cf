//! `'{} {name!r:>8}'.format(...)`

use super::super::budget::{Builder, Heap, Result, fail};
use super::super::methods::attribute;
use super::super::number::saturated;
use super::super::print;
use super::super::text::{self, Ch, Text};
use super::super::value::{Dict, Value};
use super::format_value;

/// Formats `template` with arguments by place and by name.
pub(crate) fn format(
    heap: &Heap,
    template: &Text,
    places: &[Value],
    names: &dyn Fn(&str) -> Option<Value>,
) -> Result<Value> {
    let mut out = Builder::new(heap);
    let mut fields = Fields { heap, places, names, next: Some(0) };
    fields.write(&mut out, template.chars(), 0)?;
    Ok(Value::Text(out.text()?))
}

/// The names in a dict.
pub(crate) fn names_in(dict: &Dict) -> impl Fn(&str) -> Option<Value> + '_ {
    |name| dict.named(name).cloned()
}

struct Fields<'a> {
    heap: &'a Heap,
    places: &'a [Value],
    names: &'a dyn Fn(&str) -> Option<Value>,
    /// The place of the next `{}`; `None` once fields are numbered.
    next: Option<usize>,
}

impl Fields<'_> {
    fn write(&mut self, out: &mut Builder<Ch>, template: &[Ch], depth: usize) -> Result<()> {
        let mut rest = template;
        while let Some(at) = rest.iter().position(|c| matches!(c.char(), '{' | '}')) {
            out.extend(&rest[..at])?;
            let (brace, after) = (rest[at], &rest[at + 1..]);
            let doubled = after.first().is_some_and(|c| *c == brace);
            if doubled && depth == 0 {
                out.push(brace)?;
                rest = &after[1..];
                continue;
            }
            if brace.char() == '}' {
                return fail("a format has a single `}`");
            }
            let Some(end) = closing(after) else {
                return fail("a format has a `{` without its `}`");
            };
            self.field(out, &after[..end], depth)?;
            rest = &after[end + 1..];
        }
        out.extend(rest)
    }

    fn field(&mut self, out: &mut Builder<Ch>, field: &[Ch], depth: usize) -> Result<()> {
        if depth > 1 {
            return fail("fields of a format are nested too deep");
        }
        self.heap.work(1)?;
        let mut bracket = false;
        let end = field.iter().position(|c| {
            match c.char() {
                '[' => bracket = true,
                ']' => bracket = false,
                _ => {}
            }
            !bracket && matches!(c.char(), '!' | ':')
        });
        let (name, mut rest) = field.split_at(end.unwrap_or(field.len()));
        let mut value = self.value(name)?;
        if let [mark, kind, more @ ..] = rest
            && mark.char() == '!'
        {
            let mut shown = Builder::new(self.heap);
            match kind.char() {
                's' => print::push_str(&mut shown, &value)?,
                'r' => print::push_repr(&mut shown, &value)?,
                other => return fail(format!("`!{other}` is no conversion of a format")),
            }
            value = Value::Text(shown.text()?);
            rest = more;
        }
        let spec = match rest {
            [] => rest,
            [colon, spec @ ..] if colon.char() == ':' => spec,
            _ => return fail("a field of a format has no `:` before its format"),
        };
        let mut inner = Builder::new(self.heap);
        self.write(&mut inner, spec, depth + 1)?;
        format_value(out, self.heap, &value, inner.items())
    }

    /// The value of `name.attribute[key]`.
    fn value(&mut self, name: &[Ch]) -> Result<Value> {
        let end = name.iter().position(|c| matches!(c.char(), '.' | '['));
        let (first, mut rest) = name.split_at(end.unwrap_or(name.len()));
        let first = text::plain(first);
        let place = match first.parse::<usize>() {
            Ok(place) if first.bytes().all(|b| b.is_ascii_digit()) => {
                if self.next.is_some_and(|next| next > 0) {
                    return fail("a format mixes numbered fields and others");
                }
                self.next = None;
                Some(place)
            }
            _ if first.is_empty() => {
                let Some(next) = &mut self.next else {
                    return fail("a format mixes numbered fields and others");
                };
                *next += 1;
                Some(*next - 1)
            }
            _ => None,
        };
        let found = match place {
            Some(place) => self.places.get(place).cloned(),
            None => (self.names)(&first),
        };
        let Some(mut value) = found else {
            return fail(format!("a format asks for `{first}`, which is not given"));
        };
        while let Some((mark, after)) = rest.split_first() {
            let end = |stops: &[char]| after.iter().position(|c| stops.contains(&c.char()));
            if mark.char() == '.' {
                let end = end(&['.', '[']).unwrap_or(after.len());
                value = attribute(self.heap, &value, &text::plain(&after[..end]))?;
                rest = &after[end..];
            } else {
                let Some(end) = end(&[']']).filter(|_| mark.char() == '[') else {
                    return fail("a format has a `[` without its `]`");
                };
                value = self.item(&value, &after[..end])?;
                rest = &after[end + 1..];
            }
            if value.is_undefined() {
                return fail("a format asks for an item that is not there");
            }
        }
        Ok(value)
    }

    fn item(&self, value: &Value, key: &[Ch]) -> Result<Value> {
        let plain = text::plain(key);
        let place = plain.bytes().all(|b| b.is_ascii_digit()) && !plain.is_empty();
        let key = match plain.parse::<num_bigint::BigInt>() {
            Ok(number) if place && plain.len() < 20 => Value::Int(saturated(&number)),
            _ => Value::text(self.heap, key)?,
        };
        super::super::methods::item(self.heap, value, &key)
    }
}

/// Where the field that begins here ends.
fn closing(text: &[Ch]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.iter().enumerate() {
        match c.char() {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}
