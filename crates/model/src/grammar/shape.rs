//! What a value may look like, from what all schemas that hold for it say.

use serde_json::{Map, Value};

use crate::grammar::facts::{Facts, Types};
use crate::grammar::schema::{Part, Reader};
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

impl<'s> Reader<'s> {
    /// The shape of values of which `facts` are true.
    pub(super) fn shape(&mut self, facts: &Facts<'s>) -> Result<Shape, GrammarError> {
        if let Some(values) = &facts.values {
            return values_of(values, facts);
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
            shapes.push(self.items(facts)?);
        }
        if facts.types.meets(Types::OBJECT) {
            shapes.push(self.object(facts)?);
        }
        if shapes.len() < 2 {
            return Ok(shapes.pop().unwrap_or(Shape::Never));
        }
        let ids = shapes.into_iter().map(|shape| self.push(shape)).collect::<Result<_, _>>()?;
        Ok(Shape::Choice(ids))
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

    fn items(&mut self, facts: &Facts<'s>) -> Result<Shape, GrammarError> {
        let (least, most) = facts.items;
        large("items in minItems", least, limits::COUNT)?;
        if most.is_some_and(|most| least > most) {
            return Ok(Shape::Never);
        }
        // Draft 2020-12 has `prefixItems` and `items`, earlier ones `items` and `additionalItems`.
        let mut lists: Vec<(&'s [Value], Option<&'s Value>)> = Vec::new();
        for schema in &facts.objects {
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

    fn object(&mut self, facts: &Facts<'s>) -> Result<Shape, GrammarError> {
        let (required, objects) = (facts.required(), &facts.objects);
        let mut names: Vec<&str> = Vec::new();
        for schema in objects {
            let declared = schema.get("properties").and_then(Value::as_object);
            let declared = declared.into_iter().flatten().map(|(name, _)| name.as_str());
            names.extend(declared.filter(|name| !names.contains(name)).collect::<Vec<_>>());
        }
        names.extend(required.iter().copied().filter(|n| !names.contains(n)).collect::<Vec<_>>());
        large("keys of an object", names.len(), MANY)?;
        let (least, most) = facts.properties;
        if most.is_some_and(|most| most < least.max(required.len())) {
            return Ok(Shape::Never);
        }
        if names.is_empty() && !objects.iter().any(|schema| schema.contains_key("properties")) {
            return self.map(facts);
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
            let required = all || required.contains(&name);
            keys.push(Key { name: name.to_owned(), value, required });
        }
        Ok(Shape::Object(keys))
    }

    /// An object without declared keys.
    fn map(&mut self, facts: &Facts<'s>) -> Result<Shape, GrammarError> {
        let unsupported = |at: &str, hint: &str| GrammarError::Unsupported {
            at: at.to_owned(),
            hint: hint.to_owned(),
        };
        let (least, most) = facts.properties;
        if least > 1 {
            let hint = "without declared keys it can be 1 at most; declare them";
            return Err(unsupported("minProperties", hint));
        }
        let objects = &facts.objects;
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
}

/// Those values of an `enum` of which all else is true.
fn values_of(values: &[&Value], facts: &Facts<'_>) -> Result<Shape, GrammarError> {
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        let nested = Types::of(value).and(Types::LIST.or(Types::OBJECT));
        if facts.about.meets(nested) && facts.types.meets(nested) {
            let at = "enum".to_owned();
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

/// Which shapes something satisfies: those whose parts something satisfies, beginning with those
/// that have none.
pub(super) fn possible(shapes: &[Shape]) -> Vec<bool> {
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

const ABOUT_KEYS: [&str; 3] = ["properties", "patternProperties", "additionalProperties"];

/// Of keys in an object.
const MANY: usize = 1000;

/// More items than this are in no context.
const REACHABLE: usize = 1 << 20;
