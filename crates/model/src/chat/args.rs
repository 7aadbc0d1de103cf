//! Arguments of a call, bound to the parameters of what is called.

use super::budget::{Heap, Result, fail};
use super::number;
use super::text::Text;
use super::value::Value;

#[derive(Debug, Default)]
pub(super) struct Args {
    pub(super) list: Vec<Value>,
    pub(super) named: Vec<(String, Value)>,
}

impl Args {
    /// The values of these parameters, by place or by name.
    pub(super) fn bind<const N: usize>(
        self,
        what: &str,
        params: [&str; N],
    ) -> Result<[Option<Value>; N]> {
        if self.list.len() > N {
            return fail(format!("`{what}` takes {N} arguments, found {}", self.list.len()));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.list) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            match params.iter().position(|param| *param == name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => return fail(format!("`{what}` is given `{name}` twice")),
                None => return fail(format!("`{what}` has no argument `{name}`")),
            }
        }
        Ok(bound)
    }

    /// As [`Self::bind`], for what takes no names.
    pub(super) fn places<const N: usize>(self, what: &str) -> Result<[Option<Value>; N]> {
        if let Some((name, _)) = self.named.first() {
            return fail(format!("`{what}` has no argument `{name}`"));
        }
        self.bind(what, [""; N])
    }
}

pub(super) fn required(what: &str, value: Option<Value>) -> Result<Value> {
    match value {
        Some(value) => Ok(value),
        None => fail(format!("`{what}` lacks an argument")),
    }
}

pub(super) fn text(what: &str, value: Option<Value>) -> Result<Text> {
    match required(what, value)? {
        Value::Text(text) => Ok(text),
        other => fail(format!("`{what}` wants a string, found {}", other.type_name())),
    }
}

/// A string, or `None` for none.
pub(super) fn optional_text(what: &str, value: Option<Value>) -> Result<Option<Text>> {
    match value {
        None | Some(Value::None) => Ok(None),
        value => text(what, value).map(Some),
    }
}

pub(super) fn text_or(
    heap: &Heap,
    what: &str,
    value: Option<Value>,
    otherwise: &str,
) -> Result<Text> {
    match value {
        None => Text::foreign(heap, otherwise),
        value => text(what, value),
    }
}

pub(super) fn place_or(value: Option<Value>, otherwise: i64) -> Result<i64> {
    value.map_or(Ok(otherwise), |value| number::place(&value))
}

/// A width or a count; below zero it is zero.
pub(super) fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

pub(super) fn flag_or(value: Option<Value>, otherwise: bool) -> bool {
    value.map_or(otherwise, |value| value.is_true())
}
