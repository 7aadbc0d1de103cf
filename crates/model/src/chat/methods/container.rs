//! Methods of dicts, lists and tuples. Those that would change them are refused, as in the sandbox.

use std::cell::Cell;
use std::rc::Rc;

use super::super::args::{Args, place_or, required};
use super::super::budget::{Heap, Result, fail};
use super::super::value::{Dict, DictBuilder, Kind, Seq, Value, sequence as make, tuple};
use super::index;

pub(super) const DICT_METHODS: [&str; 5] = ["copy", "get", "items", "keys", "values"];

pub(super) const SEQUENCE_METHODS: [&str; 3] = ["copy", "count", "index"];

pub(super) fn dict(heap: &Heap, dict: &Rc<Dict>, name: &str, args: Args) -> Result<Value> {
    let entries = dict.entries.iter();
    match name {
        "get" => {
            let [key, otherwise] = args.places(name)?;
            let found = dict.get(&required(name, key)?, heap)?.cloned();
            return Ok(found.or(otherwise).unwrap_or(Value::None));
        }
        "copy" => {
            args.places::<0>(name)?;
            return Ok(Value::Dict(Rc::clone(dict)));
        }
        _ => args.places::<0>(name)?,
    };
    let (kind, items) = match name {
        "items" => {
            let pairs = entries.map(|(key, value)| tuple(heap, [key.clone(), value.clone()]));
            return view(heap, pairs);
        }
        "keys" => (Kind::Keys, entries.map(|(key, _)| key.clone()).collect::<Vec<_>>()),
        _ => (Kind::Values, entries.map(|(_, value)| value.clone()).collect()),
    };
    Ok(Value::Seq(make(heap, kind, items)?))
}

fn view(heap: &Heap, pairs: impl Iterator<Item = Result<Value>>) -> Result<Value> {
    let mut out = super::super::budget::Builder::new(heap);
    for pair in pairs {
        out.push(pair?)?;
    }
    Ok(Value::Seq(Seq::new(Kind::Items, out)?))
}

pub(super) fn sequence(heap: &Heap, seq: &Rc<Seq>, name: &str, args: Args) -> Result<Value> {
    match name {
        "copy" if seq.kind == Kind::List => {
            args.places::<0>(name)?;
            Ok(Value::Seq(Rc::clone(seq)))
        }
        "count" => {
            let [wanted] = args.places(name)?;
            let wanted = required(name, wanted)?;
            let mut count = 0;
            for item in seq.items.iter() {
                count += usize::from(item.equals(&wanted, heap)?);
            }
            Ok(Value::int(count))
        }
        "index" => {
            let [wanted, start, stop] = args.places(name)?;
            let wanted = required(name, wanted)?;
            let len = seq.items.len();
            let bound = |place: i64| index(place, len).unwrap_or(if place < 0 { 0 } else { len });
            let start = bound(place_or(start, 0)?);
            let stop = bound(place_or(stop, i64::MAX)?);
            for at in start..stop.max(start) {
                if seq.items[at].equals(&wanted, heap)? {
                    return Ok(Value::int(at));
                }
            }
            fail("the list has no such item")
        }
        _ => fail(format!("a value of this type has no method `{name}`")),
    }
}

pub(super) fn cycler(cycler: &(Rc<Seq>, Cell<usize>), name: &str, args: Args) -> Result<Value> {
    args.places::<0>(name)?;
    let (items, next) = cycler;
    if name == "reset" {
        next.set(0);
        return Ok(Value::None);
    }
    let item = items.items.get(next.get()).cloned().unwrap_or(Value::Undefined);
    next.set((next.get() + 1) % items.items.len().max(1));
    Ok(item)
}

/// A dict of these entries; later ones win.
pub(crate) fn dict_of(
    heap: &Heap,
    entries: impl IntoIterator<Item = (Value, Value)>,
) -> Result<Rc<Dict>> {
    let mut out = DictBuilder::new(heap);
    entries.into_iter().try_for_each(|(key, value)| out.insert(key, value))?;
    out.finish()
}
