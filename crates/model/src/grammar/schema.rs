//! From a JSON Schema to shapes: what a value may look like, without a spelling.
//!
//! A value must satisfy a set of schemas at once: the one that stands there, what it refers to,
//! what is in its `allOf`. Such a set is a shape; alternatives within it are multiplied out, one
//! shape each. Shapes refer to each other by number, so a schema may refer to itself.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::grammar::facts::{Facts, Fault, Types, same};
use crate::grammar::{GrammarError, bounds, large, limits, strings};

/// The number of a shape.
pub(super) type Id = usize;

/// What a value may look like.
#[derive(Debug)]
pub(super) enum Shape {
    /// Nothing satisfies the schema.
    Never,
    /// Anything.
    Any,
    /// One of several shapes.
    Choice(Vec<Id>),
    /// One of these values.
    Values(Vec<Value>),
    /// A number that all expressions match.
    Number(Vec<String>),
    /// A number of which llguidance sees that it is a multiple: a schema of its own.
    Multiple(Value),
    /// A string that all expressions match, and its least and greatest length in characters.
    String { expressions: Vec<String>, length: (usize, Option<usize>) },
    /// The first items one by one, then any number of one shape, within a least and a greatest
    /// number of items.
    List { first: Vec<Id>, rest: Id, count: (usize, Option<usize>) },
    /// Declared keys, in the order of the schema.
    Object(Vec<Key>),
    /// Any keys, or those that an expression matches.
    Map { key: Option<String>, value: Id, count: (usize, Option<usize>) },
}

/// A declared key of an object.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) value: Id,
    pub(super) required: bool,
}

/// All shapes of a schema; the first is that of the whole.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) shapes: Vec<Shape>,
    /// Whether anything satisfies each.
    pub(super) possible: Vec<bool>,
}

impl Shapes {
    /// Reads `schema`, whose values must be objects if `object` says so. Strings that have a pattern
    /// must also match `expression`.
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
struct Part<'s> {
    schema: &'s Value,
    taken: u8,
}

struct Reader<'s> {
    root: &'s Value,
    expression: Option<&'s str>,
    shapes: Vec<Shape>,
    /// Sets of schemas by their addresses.
    known: HashMap<Vec<(usize, u8)>, Id>,
    todo: Vec<(Id, Vec<Part<'s>>)>,
}

impl<'s> Reader<'s> {
    /// The number of the shape of values that satisfy all of `parts`; it is defined later.
    fn shape_of(&mut self, parts: Vec<Part<'s>>) -> Result<Id, GrammarError> {
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

    fn push(&mut self, shape: Shape) -> Result<Id, GrammarError> {
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
        let (facts, objects) = self.facts(&all)?;
        self.shape(&facts, &objects)
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

    /// What all schemas say together, and those of them as objects.
    fn facts(
        &self,
        all: &[Part<'s>],
    ) -> Result<(Facts<'s>, Vec<&'s Map<String, Value>>), GrammarError> {
        let mut facts = Facts::new();
        let mut objects = Vec::new();
        for part in all {
            let Value::Object(schema) = part.schema else { continue };
            facts.add(schema).map_err(|fault| self.located(part.schema, fault))?;
            objects.push(schema);
        }
        Ok((facts, objects))
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
        let ((a, of_a), (b, of_b)) = (self.facts(&a)?, self.facts(&b)?);
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
        let (required, properties) = (|objects| required(objects), "properties");
        for name in required(&of_a).iter().filter(|name| required(&of_b).contains(*name)) {
            let of = |objects: &[&'s Map<String, Value>]| {
                objects.iter().find_map(|schema| schema.get(properties)?.get(name.as_str()))
            };
            if let (Some(a), Some(b)) = (of(&of_a), of(&of_b))
                && self.disjoint(a, b, depth + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn shape(
        &mut self,
        facts: &Facts<'s>,
        objects: &[&'s Map<String, Value>],
    ) -> Result<Shape, GrammarError> {
        if let Some(values) = &facts.values {
            return self.values(values, facts, objects);
        }
        if facts.types == Types::ALL && !facts.about.meets(Types::ALL) {
            return Ok(Shape::Any);
        }
        let mut shapes = Vec::new();
        if facts.types.meets(Types::NULL) {
            shapes.push(Shape::Values(vec![Value::Null]));
        }
        if facts.types.meets(Types::BOOLEAN) {
            shapes.push(Shape::Values(vec![Value::Bool(false), Value::Bool(true)]));
        }
        if facts.types.meets(Types::INTEGER) {
            shapes.push(number(facts)?);
        }
        if facts.types.meets(Types::STRING) {
            shapes.push(self.string(facts)?);
        }
        if facts.types.meets(Types::LIST) {
            shapes.push(self.items(facts, objects)?);
        }
        if facts.types.meets(Types::OBJECT) {
            shapes.push(self.object(facts, objects)?);
        }
        if shapes.len() < 2 {
            return Ok(shapes.pop().unwrap_or(Shape::Never));
        }
        let ids = shapes.into_iter().map(|shape| self.push(shape)).collect::<Result<_, _>>()?;
        Ok(Shape::Choice(ids))
    }

    fn values(
        &mut self,
        values: &[&'s Value],
        facts: &Facts<'s>,
        objects: &[&'s Map<String, Value>],
    ) -> Result<Shape, GrammarError> {
        let mut kept: Vec<Value> = Vec::new();
        for value in values {
            let nested = Types::of(value).and(Types::LIST.or(Types::OBJECT));
            if facts.about.meets(nested) && facts.types.meets(nested) {
                let at = objects.first().map_or_else(String::new, |_| "enum".to_owned());
                let hint = "lists and objects in it cannot be held against other keywords beside \
                            it; leave those out"
                    .to_owned();
                return Err(GrammarError::Unsupported { at, hint });
            }
            if facts.admits(value)? {
                kept.push((*value).clone());
            }
        }
        Ok(if kept.is_empty() { Shape::Never } else { Shape::Values(kept) })
    }

    fn string(&self, facts: &Facts<'s>) -> Result<Shape, GrammarError> {
        let (length, mut expressions) = (facts.length, facts.string.clone());
        let (least, most) = length;
        if most.is_some_and(|most| least > most) {
            return Ok(Shape::Never);
        }
        if !expressions.is_empty() {
            expressions.extend(self.expression.map(str::to_owned));
            if length != (0, None) {
                let most = most.map_or_else(String::new, |most| most.to_string());
                expressions.push(format!("(?s:.{{{least},{most}}})"));
            }
            if strings::is_empty(&expressions)? {
                return Ok(Shape::Never);
            }
        }
        Ok(Shape::String { expressions, length })
    }

    fn items(
        &mut self,
        facts: &Facts<'s>,
        objects: &[&'s Map<String, Value>],
    ) -> Result<Shape, GrammarError> {
        let (least, most) = facts.items;
        large("items in minItems", least, limits::COUNT)?;
        if most.is_some_and(|most| least > most) {
            return Ok(Shape::Never);
        }
        // Draft 2020-12 has `prefixItems` and `items`, earlier ones `items` and `additionalItems`.
        let mut lists: Vec<(&'s [Value], Option<&'s Value>)> = Vec::new();
        for schema in objects {
            let list = |keyword| schema.get(keyword).and_then(Value::as_array);
            lists.push(match (list("items"), list("prefixItems")) {
                (Some(first), _) => (first, schema.get("additionalItems")),
                (None, Some(first)) => (first, schema.get("items")),
                (None, None) => (&[], schema.get("items")),
            });
        }
        let longest = lists.iter().map(|(first, _)| first.len()).max().unwrap_or(0);
        let mut ids = Vec::new();
        for at in 0..=longest {
            let part = |schema| Part { schema, taken: 0 };
            let parts = lists.iter().filter_map(|(first, rest)| first.get(at).or(*rest)).map(part);
            ids.push(self.shape_of(parts.collect())?);
        }
        let rest = ids.pop().unwrap_or(0);
        // More items than any context has tokens are no limit.
        let most = most.filter(|most| *most <= REACHABLE);
        Ok(Shape::List { first: ids, rest, count: (least, most) })
    }

    fn object(
        &mut self,
        facts: &Facts<'s>,
        objects: &[&'s Map<String, Value>],
    ) -> Result<Shape, GrammarError> {
        let required = required(objects);
        let mut names: Vec<&str> = Vec::new();
        for schema in objects {
            let declared = schema.get("properties").and_then(Value::as_object);
            let declared = declared.into_iter().flatten().map(|(name, _)| name.as_str());
            names.extend(declared.filter(|name| !names.contains(name)).collect::<Vec<_>>());
        }
        names.extend(
            required.iter().map(String::as_str).filter(|n| !names.contains(n)).collect::<Vec<_>>(),
        );
        large("keys of an object", names.len(), MANY)?;
        let (least, most) = facts.properties;
        if most.is_some_and(|most| most < least.max(required.len())) {
            return Ok(Shape::Never);
        }
        if names.is_empty() && !objects.iter().any(|schema| schema.contains_key("properties")) {
            return self.map(facts, objects);
        }
        let all = least == names.len();
        let followed = all || least <= required.len();
        if !followed || most.is_some_and(|most| most < names.len()) {
            let hint = "it would choose between optional keys; make them required or leave it out";
            let at = if followed { "maxProperties" } else { "minProperties" }.to_owned();
            return Err(GrammarError::Unsupported { at, hint: hint.to_owned() });
        }
        let mut keys = Vec::new();
        for name in names {
            let parts = about_key(objects, name)?;
            let value = self.shape_of(parts)?;
            let required = all || required.iter().any(|required| required == name);
            keys.push(Key { name: name.to_owned(), value, required });
        }
        Ok(Shape::Object(keys))
    }

    /// An object without declared keys.
    fn map(
        &mut self,
        facts: &Facts<'s>,
        objects: &[&'s Map<String, Value>],
    ) -> Result<Shape, GrammarError> {
        let unsupported = |at: &str, hint: &str| GrammarError::Unsupported {
            at: at.to_owned(),
            hint: hint.to_owned(),
        };
        let (least, most) = facts.properties;
        if least > 1 {
            let hint = "without declared keys it can be 1 at most; declare them";
            return Err(unsupported("minProperties", hint));
        }
        let patterns = objects.iter().filter_map(|s| s.get("patternProperties")?.as_object());
        let mut patterns: Vec<_> = patterns.flatten().collect();
        let mut parts: Vec<Part<'s>> = Vec::new();
        let mut key = None;
        if let Some((pattern, schema)) = patterns.pop() {
            let others = objects.iter().filter(|s| ABOUT_KEYS.iter().any(|k| s.contains_key(*k)));
            if !patterns.is_empty() || others.count() > 1 {
                let hint = "without declared keys there can be one pattern only; join them";
                return Err(unsupported("patternProperties", hint));
            }
            let search = strings::search(pattern);
            let search = search.map_err(|reason| unsupported("patternProperties", &reason))?;
            key = Some(search);
            parts.push(Part { schema, taken: 0 });
        } else {
            let more = objects.iter().filter_map(|schema| schema.get("additionalProperties"));
            parts.extend(more.map(|schema| Part { schema, taken: 0 }));
        }
        let value = self.shape_of(parts)?;
        let most = most.filter(|most| *most <= REACHABLE);
        Ok(Shape::Map { key, value, count: (least, most) })
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

/// A number between the bounds.
fn number(facts: &Facts<'_>) -> Result<Shape, GrammarError> {
    let integer = !facts.types.meets(Types::FRACTION);
    let mut expressions = facts.number.clone();
    if let Some(multiple) = facts.multiple {
        return Ok(facts.multiple_of(multiple, integer));
    }
    expressions.extend(bounds::forms(integer, !expressions.is_empty()));
    let empty = strings::is_empty(&expressions)?;
    Ok(if empty { Shape::Never } else { Shape::Number(expressions) })
}

/// What the schemas say about one key.
fn about_key<'s>(
    objects: &[&'s Map<String, Value>],
    name: &str,
) -> Result<Vec<Part<'s>>, GrammarError> {
    let mut parts = Vec::new();
    for schema in objects {
        let before = parts.len();
        let declared = schema.get("properties").and_then(|properties| properties.get(name));
        parts.extend(declared.map(|schema| Part { schema, taken: 0 }));
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        for (pattern, schema) in patterns.into_iter().flatten() {
            let search = strings::search(pattern).map_err(|hint| GrammarError::Unsupported {
                at: "patternProperties".to_owned(),
                hint,
            })?;
            if strings::matches(&search, name)? {
                parts.push(Part { schema, taken: 0 });
            }
        }
        if parts.len() == before {
            let more = schema.get("additionalProperties");
            parts.extend(more.map(|schema| Part { schema, taken: 0 }));
        }
    }
    Ok(parts)
}

/// The keys that must be there.
fn required(objects: &[&Map<String, Value>]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in objects.iter().filter_map(|schema| schema.get("required")?.as_array()).flatten() {
        if let Some(name) = name.as_str().filter(|name| !all.iter().any(|known| known == name)) {
            all.push(name.to_owned());
        }
    }
    all
}

/// Which shapes something satisfies: those whose parts something satisfies, beginning with those
/// that have none.
fn possible(shapes: &[Shape]) -> Vec<bool> {
    let mut possible = vec![false; shapes.len()];
    loop {
        let mut changed = false;
        for (id, shape) in shapes.iter().enumerate() {
            let now = match shape {
                Shape::Never => false,
                Shape::Choice(ids) => ids.iter().any(|id| possible[*id]),
                Shape::List { first, rest, count: (least, _) } => {
                    let item = |at: usize| first.get(at).unwrap_or(rest);
                    (0..*least.min(&(first.len() + 1))).all(|at| possible[*item(at)])
                }
                Shape::Object(keys) => keys.iter().all(|key| !key.required || possible[key.value]),
                Shape::Map { value, count: (least, _), .. } => *least == 0 || possible[*value],
                _ => true,
            };
            changed |= now && !possible[id];
            possible[id] |= now;
        }
        if !changed {
            return possible;
        }
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

const ABOUT_KEYS: [&str; 3] = ["properties", "patternProperties", "additionalProperties"];

/// Of keys in an object and of options in a `oneOf`, which are compared with each other.
const MANY: usize = 1000;

/// More items than this are in no context.
const REACHABLE: usize = 1 << 20;
