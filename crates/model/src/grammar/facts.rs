//! What several schemas that hold at once say about a value, keyword by keyword.

use serde_json::{Map, Number, Value, json};

use crate::grammar::GrammarError;
use crate::grammar::bounds::{self, Bound};
use crate::grammar::formats::{self, Format};
use crate::grammar::shape::Shape;
use crate::grammar::{limits, strings};

/// A set of types, a bit each. Integers are numbers: `number` is two bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const INTEGER: Self = Self(4);
    pub(super) const NUMBER: Self = Self(4 | 8);
    /// What is a number and no integer; it never comes without [`Types::INTEGER`].
    pub(super) const FRACTION: Self = Self(8);
    pub(super) const STRING: Self = Self(16);
    pub(super) const LIST: Self = Self(32);
    pub(super) const OBJECT: Self = Self(64);
    pub(super) const ALL: Self = Self(127);

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::STRING,
            "array" => Self::LIST,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    /// The types of one value: a whole number is an integer however it is written.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(n) if n.as_f64().is_some_and(|n| n.fract() != 0.0) => Self::FRACTION,
            Value::Number(_) => Self::INTEGER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::LIST,
            Value::Object(_) => Self::OBJECT,
        }
    }
}

/// A fault of one keyword; whoever knows the whole schema says where it stands.
pub(super) enum Fault {
    Malformed { keyword: &'static str, wanted: &'static str },
    Unsupported { keyword: &'static str, hint: String },
    Other(GrammarError),
}

impl From<GrammarError> for Fault {
    fn from(error: GrammarError) -> Self {
        Self::Other(error)
    }
}

/// The scalar keywords of schemas that hold at once. Lists and objects stay with the schemas.
#[derive(Debug)]
pub(super) struct Facts<'s> {
    /// The schemas themselves.
    pub(super) objects: Vec<&'s Map<String, Value>>,
    pub(super) types: Types,
    pub(super) values: Option<Vec<&'s Value>>,
    /// Expressions that all decimals must match.
    pub(super) number: Vec<String>,
    least: Vec<f64>,
    most: Vec<f64>,
    pub(super) multiple: Option<&'s Number>,
    /// Expressions that all strings must match.
    pub(super) string: Vec<String>,
    pub(super) length: (usize, Option<usize>),
    pub(super) items: (usize, Option<usize>),
    pub(super) properties: (usize, Option<usize>),
    /// Whether any keyword but `type`, `enum` and `const` was there for that type.
    pub(super) about: Types,
}

impl<'s> Facts<'s> {
    pub(super) fn new() -> Self {
        Self {
            objects: Vec::new(),
            types: Types::ALL,
            values: None,
            number: Vec::new(),
            least: Vec::new(),
            most: Vec::new(),
            multiple: None,
            string: Vec::new(),
            length: (0, None),
            items: (0, None),
            properties: (0, None),
            about: Types(0),
        }
    }

    /// Adds what one schema says.
    pub(super) fn add(&mut self, schema: &'s Map<String, Value>) -> Result<(), Fault> {
        self.objects.push(schema);
        refuse_unsupported(schema)?;
        check_kinds(schema)?;
        self.add_types(schema)?;
        self.add_values(schema)?;
        self.add_numbers(schema)?;
        self.add_strings(schema)?;
        range(schema, "minItems", "maxItems", &mut self.items)?;
        range(schema, "minProperties", "maxProperties", &mut self.properties)?;
        for (keyword, types) in ABOUT {
            if schema.contains_key(*keyword) {
                self.about = self.about.or(*types);
            }
        }
        Ok(())
    }

    fn add_types(&mut self, schema: &'s Map<String, Value>) -> Result<(), Fault> {
        let malformed =
            || Fault::Malformed { keyword: "type", wanted: "a type or a list of types" };
        let named = |value: &Value| value.as_str().and_then(Types::named).ok_or_else(malformed);
        let types = match schema.get("type") {
            None => return Ok(()),
            Some(Value::Array(names)) if !names.is_empty() => {
                let none: Result<Types, Fault> = Ok(Types(0));
                names.iter().fold(none, |all, name| Ok(all?.or(named(name)?)))?
            }
            Some(name) => named(name)?,
        };
        let nullable = schema.get("nullable").is_some_and(|v| v == &Value::Bool(true));
        self.types = self.types.and(if nullable { types.or(Types::NULL) } else { types });
        Ok(())
    }

    fn add_values(&mut self, schema: &'s Map<String, Value>) -> Result<(), Fault> {
        let mut lists: Vec<Vec<&'s Value>> = Vec::new();
        match schema.get("enum") {
            None => {}
            Some(Value::Array(values)) if values.len() <= limits::VALUES => {
                lists.push(values.iter().collect());
            }
            Some(Value::Array(values)) => {
                let (found, max) = (values.len(), limits::VALUES);
                let what = "values of an enum";
                return Err(GrammarError::TooLarge { what, found, max }.into());
            }
            Some(_) => return Err(Fault::Malformed { keyword: "enum", wanted: "a list" }),
        }
        lists.extend(schema.get("const").map(|value| vec![value]));
        for list in lists {
            self.values = Some(match self.values.take() {
                None => list,
                Some(values) => {
                    values.into_iter().filter(|v| list.iter().any(|w| same(v, w))).collect()
                }
            });
        }
        Ok(())
    }

    fn add_numbers(&mut self, schema: &'s Map<String, Value>) -> Result<(), Fault> {
        for (keyword, over, is_least) in
            [("minimum", "exclusiveMinimum", true), ("maximum", "exclusiveMaximum", false)]
        {
            let wanted = "a number";
            // Draft 4 says whether the other bound is exclusive.
            let exclusive = schema.get(over) == Some(&Value::Bool(true));
            for (keyword, exclusive) in [(keyword, exclusive), (over, true)] {
                let number = match schema.get(keyword) {
                    None => continue,
                    Some(Value::Bool(_)) if keyword == over => continue,
                    Some(Value::Number(number)) => number,
                    Some(_) => return Err(Fault::Malformed { keyword, wanted }),
                };
                self.add_bound(number, exclusive, is_least).ok_or_else(|| {
                    let hint = format!("{number} has too many digits after the point; round it");
                    Fault::Unsupported { keyword, hint }
                })?;
            }
        }
        match schema.get("multipleOf") {
            None => {}
            Some(Value::Number(n)) if n.as_f64().is_some_and(|n| n > 0.0) => {
                if self.multiple.is_some_and(|other| other != n) {
                    let hint = "two different ones hold at once; write their common multiple";
                    return Err(Fault::Unsupported {
                        keyword: "multipleOf",
                        hint: hint.to_owned(),
                    });
                }
                self.multiple = Some(n);
            }
            Some(_) => {
                let wanted = "a number above zero";
                return Err(Fault::Malformed { keyword: "multipleOf", wanted });
            }
        }
        Ok(())
    }

    fn add_bound(&mut self, number: &Number, exclusive: bool, is_least: bool) -> Option<()> {
        let bound = Bound::new(number, exclusive)?;
        let value = number.as_f64()?;
        let value = match (exclusive, is_least) {
            (false, _) => value,
            (true, true) => value.next_up(),
            (true, false) => value.next_down(),
        };
        if is_least {
            self.number.extend(bounds::at_least(&bound));
            self.least.push(value);
        } else {
            self.number.extend(bounds::at_most(&bound));
            self.most.push(value);
        }
        Some(())
    }

    fn add_strings(&mut self, schema: &'s Map<String, Value>) -> Result<(), Fault> {
        let before = self.length;
        range(schema, "minLength", "maxLength", &mut self.length)?;
        let most = self.length.1.unwrap_or(0).max(self.length.0);
        if self.length != before && most > limits::COUNT {
            let what = "characters in minLength or maxLength";
            return Err(GrammarError::TooLarge { what, found: most, max: limits::COUNT }.into());
        }
        match schema.get("pattern") {
            None => {}
            Some(Value::String(pattern)) => {
                let search = strings::search(pattern).map_err(|reason| {
                    let hint = format!("{reason}; write it without anchors inside and look-around");
                    Fault::Unsupported { keyword: "pattern", hint }
                })?;
                self.string.push(search);
            }
            Some(_) => return Err(Fault::Malformed { keyword: "pattern", wanted: "a string" }),
        }
        let Some(format) = schema.get("format") else { return Ok(()) };
        let Some(name) = format.as_str() else {
            return Err(Fault::Malformed { keyword: "format", wanted: "a string" });
        };
        match formats::find(name) {
            Some(Format::String(expression)) => self.string.push(expression),
            Some(Format::Integer(bits)) => {
                let (least, most) = match bits {
                    32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                    _ => (i64::MIN, i64::MAX),
                };
                self.add_bound(&least.into(), false, true);
                self.add_bound(&most.into(), false, false);
            }
            Some(Format::Annotation) => {}
            None => {
                let hint = format!("{name:?} is not known; use a pattern or leave it out");
                return Err(Fault::Unsupported { keyword: "format", hint });
            }
        }
        Ok(())
    }

    /// The multiples of a number: all of them where they are few whole numbers, otherwise a schema
    /// for llguidance.
    pub(super) fn multiple_of(&self, multiple: &Number, integer: bool) -> Shape {
        let far = 1e15;
        let least = self.least.iter().copied().fold(-far, f64::max);
        let most = self.most.iter().copied().fold(far, f64::min);
        if let Some(step) = multiple.as_i64().filter(|step| *step > 0) {
            // Within 1e15, where every whole number is one as an f64.
            let (first, last) = (least.ceil() as i64, most.floor() as i64);
            let first = first.div_euclid(step) + i64::from(first.rem_euclid(step) != 0);
            let last = last.div_euclid(step);
            if last - first < MULTIPLES {
                let values: Vec<_> = (first..=last).map(|n| json!(n * step)).collect();
                return if values.is_empty() { Shape::Never } else { Shape::Values(values) };
            }
        }
        let kind = if integer { "integer" } else { "number" };
        Shape::Multiple(json!({
            "type": kind, "multipleOf": multiple, "minimum": least, "maximum": most,
            "x-guidance": {"whitespace_flexible": false},
        }))
    }

    /// The keys that must be there.
    pub(super) fn required(&self) -> Vec<&'s str> {
        let lists = self.objects.iter().filter_map(|schema| schema.get("required")?.as_array());
        let mut all = Vec::new();
        for name in lists.flatten().filter_map(Value::as_str) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// Whether one value of an `enum` satisfies all else.
    pub(super) fn admits(&self, value: &Value) -> Result<bool, GrammarError> {
        if !self.types.meets(Types::of(value)) {
            return Ok(false);
        }
        Ok(match value {
            Value::Number(number) => {
                let value = number.as_f64().unwrap_or(f64::NAN);
                let within = self.least.iter().all(|l| value >= *l);
                let within = within && self.most.iter().all(|m| value <= *m);
                let multiple = self.multiple.and_then(Number::as_f64);
                within && multiple.is_none_or(|m| value % m == 0.0)
            }
            Value::String(text) => {
                let length = text.chars().count();
                if length < self.length.0 || self.length.1.is_some_and(|most| length > most) {
                    return Ok(false);
                }
                for expression in &self.string {
                    if !strings::matches(expression, text)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => true,
        })
    }
}

/// Whether two values are one to JSON Schema: numbers are compared by what they are worth.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let has = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(has)
        }
        _ => a == b,
    }
}

/// Narrows a range by two keywords.
fn range(
    schema: &Map<String, Value>,
    min: &'static str,
    max: &'static str,
    range: &mut (usize, Option<usize>),
) -> Result<(), Fault> {
    let count = |keyword| -> Result<Option<usize>, Fault> {
        match schema.get(keyword) {
            None => Ok(None),
            Some(value) => {
                let whole = value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0);
                let whole = whole.ok_or(Fault::Malformed { keyword, wanted: "a count" })?;
                Ok(Some(whole as usize))
            }
        }
    };
    range.0 = range.0.max(count(min)?.unwrap_or(0));
    range.1 = match (range.1, count(max)?) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    Ok(())
}

/// Keywords whose silence would let wrong values through.
fn refuse_unsupported(schema: &Map<String, Value>) -> Result<(), Fault> {
    for keyword in UNSUPPORTED {
        let Some(value) = schema.get(*keyword) else { continue };
        let harmless = match *keyword {
            "uniqueItems" => value == &Value::Bool(false),
            "unevaluatedProperties" | "unevaluatedItems" => value == &Value::Bool(true),
            _ => false,
        };
        if !harmless {
            let hint = "say it with the keywords that are, or leave it out".to_owned();
            return Err(Fault::Unsupported { keyword, hint });
        }
    }
    Ok(())
}

/// Keywords of lists and objects are read where their schemas are; here they are only checked.
fn check_kinds(schema: &Map<String, Value>) -> Result<(), Fault> {
    for keyword in ["properties", "patternProperties"] {
        if schema.get(keyword).is_some_and(|value| !value.is_object()) {
            return Err(Fault::Malformed { keyword, wanted: "an object of schemas" });
        }
    }
    let keyword = "prefixItems";
    if schema.get(keyword).is_some_and(|value| !value.is_array()) {
        return Err(Fault::Malformed { keyword, wanted: "a list of schemas" });
    }
    let keyword = "required";
    let names = |value: &Value| value.as_array().is_some_and(|l| l.iter().all(Value::is_string));
    // Draft 3 had a boolean in each property, which no later one reads.
    if schema.get(keyword).is_some_and(|value| !names(value)) {
        return Err(Fault::Malformed { keyword, wanted: "a list of keys" });
    }
    Ok(())
}

/// So many multiples are written out.
const MULTIPLES: i64 = 1000;

const UNSUPPORTED: &[&str] = &[
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
];

/// The keywords that say something about values of one type.
const ABOUT: &[(&str, Types)] = &[
    ("minimum", Types::NUMBER),
    ("maximum", Types::NUMBER),
    ("exclusiveMinimum", Types::NUMBER),
    ("exclusiveMaximum", Types::NUMBER),
    ("multipleOf", Types::NUMBER),
    ("minLength", Types::STRING),
    ("maxLength", Types::STRING),
    ("pattern", Types::STRING),
    ("format", Types::STRING),
    ("items", Types::LIST),
    ("prefixItems", Types::LIST),
    ("additionalItems", Types::LIST),
    ("minItems", Types::LIST),
    ("maxItems", Types::LIST),
    ("properties", Types::OBJECT),
    ("patternProperties", Types::OBJECT),
    ("additionalProperties", Types::OBJECT),
    ("required", Types::OBJECT),
    ("minProperties", Types::OBJECT),
    ("maxProperties", Types::OBJECT),
];
