//! Jinja's tests: what follows `is`.

use std::cmp::Ordering;

use num_bigint::BigInt;

use super::args::{Args, required};
use super::ast::Math;
use super::budget::{Heap, Result, fail};
use super::filters;
use super::methods::is_case;
use super::number;
use super::ops;
use super::print;
use super::value::{Kind, Value};

/// Whether `value is name(args)`.
pub(super) fn holds(heap: &Heap, name: &str, value: &Value, args: Args) -> Result<bool> {
    if BINARY.contains(&name) {
        let [other] = args.places(name)?;
        return binary(heap, name, value, &required(name, other)?);
    }
    if !UNARY.contains(&name) {
        return fail(format!("there is no test `{name}`"));
    }
    args.places::<0>(name)?;
    let modulo = |divisor: i64| {
        let rest = ops::math(heap, Math::Mod, value, &Value::Int(divisor))?;
        rest.equals(&Value::Int(1), heap).map(|odd| (odd, rest))
    };
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_) | Value::Big(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => number::is_number(value),
        "string" => matches!(value, Value::Text(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => match value {
            Value::Undefined | Value::Text(_) | Value::Dict(_) => true,
            Value::Seq(seq) => matches!(seq.kind, Kind::List | Kind::Tuple | Kind::Range(_)),
            _ => false,
        },
        "iterable" => matches!(
            value,
            Value::Undefined
                | Value::Text(_)
                | Value::Dict(_)
                | Value::Seq(_)
                | Value::Iter(_)
                | Value::Loop(_)
        ),
        "callable" => matches!(
            value,
            Value::Undefined
                | Value::Macro(_)
                | Value::Method(_)
                | Value::Function(_)
                | Value::Loop(_)
                | Value::Joiner(_)
        ),
        "lower" => is_case(print::string(heap, value)?.chars(), char::is_lowercase),
        "upper" => is_case(print::string(heap, value)?.chars(), char::is_uppercase),
        "odd" => modulo(2)?.0,
        "even" => modulo(2)?.1.equals(&Value::Int(0), heap)?,
        "filter" => named(value, filters::exists)?,
        "test" => named(value, |name| UNARY.contains(&name) || BINARY.contains(&name))?,
        // Without autoescape nothing is.
        _ => false,
    })
}

fn binary(heap: &Heap, name: &str, value: &Value, other: &Value) -> Result<bool> {
    let order = || value.order(other, heap);
    Ok(match name {
        "eq" | "==" | "equalto" => value.equals(other, heap)?,
        "ne" | "!=" => !value.equals(other, heap)?,
        "lt" | "<" | "lessthan" => order()? == Some(Ordering::Less),
        "gt" | ">" | "greaterthan" => order()? == Some(Ordering::Greater),
        "le" | "<=" => order()?.is_some_and(|order| order != Ordering::Greater),
        "ge" | ">=" => order()?.is_some_and(|order| order != Ordering::Less),
        "in" => other.contains(value, heap)?,
        "divisibleby" => {
            let rest = ops::math(heap, Math::Mod, value, other)?;
            number::integer(&rest) == Some(BigInt::ZERO) || rest.equals(&Value::Int(0), heap)?
        }
        _ => same(value, other),
    })
}

/// As far as Python tells: one value for each of the constants and the small numbers.
fn same(value: &Value, other: &Value) -> bool {
    match (value, other) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b && (-5..=256).contains(a),
        (Value::Seq(a), Value::Seq(b)) => std::rc::Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => std::rc::Rc::ptr_eq(a, b),
        (Value::Text(a), Value::Text(b)) => a.same(b),
        _ => false,
    }
}

fn named(value: &Value, exists: impl Fn(&str) -> bool) -> Result<bool> {
    match value {
        Value::Text(text) if text.chars().len() < 64 => Ok(exists(&text.plain())),
        Value::Seq(_) | Value::Dict(_) => fail("a name cannot be a list or a dict"),
        _ => Ok(false),
    }
}

const UNARY: [&str; 21] = [
    "boolean",
    "callable",
    "defined",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "integer",
    "iterable",
    "lower",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

const BINARY: [&str; 18] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "divisibleby",
    "eq",
    "equalto",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "le",
    "lessthan",
    "lt",
    "ne",
    "sameas",
];
