//! Attributes, items, slices and methods of values.

mod container;
mod split;
mod string;

use num_traits::Signed;

pub(super) use container::dict_of;
pub(super) use string::{cased, is_case, replace};

use super::args::Args;
use super::budget::{Builder, Heap, Result, fail};
use super::number;
use super::value::{Kind, Value, sequence};

/// `value.name`: an attribute or a method, else the item of that name.
pub(super) fn attribute(heap: &Heap, value: &Value, name: &str) -> Result<Value> {
    // The sandbox shows nothing that begins so.
    if name.starts_with('_') {
        return Ok(Value::Undefined);
    }
    if let Some(found) = own_attribute(heap, value, name)? {
        return Ok(found);
    }
    match value {
        Value::Undefined => fail(format!("an undefined value has no attribute `{name}`")),
        Value::Dict(dict) => Ok(dict.named(name).cloned().unwrap_or(Value::Undefined)),
        _ => Ok(Value::Undefined),
    }
}

/// `value[key]`: the item, else the attribute of that name.
pub(super) fn item(heap: &Heap, value: &Value, key: &Value) -> Result<Value> {
    let place = || number::integer(key).map(|key| number::saturated(&key));
    let found = match value {
        Value::Undefined => return fail("an undefined value has no items"),
        Value::Dict(dict) => match key {
            // Keys that cannot be are keys that are not there.
            Value::Seq(_) | Value::Dict(_) => None,
            key => dict.get(key, heap)?.cloned(),
        },
        Value::Seq(seq) if !matches!(seq.kind, Kind::Keys | Kind::Values | Kind::Items) => {
            place().and_then(|place| Some(seq.items[index(place, seq.items.len())?].clone()))
        }
        Value::Text(text) => {
            let chars = text.chars();
            let at = place().and_then(|place| index(place, chars.len()));
            at.map(|at| Value::text(heap, &chars[at..=at])).transpose()?
        }
        _ => None,
    };
    match (found, key) {
        (Some(found), _) => Ok(found),
        (None, Value::Text(name)) if name.chars().len() < NAME_MAX => {
            let name = name.plain();
            let shown = !name.starts_with('_');
            let found = if shown { own_attribute(heap, value, &name)? } else { None };
            Ok(found.unwrap_or(Value::Undefined))
        }
        _ => Ok(Value::Undefined),
    }
}

/// `value[start:stop:step]`
pub(super) fn slice(heap: &Heap, value: &Value, bounds: [&Value; 3]) -> Result<Value> {
    let bound = |value: &Value| match value {
        Value::None => Ok(None),
        value => number::place(value).map(Some),
    };
    let (len, kind) = match value {
        Value::Text(text) => (text.chars().len(), Kind::List),
        Value::Seq(seq) if !matches!(seq.kind, Kind::Keys | Kind::Values | Kind::Items) => {
            let kind = if matches!(seq.kind, Kind::Range(_)) { Kind::List } else { seq.kind };
            (seq.items.len(), kind)
        }
        Value::Undefined => return fail("an undefined value has no items"),
        _ => return Ok(Value::Undefined),
    };
    let step = bound(bounds[2])?.unwrap_or(1);
    if step == 0 {
        return fail("the step of a slice is zero");
    }
    let len_signed = len as i64;
    // Where a bound may lie: one before the front for steps backwards.
    let (low, high) = if step > 0 { (0, len_signed) } else { (-1, len_signed - 1) };
    let clamp = |bound: Option<i64>, otherwise: i64| match bound {
        Some(at) if at < 0 => at.saturating_add(len_signed).clamp(low, high),
        Some(at) => at.clamp(low, high),
        None => otherwise,
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let start = clamp(bound(bounds[0])?, first);
    let stop = clamp(bound(bounds[1])?, last);
    if let (Value::Text(text), 1) = (value, step) {
        let (start, stop) = (start as usize, stop.max(start) as usize);
        return Value::text(heap, &text.chars()[start..stop]);
    }
    let mut places = start;
    let places = std::iter::from_fn(|| {
        let at = places;
        let inside = if step > 0 { at < stop } else { at > stop };
        places = at.saturating_add(step);
        inside.then_some(at as usize)
    });
    match value {
        Value::Text(text) => {
            let mut out = Builder::new(heap);
            for at in places {
                out.push(text.chars()[at])?;
            }
            Ok(Value::Text(out.text()?))
        }
        Value::Seq(seq) => {
            Ok(Value::Seq(sequence(heap, kind, places.map(|at| seq.items[at].clone()))?))
        }
        _ => Ok(Value::Undefined),
    }
}

/// Calls a method of `value`.
pub(super) fn call(heap: &Heap, value: &Value, name: &str, args: Args) -> Result<Value> {
    match value {
        Value::Text(text) => string::call(heap, text, name, args),
        Value::Dict(dict) => container::dict(heap, dict, name, args),
        Value::Seq(seq) => container::sequence(heap, seq, name, args),
        Value::Cycler(cycler) => container::cycler(cycler, name, args),
        Value::Loop(state) => state.call(heap, name, args),
        Value::Float(number) if name == "is_integer" => {
            args.places::<0>(name)?;
            Ok(Value::Bool(number.fract() == 0.0))
        }
        value => match (number::integer(value), name) {
            (Some(_), "is_integer") => Ok(Value::Bool(true)),
            (Some(number), "bit_length") => Ok(Value::Int(number.abs().bits() as i64)),
            _ => fail(format!("a value of type {} has no method `{name}`", value.type_name())),
        },
    }
}

fn own_attribute(heap: &Heap, value: &Value, name: &str) -> Result<Option<Value>> {
    let methods: &[&str] = match value {
        Value::Text(_) => &string::METHODS,
        Value::Dict(_) => &container::DICT_METHODS,
        // A group of `groupby` is such a pair.
        Value::Seq(seq) if seq.kind == Kind::Tuple && matches!(name, "grouper" | "list") => {
            return Ok(match &*seq.items {
                [key, items] => Some(if name == "list" { items } else { key }.clone()),
                _ => None,
            });
        }
        Value::Seq(seq) if matches!(seq.kind, Kind::List | Kind::Tuple | Kind::Range(_)) => {
            &container::SEQUENCE_METHODS
        }
        Value::Float(_) => &["is_integer"],
        Value::Int(_) | Value::Big(_) | Value::Bool(_) => &["is_integer", "bit_length"],
        Value::Namespace(space) => return Ok(space.vars.borrow().get(name).cloned()),
        Value::Loop(state) => match state.attribute(name) {
            None => &["cycle", "changed"],
            found => return Ok(found),
        },
        Value::Macro(found) if name == "name" => {
            return Value::foreign(heap, &found.name).map(Some);
        }
        Value::Cycler(cycler) => match name {
            "current" => return Ok(cycler.0.items.get(cycler.1.get()).cloned()),
            _ => &["next", "reset"],
        },
        _ => &[],
    };
    if !methods.contains(&name) {
        return Ok(None);
    }
    if value.depth() > METHOD_DEPTH_MAX {
        return fail("methods are nested too deep");
    }
    Ok(Some(Value::Method(std::rc::Rc::new((value.clone(), name.to_owned())))))
}

/// The place of an item counted from the front or, below zero, from the end.
fn index(place: i64, len: usize) -> Option<usize> {
    let at = if place < 0 { place.checked_add(len as i64)? } else { place };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// Longer than the name of any attribute.
const NAME_MAX: usize = 64;

const METHOD_DEPTH_MAX: u16 = 200;
