//! Functions that every template can call.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::args::{Args, required, text};
use super::budget::{Builder, Fault, Heap, Result, fail};
use super::clock;
use super::methods::dict_of;
use super::number::place;
use super::print;
use super::text::Text;
use super::value::{Kind, Namespace, Seq, Value, sequence};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

pub(super) const FUNCTIONS: [(&str, Function); 7] = [
    ("range", Function::Range),
    ("dict", Function::Dict),
    ("namespace", Function::Namespace),
    ("cycler", Function::Cycler),
    ("joiner", Function::Joiner),
    ("raise_exception", Function::RaiseException),
    ("strftime_now", Function::StrftimeNow),
];

impl Function {
    /// Calls it; `now` is the time in seconds since 1970.
    pub(super) fn call(self, heap: &Heap, args: Args, now: i64) -> Result<Value> {
        match self {
            Self::Range => range(heap, args),
            Self::Dict => Ok(Value::Dict(dict_of(heap, entries(heap, "dict", args)?)?)),
            Self::Namespace => {
                let mut vars = HashMap::new();
                for (key, value) in entries(heap, "namespace", args)? {
                    heap.take(NAME_BYTES)?;
                    vars.insert(text("namespace", Some(key))?.plain(), value);
                }
                Ok(Value::Namespace(Rc::new(Namespace { vars: vars.into() })))
            }
            Self::Cycler => {
                if args.list.is_empty() || !args.named.is_empty() {
                    return fail("`cycler` wants values to go through");
                }
                let items = sequence(heap, Kind::List, args.list)?;
                Ok(Value::Cycler(Rc::new((items, Cell::new(0)))))
            }
            Self::Joiner => {
                let [separator] = args.bind("joiner", ["sep"])?;
                let separator = match separator {
                    Some(separator) => print::string(heap, &separator)?,
                    None => Text::foreign(heap, ", ")?,
                };
                Ok(Value::Joiner(Rc::new((separator, Cell::new(false)))))
            }
            Self::RaiseException => {
                let [message] = args.bind("raise_exception", ["message"])?;
                let message = required("raise_exception", message)?;
                let message = print::string(heap, &message)?;
                heap.work(message.chars().len())?;
                Err(Fault::Raised(message.plain()))
            }
            Self::StrftimeNow => {
                let [format] = args.bind("strftime_now", ["format"])?;
                let format = text("strftime_now", format)?;
                let mut out = Builder::new(heap);
                clock::strftime(&mut out, format.chars(), now)?;
                Ok(Value::Text(out.text()?))
            }
        }
    }
}

fn range(heap: &Heap, args: Args) -> Result<Value> {
    let given = args.list.len();
    let [first, second, step] = args.places("range")?;
    let first = place(&required("range", first)?)?;
    let second = second.map(|value| place(&value)).transpose()?;
    let (start, stop) = second.map_or((0, first), |stop| (first, stop));
    let step = if given > 2 { place(&required("range", step)?)? } else { 1 };
    if step == 0 {
        return fail("the step of `range` is zero");
    }
    let span = i128::from(stop) - i128::from(start);
    let step_wide = i128::from(step);
    // Rounded up, and nothing where the step goes the other way.
    let count = ((span + step_wide - step_wide.signum()) / step_wide).max(0);
    if count > RANGE_MAX {
        return fail(format!("`range` has {count} items, at most {RANGE_MAX} are supported"));
    }
    let mut out = Builder::new(heap);
    for at in 0..count {
        out.push(Value::Int((i128::from(start) + at * step_wide) as i64))?;
    }
    Ok(Value::Seq(Seq::new(Kind::Range([start, stop, step]), out)?))
}

/// The entries of `dict(mapping, name=value)`.
fn entries(heap: &Heap, what: &str, args: Args) -> Result<Vec<(Value, Value)>> {
    let mut entries = Vec::new();
    if args.list.len() > 1 {
        return fail(format!("`{what}` takes one dict, found {} values", args.list.len()));
    }
    match args.list.first() {
        None => {}
        Some(Value::Dict(dict)) => {
            heap.work(dict.entries.len())?;
            entries.extend(dict.entries.iter().cloned());
        }
        Some(pairs) => {
            for pair in pairs.iterate(heap)?.items.iter() {
                match &*pair.iterate(heap)?.items {
                    [key, value] => entries.push((key.clone(), value.clone())),
                    _ => return fail(format!("`{what}` wants pairs")),
                }
            }
        }
    }
    for (name, value) in args.named {
        entries.push((Value::foreign(heap, &name)?, value));
    }
    Ok(entries)
}

/// The limit of Jinja's sandbox.
const RANGE_MAX: i128 = 100_000;

/// About what a name of a namespace costs, without its value.
const NAME_BYTES: usize = 128;
