//! Filters of lists, dicts and what else can be gone through.

use std::cmp::Ordering;

use super::super::args::{self, Args, count, flag_or, place_or, required};
use super::super::budget::{Builder, Heap, Result, fail};
use super::super::methods::item;
use super::super::ops;
use super::super::print;
use super::super::sort::sorted;
use super::super::tests;
use super::super::text;
use super::super::value::{DictBuilder, Iter, Kind, Seq, Value, list, tuple};

pub(super) const NAMES: [&str; 22] = [
    "batch",
    "dictsort",
    "first",
    "groupby",
    "items",
    "join",
    "last",
    "list",
    "map",
    "max",
    "min",
    "random",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "slice",
    "sort",
    "sum",
    "unique",
    "pprint",
];

pub(super) fn call(heap: &Heap, name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "first" | "last" | "list" | "items" | "reverse" => {
            args.bind::<0>(name, [])?;
            simple(heap, name, value)
        }
        "batch" | "slice" => {
            let first = if name == "batch" { "linecount" } else { "slices" };
            let [size, fill] = args.bind(name, [first, "fill_with"])?;
            let size = place_or(Some(required(name, size)?), 1)?;
            if size < 1 {
                return fail(format!("`{name}` wants a number above zero, found {size}"));
            }
            let fill = fill.filter(|fill| !matches!(fill, Value::None));
            let items = value.iterate(heap)?;
            let parts = match name {
                "batch" => batch(heap, &items, count(size), fill)?,
                _ => slice(heap, &items, count(size), fill)?,
            };
            Ok(Iter::value(Seq::new(Kind::List, parts)?))
        }
        "join" => {
            let [separator, path] = args.bind(name, ["d", "attribute"])?;
            let separator = separator.map(|d| print::string(heap, &d)).transpose()?;
            let mut out = Builder::new(heap);
            for (at, item) in value.iterate(heap)?.items.iter().enumerate() {
                heap.work(1)?;
                if at > 0
                    && let Some(separator) = &separator
                {
                    out.extend(separator.chars())?;
                }
                print::push_str(&mut out, &Path::of(heap, item, path.as_ref())?)?;
            }
            Ok(Value::Text(out.text()?))
        }
        "map" => map(heap, value, args),
        "select" | "reject" | "selectattr" | "rejectattr" => select(heap, name, value, args),
        "sort" | "unique" | "min" | "max" | "groupby" | "dictsort" | "sum" => {
            ordered(heap, name, value, args)
        }
        _ => fail(format!("the filter `{name}` is not supported")),
    }
}

fn simple(heap: &Heap, name: &str, value: &Value) -> Result<Value> {
    match (name, value) {
        ("first", Value::Iter(iter)) => Ok(iter.step().unwrap_or(Value::Undefined)),
        ("first", Value::Text(text)) => match text.chars().first() {
            Some(first) => Value::text(heap, &[*first]),
            None => Ok(Value::Undefined),
        },
        ("first", _) => Ok(value.iterate(heap)?.items.first().cloned().unwrap_or(Value::Undefined)),
        ("last", Value::Iter(_)) => fail("`last` wants a list, an iterator has no end"),
        ("last", _) => Ok(value.iterate(heap)?.items.last().cloned().unwrap_or(Value::Undefined)),
        ("list", _) => Ok(Value::Seq(list(heap, value.iterate(heap)?.items.iter().cloned())?)),
        ("items", Value::Undefined) => Ok(Iter::value(list(heap, [])?)),
        ("items", Value::Dict(dict)) => {
            let mut out = Builder::new(heap);
            for (key, value) in dict.entries.iter() {
                out.push(tuple(heap, [key.clone(), value.clone()])?)?;
            }
            Ok(Iter::value(Seq::new(Kind::List, out)?))
        }
        ("items", _) => fail(format!("`items` wants a dict, found {}", value.type_name())),
        (_, Value::Text(text)) => {
            let mut out = Builder::new(heap);
            out.extend(text.chars())?;
            out.items_mut().reverse();
            Ok(Value::Text(out.text()?))
        }
        (_, value) => {
            let reversed = list(heap, value.iterate(heap)?.items.iter().rev().cloned())?;
            Ok(if matches!(value, Value::Iter(_)) {
                Value::Seq(reversed)
            } else {
                Iter::value(reversed)
            })
        }
    }
}

fn batch(heap: &Heap, items: &Seq, size: usize, fill: Option<Value>) -> Result<Builder<Value>> {
    let mut out = Builder::new(heap);
    for part in items.items.chunks(size) {
        let mut row = Builder::new(heap);
        row.extend(part)?;
        if let Some(fill) = &fill {
            row.repeat(std::slice::from_ref(fill), size - part.len())?;
        }
        out.push(Value::Seq(Seq::new(Kind::List, row)?))?;
    }
    Ok(out)
}

fn slice(heap: &Heap, items: &Seq, slices: usize, fill: Option<Value>) -> Result<Builder<Value>> {
    let (each, more) = (items.items.len() / slices, items.items.len() % slices);
    let mut out = Builder::new(heap);
    let mut rest = &items.items[..];
    for at in 0..slices {
        let (part, after) = rest.split_at(each + usize::from(at < more));
        rest = after;
        let mut row = Builder::new(heap);
        row.extend(part)?;
        if let Some(fill) = &fill
            && at >= more
        {
            row.push(fill.clone())?;
        }
        out.push(Value::Seq(Seq::new(Kind::List, row)?))?;
    }
    Ok(out)
}

fn map(heap: &Heap, value: &Value, mut args: Args) -> Result<Value> {
    let named = |args: &mut Args, name: &str| {
        let at = args.named.iter().position(|(found, _)| found == name)?;
        Some(args.named.remove(at).1)
    };
    let items = value.iterate(heap)?;
    let mut out = Builder::new(heap);
    if args.list.is_empty()
        && let Some(path) = named(&mut args, "attribute")
    {
        let otherwise = named(&mut args, "default").filter(|d| !matches!(d, Value::None));
        args.bind::<0>("map", [])?;
        for item in items.items.iter() {
            let found = Path::of(heap, item, Some(&path))?;
            out.push(match &otherwise {
                Some(otherwise) if found.is_undefined() => otherwise.clone(),
                _ => found,
            })?;
        }
        return Ok(Iter::value(Seq::new(Kind::List, out)?));
    }
    let (name, rest) = first_name("map", args)?;
    for item in items.items.iter() {
        let args = Args { list: rest.list.clone(), named: rest.named.clone() };
        heap.work(args.list.len() + args.named.len())?;
        out.push(super::call(heap, &name, item, args)?)?;
    }
    Ok(Iter::value(Seq::new(Kind::List, out)?))
}

/// The name of a filter or test that is the first argument, and the other arguments.
fn first_name(what: &str, mut args: Args) -> Result<(String, Args)> {
    if args.list.is_empty() {
        return fail(format!("`{what}` wants the name of a filter or test"));
    }
    let name = args::text(what, Some(args.list.remove(0)))?.plain();
    Ok((name, args))
}

fn select(heap: &Heap, name: &str, value: &Value, mut args: Args) -> Result<Value> {
    let wanted = name.starts_with("select");
    let path = match name.ends_with("attr") {
        true if args.list.is_empty() => return fail(format!("`{name}` wants an attribute")),
        true => Some(args.list.remove(0)),
        false => None,
    };
    let test = if args.list.is_empty() { None } else { Some(first_name(name, args)?) };
    let mut out = Builder::new(heap);
    for item in value.iterate(heap)?.items.iter() {
        let tested = Path::of(heap, item, path.as_ref())?;
        let holds = match &test {
            None => tested.is_true(),
            Some((test, rest)) => {
                heap.work(rest.list.len() + 1)?;
                let args = Args { list: rest.list.clone(), named: rest.named.clone() };
                tests::holds(heap, test, &tested, args)?
            }
        };
        if holds == wanted {
            out.push(item.clone())?;
        }
    }
    Ok(Iter::value(Seq::new(Kind::List, out)?))
}

fn ordered(heap: &Heap, name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "sum" => {
            let [path, start] = args.bind(name, ["attribute", "start"])?;
            let path = path.filter(|path| !matches!(path, Value::None));
            let mut sum = start.unwrap_or(Value::Int(0));
            if matches!(sum, Value::Text(_)) {
                return fail("`sum` adds no strings, `join` does");
            }
            for item in value.iterate(heap)?.items.iter() {
                let item = Path::of(heap, item, path.as_ref())?;
                sum = ops::math(heap, super::super::ast::Math::Add, &sum, &item)?;
            }
            Ok(sum)
        }
        "dictsort" => {
            let [case, by, reverse] = args.bind(name, ["case_sensitive", "by", "reverse"])?;
            let by = by.map(|by| args::text(name, Some(by))).transpose()?;
            let at = match by {
                None => 0,
                Some(by) if by.is("key") => 0,
                Some(by) if by.is("value") => 1,
                Some(_) => return fail("`dictsort` sorts by `key` or `value`"),
            };
            let Value::Dict(dict) = value else {
                return fail(format!("`dictsort` wants a dict, found {}", value.type_name()));
            };
            let mut pairs = Builder::new(heap);
            for (key, value) in dict.entries.iter() {
                pairs.push(tuple(heap, [key.clone(), value.clone()])?)?;
            }
            let keys = Keys { path: Some(Value::Int(at)), case: flag_or(case, false), many: false };
            sort(heap, pairs.items(), &keys, flag_or(reverse, false))
        }
        "sort" => {
            let [reverse, case, path] =
                args.bind(name, ["reverse", "case_sensitive", "attribute"])?;
            let keys = Keys { path, case: flag_or(case, false), many: true };
            sort(heap, &value.iterate(heap)?.items, &keys, flag_or(reverse, false))
        }
        "groupby" => {
            let [path, otherwise, case] =
                args.bind(name, ["attribute", "default", "case_sensitive"])?;
            let path = Some(required(name, path)?);
            let keys = Keys { path, case: flag_or(case, false), many: false };
            group(heap, value, &keys, otherwise)
        }
        "unique" => {
            let [case, path] = args.bind(name, ["case_sensitive", "attribute"])?;
            let keys = Keys { path, case: flag_or(case, false), many: false };
            let mut seen = DictBuilder::new(heap);
            let mut out = Builder::new(heap);
            for item in value.iterate(heap)?.items.iter() {
                if seen.insert_new(keys.of(heap, item)?, Value::None)? {
                    out.push(item.clone())?;
                }
            }
            Ok(Iter::value(Seq::new(Kind::List, out)?))
        }
        _ => extreme(heap, name, value, args),
    }
}

/// `min` and `max`: the first of the items whose key is least or greatest.
fn extreme(heap: &Heap, name: &str, value: &Value, args: Args) -> Result<Value> {
    let [case, path] = args.bind(name, ["case_sensitive", "attribute"])?;
    let keys = Keys { path, case: flag_or(case, false), many: false };
    let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
    let mut best: Option<(Value, Value)> = None;
    for item in value.iterate(heap)?.items.iter() {
        let key = keys.of(heap, item)?;
        let better = match &best {
            Some((held, _)) => key.order(held, heap)? == Some(wanted),
            None => true,
        };
        if better {
            best = Some((key, item.clone()));
        }
    }
    Ok(best.map_or(Value::Undefined, |(_, item)| item))
}

fn sort(heap: &Heap, items: &[Value], keys: &Keys, reverse: bool) -> Result<Value> {
    let mut keyed = Builder::new(heap);
    for item in items {
        keyed.push((keys.of(heap, item)?, item.clone()))?;
    }
    let pairs: Vec<&(Value, Value)> = keyed.items().iter().collect();
    let pairs = sorted(heap, pairs, |a, b| {
        let order = a.0.order(&b.0, heap)?;
        Ok(if reverse { order.map(Ordering::reverse) } else { order })
    })?;
    Ok(Value::Seq(list(heap, pairs.into_iter().map(|(_, item)| item.clone()))?))
}

fn group(heap: &Heap, value: &Value, keys: &Keys, otherwise: Option<Value>) -> Result<Value> {
    let otherwise = otherwise.filter(|otherwise| !matches!(otherwise, Value::None));
    let mut keyed = Builder::new(heap);
    for item in value.iterate(heap)?.items.iter() {
        let mut shown = Path::of(heap, item, keys.path.as_ref())?;
        if let (true, Some(otherwise)) = (shown.is_undefined(), &otherwise) {
            shown = otherwise.clone();
        }
        keyed.push((keys.folded(heap, shown.clone())?, shown, item.clone()))?;
    }
    let all: Vec<&(Value, Value, Value)> = keyed.items().iter().collect();
    let all = sorted(heap, all, |a, b| a.0.order(&b.0, heap))?;
    let mut out = Builder::new(heap);
    let mut rest = &all[..];
    while let Some((key, shown, _)) = rest.first() {
        let mut members = Builder::new(heap);
        while let Some((other, _, item)) = rest.first()
            && key.equals(other, heap)?
        {
            members.push(item.clone())?;
            rest = &rest[1..];
        }
        if members.len() == 0 {
            // A key that is not equal to itself, such as NaN.
            members.push(rest[0].2.clone())?;
            rest = &rest[1..];
        }
        let members = Value::Seq(Seq::new(Kind::List, members)?);
        out.push(tuple(heap, [shown.clone(), members])?)?;
    }
    Ok(Value::Seq(Seq::new(Kind::List, out)?))
}

/// By what items are ordered.
struct Keys {
    path: Option<Value>,
    /// Whether `a` and `A` differ.
    case: bool,
    /// Whether the path may be several with commas between.
    many: bool,
}

impl Keys {
    fn of(&self, heap: &Heap, item: &Value) -> Result<Value> {
        match &self.path {
            Some(Value::Text(paths))
                if self.many && paths.chars().iter().any(|c| c.char() == ',') =>
            {
                let mut keys = Builder::new(heap);
                for path in paths.chars().split(|c| c.char() == ',') {
                    let path = Value::text(heap, path)?;
                    let key = Path::of(heap, item, Some(&path))?;
                    keys.push(self.folded(heap, key)?)?;
                }
                Ok(Value::Seq(Seq::new(Kind::List, keys)?))
            }
            path => {
                let key = Path::of(heap, item, path.as_ref())?;
                self.folded(heap, key)
            }
        }
    }

    fn folded(&self, heap: &Heap, key: Value) -> Result<Value> {
        match &key {
            Value::Text(text) if !self.case => {
                let mut out = Builder::new(heap);
                text::lower(&mut out, text.chars())?;
                Ok(Value::Text(out.text()?))
            }
            _ => Ok(key),
        }
    }
}

/// A path of attributes, `a.b.0`, or a place.
struct Path;

impl Path {
    fn of(heap: &Heap, value: &Value, path: Option<&Value>) -> Result<Value> {
        heap.work(1)?;
        let text = match path {
            None | Some(Value::None) => return Ok(value.clone()),
            Some(Value::Text(text)) => text,
            Some(place) => return item(heap, value, place),
        };
        let mut found = value.clone();
        for part in text.chars().split(|c| c.char() == '.') {
            heap.work(1)?;
            let plain = text::plain(part);
            let is_place = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit());
            let key = match plain.parse::<i64>() {
                Ok(place) if is_place => Value::Int(place),
                _ => Value::text(heap, part)?,
            };
            found = item(heap, &found, &key)?;
        }
        Ok(found)
    }
}
