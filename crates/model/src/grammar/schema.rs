//! From a JSON Schema to shapes: what a value may look like, without a spelling.
//!
//! A value must satisfy a set of schemas at once: the one that stands there, what it refers to,
//! what is in its `allOf`. Such a set is a shape; alternatives within it are multiplied out, one
//! shape each. Shapes refer to each other by number, so a schema may refer to itself.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::grammar::facts::{Facts, Fault, Types, same};
use crate::grammar::shape::{Id, Shape, possible};
use crate::grammar::{GrammarError, large, limits};

/// All shapes of a schema; the first is that of the whole.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) shapes: Vec<Shape>,
    /// Whether anything satisfies each.
    pub(super) possible: Vec<bool>,
}

impl Shapes {
    /// Reads `schema`, whose values must be objects if `object` says so. Strings that have a
    /// pattern must also match `expression`.
    pub(super) fn new(
        schema: &Value,
        object: bool,
        expression: Option<&str>,
    ) -> Result<Self, GrammarError> {
        check(schema)?;
        let only_object = json!({"type": "object"});
        let mut reader = Reader {
            root: schema,
            expression,
            shapes: Vec::new(),
            known: HashMap::new(),
            todo: Vec::new(),
        };
        let also = object.then_some(&only_object);
        let parts = [Some(schema), also].into_iter().flatten();
        reader.shape_of(parts.map(|schema| Part { schema, taken: 0 }).collect())?;
        while let Some((id, parts)) = reader.todo.pop() {
            reader.shapes[id] = reader.define(&parts)?;
        }
        let shapes = reader.shapes;
        let possible = possible(&shapes);
        Ok(Self { shapes, possible })
    }
}

/// One schema of a set, and which of its alternatives another schema of the set already stands for.
#[derive(Clone, Copy)]
pub(super) struct Part<'s> {
    pub(super) schema: &'s Value,
    pub(super) taken: u8,
}

pub(super) struct Reader<'s> {
    root: &'s Value,
    pub(super) expression: Option<&'s str>,
    shapes: Vec<Shape>,
    /// Sets of schemas by their addresses.
    known: HashMap<Vec<(usize, u8)>, Id>,
    todo: Vec<(Id, Vec<Part<'s>>)>,
}

impl<'s> Reader<'s> {
    /// The number of the shape of values that satisfy all of `parts`; it is defined later.
    pub(super) fn shape_of(&mut self, parts: Vec<Part<'s>>) -> Result<Id, GrammarError> {
        let mut key: Vec<_> = parts.iter().map(|part| (address(part.schema), part.taken)).collect();
        key.sort_unstable();
        key.dedup();
        if let Some(id) = self.known.get(&key) {
            return Ok(*id);
        }
        let id = self.push(Shape::Never)?;
        self.known.insert(key, id);
        self.todo.push((id, parts));
        Ok(id)
    }

    pub(super) fn push(&mut self, shape: Shape) -> Result<Id, GrammarError> {
        let what = "rules once all alternatives are multiplied out";
        large(what, self.shapes.len() + 1, limits::RULES)?;
        self.shapes.push(shape);
        Ok(self.shapes.len() - 1)
    }

    fn define(&mut self, parts: &[Part<'s>]) -> Result<Shape, GrammarError> {
        let Some(all) = self.all(parts)? else { return Ok(Shape::Never) };
        for (at, part) in all.iter().enumerate() {
            for (bit, keyword) in [(1, "anyOf"), (2, "oneOf")] {
                let Some(options) = part.schema.get(keyword) else { continue };
                if part.taken & bit != 0 {
                    continue;
                }
                let Some(options) = options.as_array().filter(|options| !options.is_empty()) else {
                    let wanted = "a list of schemas";
                    return Err(self.located(part.schema, Fault::Malformed { keyword, wanted }));
                };
                if keyword == "oneOf" {
                    self.check_disjoint(part.schema, options)?;
                }
                let mut ids = Vec::new();
                for option in options {
                    let mut parts = all.clone();
                    parts[at].taken |= bit;
                    parts.push(Part { schema: option, taken: 0 });
                    ids.push(self.shape_of(parts)?);
                }
                return Ok(Shape::Choice(ids));
            }
        }
        self.shape(&self.facts(&all)?)
    }

    /// The schemas that hold where `parts` do: with what they refer to and their `allOf`. Nothing
    /// if one of them is `false`.
    fn all(&self, parts: &[Part<'s>]) -> Result<Option<Vec<Part<'s>>>, GrammarError> {
        let mut all: Vec<Part<'s>> = Vec::new();
        // The schemas that led to one, so that a circle of references is seen.
        let mut todo: Vec<(Part<'s>, Vec<usize>)> =
            parts.iter().rev().map(|part| (*part, Vec::new())).collect();
        while let Some((part, mut path)) = todo.pop() {
            let schema = match part.schema {
                Value::Bool(true) => continue,
                Value::Bool(false) => return Ok(None),
                Value::Object(schema) => schema,
                other => {
                    let at = self.path(part.schema);
                    let found = kind(other).to_owned();
                    let wanted = "a schema (an object, true or false)";
                    return Err(GrammarError::Malformed { at, found, wanted });
                }
            };
            let here = address(part.schema);
            if path.contains(&here) {
                let what =
                    format!("{}, which refers to itself and nothing else", self.path(part.schema));
                return Err(GrammarError::Unsatisfiable { what });
            }
            path.push(here);
            large("references in a row", path.len(), limits::DEPTH)?;
            match all.iter_mut().find(|known| address(known.schema) == here) {
                // An alternative that leads back to where it was chosen says nothing by itself:
                // what satisfies the others is found with them.
                Some(known) if known.taken != 0 && leads_through(known.schema, &path) => {
                    return Ok(None);
                }
                Some(known) => known.taken |= part.taken,
                None => {
                    large("schemas that hold at once", all.len() + 1, limits::DEPTH * 4)?;
                    all.push(part);
                    let then = |schema| (Part { schema, taken: 0 }, path.clone());
                    for schema in self.list(part.schema, schema, "allOf")?.iter().rev() {
                        todo.push(then(schema));
                    }
                    if let Some(target) = schema.get("$ref") {
                        todo.push(then(self.target(part.schema, target)?));
                    }
                    continue;
                }
            }
            // What a known schema refers to is known as well; only the circle is still to be seen.
            if let Some(target) = schema.get("$ref") {
                todo.push((Part { schema: self.target(part.schema, target)?, taken: 0 }, path));
            }
        }
        Ok(Some(all))
    }

    fn list(
        &self,
        at: &Value,
        schema: &'s Map<String, Value>,
        keyword: &'static str,
    ) -> Result<&'s [Value], GrammarError> {
        match schema.get(keyword) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => {
                let wanted = "a list of schemas";
                Err(self.located(at, Fault::Malformed { keyword, wanted }))
            }
        }
    }

    /// What a `$ref` refers to.
    fn target(&self, at: &Value, reference: &Value) -> Result<&'s Value, GrammarError> {
        let wanted = "a reference into the schema such as \"#/$defs/name\"";
        let malformed = || self.located(at, Fault::Malformed { keyword: "$ref", wanted });
        let reference = reference.as_str().ok_or_else(malformed)?;
        let pointer = reference.strip_prefix('#').ok_or_else(malformed)?;
        let target = self.root.pointer(pointer);
        target.or_else(|| self.root.pointer(&unescaped(pointer))).ok_or_else(|| {
            let hint = format!("{reference:?} is not in the schema; define it there");
            self.located(at, Fault::Unsupported { keyword: "$ref", hint })
        })
    }

    /// What all schemas say together.
    fn facts(&self, all: &[Part<'s>]) -> Result<Facts<'s>, GrammarError> {
        let mut facts = Facts::new();
        for part in all {
            let Value::Object(schema) = part.schema else { continue };
            facts.add(schema).map_err(|fault| self.located(part.schema, fault))?;
        }
        Ok(facts)
    }

    /// Sees to it that a `oneOf` is a choice: no value satisfies two of its options.
    fn check_disjoint(&self, at: &Value, options: &'s [Value]) -> Result<(), GrammarError> {
        large("options of a oneOf", options.len(), MANY)?;
        for (i, a) in options.iter().enumerate() {
            for b in &options[i + 1..] {
                if !self.disjoint(a, b, 0)? {
                    let hint = "a value may satisfy two of its options; use anyOf, or give each a \
                                required key with a const of its own"
                        .to_owned();
                    return Err(self.located(at, Fault::Unsupported { keyword: "oneOf", hint }));
                }
            }
        }
        Ok(())
    }

    /// Whether it is plain that no value satisfies both.
    fn disjoint(&self, a: &'s Value, b: &'s Value, depth: usize) -> Result<bool, GrammarError> {
        let part = |schema| [Part { schema, taken: 0 }];
        let (Some(a), Some(b)) = (self.all(&part(a))?, self.all(&part(b))?) else {
            return Ok(true);
        };
        let (a, b) = (self.facts(&a)?, self.facts(&b)?);
        let types = |facts: &Facts<'_>| match &facts.values {
            None => facts.types,
            Some(values) => {
                let of_values = values.iter().map(|value| Types::of(value));
                facts.types.and(of_values.fold(Types::NULL.and(Types::STRING), Types::or))
            }
        };
        let both = types(&a).and(types(&b));
        if !both.meets(Types::ALL) {
            return Ok(true);
        }
        if let (Some(a), Some(b)) = (&a.values, &b.values) {
            return Ok(!a.iter().any(|a| b.iter().any(|b| same(a, b))));
        }
        if both != Types::OBJECT || depth == limits::DEPTH {
            return Ok(false);
        }
        // A key that both must have, with values of which no one is in both.
        for name in a.required().into_iter().filter(|name| b.required().contains(name)) {
            let of = |facts: &Facts<'s>| {
                facts.objects.iter().find_map(|schema| schema.get("properties")?.get(name))
            };
            if let (Some(a), Some(b)) = (of(&a), of(&b))
                && self.disjoint(a, b, depth + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The fault with the place of its keyword.
    fn located(&self, schema: &Value, fault: Fault) -> GrammarError {
        let at = |keyword: &str| format!("{}/{keyword}", self.path(schema));
        match fault {
            Fault::Malformed { keyword, wanted } => {
                let found = schema.get(keyword).map_or("missing", kind).to_owned();
                GrammarError::Malformed { at: at(keyword), found, wanted }
            }
            Fault::Unsupported { keyword, hint } => {
                GrammarError::Unsupported { at: at(keyword), hint }
            }
            Fault::Other(error) => error,
        }
    }

    /// Where a schema stands, as a JSON pointer with a `#` before it.
    fn path(&self, schema: &Value) -> String {
        let mut todo = vec![(self.root, "#".to_owned())];
        while let Some((value, path)) = todo.pop() {
            if std::ptr::eq(value, schema) {
                return path;
            }
            match value {
                Value::Object(map) => {
                    let child = |(key, value)| (value, format!("{path}/{key}"));
                    todo.extend(map.iter().map(child));
                }
                Value::Array(items) => {
                    let child = |(at, value)| (value, format!("{path}/{at}"));
                    todo.extend(items.iter().enumerate().map(child));
                }
                _ => {}
            }
        }
        "#".to_owned()
    }
}

/// Refuses a schema that is too deep or too large, without recursion.
fn check(schema: &Value) -> Result<(), GrammarError> {
    let mut todo = vec![(schema, 1)];
    let mut bytes = 0;
    while let Some((value, depth)) = todo.pop() {
        large("levels of schema", depth, limits::DEPTH)?;
        bytes += 4;
        match value {
            Value::Object(map) => {
                bytes += map.keys().map(|key| key.len() + 4).sum::<usize>();
                todo.extend(map.values().map(|value| (value, depth + 1)));
            }
            Value::Array(items) => todo.extend(items.iter().map(|value| (value, depth + 1))),
            Value::String(text) => bytes += text.len(),
            _ => {}
        }
        large("bytes of schema", bytes, limits::SCHEMA_BYTES)?;
    }
    Ok(())
}

/// Whether `path` passes an alternative of `schema`.
fn leads_through(schema: &Value, path: &[usize]) -> bool {
    let options =
        ["anyOf", "oneOf"].into_iter().filter_map(|keyword| schema.get(keyword)?.as_array());
    options.flatten().any(|option| path.contains(&address(option)))
}

fn address(schema: &Value) -> usize {
    std::ptr::from_ref(schema).addr()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(items) if items.is_empty() => "an empty list",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A pointer in a URI may have its characters as `%25`.
fn unescaped(pointer: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = pointer.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Of options in a `oneOf`, which are compared with each other.
const MANY: usize = 1000;
