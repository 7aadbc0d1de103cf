//! Jinja's filters.

mod json;
mod layout;
mod sequence;
mod string;

use super::args::{Args, flag_or, place_or, required};
use super::budget::{Heap, Result, fail};
use super::methods;
use super::number;
use super::print;
use super::value::Value;

/// `value | name(args)`
pub(super) fn call(heap: &Heap, name: &str, value: &Value, args: Args) -> Result<Value> {
    heap.work(1)?;
    match name {
        "abs" => {
            args.bind::<0>(name, [])?;
            if !number::is_number(value) {
                return fail(format!("`abs` wants a number, found {}", value.type_name()));
            }
            match value {
                Value::Float(number) => Ok(Value::Float(number.abs())),
                _ if number::compare(value, &Value::Int(0)).is_some_and(|o| o.is_lt()) => {
                    number::negate(heap, value)
                }
                Value::Bool(yes) => Ok(Value::Int(i64::from(*yes))),
                _ => Ok(value.clone()),
            }
        }
        "attr" => {
            let [wanted] = args.bind(name, ["name"])?;
            let wanted = print::string(heap, &required(name, wanted)?)?.plain();
            match value {
                // Only true attributes: no items.
                Value::Dict(_) => match methods::attribute(heap, value, &wanted)? {
                    method @ Value::Method(_) => Ok(method),
                    _ => Ok(Value::Undefined),
                },
                _ => methods::attribute(heap, value, &wanted),
            }
        }
        "count" | "length" => {
            args.bind::<0>(name, [])?;
            value.len().map(Value::int)
        }
        "d" | "default" => {
            let [otherwise, boolean] = args.bind(name, ["default_value", "boolean"])?;
            let missing = value.is_undefined() || flag_or(boolean, false) && !value.is_true();
            match otherwise {
                _ if !missing => Ok(value.clone()),
                Some(otherwise) => Ok(otherwise),
                None => Value::foreign(heap, ""),
            }
        }
        "float" => {
            let [otherwise] = args.bind(name, ["default"])?;
            let found = match value {
                Value::Text(text) => number::parse_float(&text.plain()),
                value => number::float(value).ok(),
            };
            Ok(found.map(Value::Float).or(otherwise).unwrap_or(Value::Float(0.0)))
        }
        "int" => integer(heap, value, args),
        "round" => round(heap, value, args),
        "safe" | "string" => {
            args.bind::<0>(name, [])?;
            Ok(Value::Text(print::string(heap, value)?))
        }
        "tojson" => json::tojson(heap, value, args),
        _ if sequence::NAMES.contains(&name) => sequence::call(heap, name, value, args),
        _ if string::NAMES.contains(&name) => string::call(heap, name, value, args),
        _ if layout::NAMES.contains(&name) => layout::call(heap, name, value, args),
        _ => fail(format!("there is no filter `{name}`")),
    }
}

pub(super) fn exists(name: &str) -> bool {
    OWN_NAMES.contains(&name)
        || sequence::NAMES.contains(&name)
        || string::NAMES.contains(&name)
        || layout::NAMES.contains(&name)
}

fn integer(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let [otherwise, base] = args.bind("int", ["default", "base"])?;
    let otherwise = otherwise.unwrap_or(Value::Int(0));
    let truncated = |number: f64| number::whole(number.trunc());
    let found = match value {
        Value::Text(text) => {
            let text = text.plain();
            let base = u32::try_from(place_or(base, 10)?).unwrap_or(10).clamp(2, 36);
            heap.work(text.len().min(number::DIGITS_MAX).pow(2) / 64)?;
            let whole = number::parse_integer(&text, base);
            whole.or_else(|| number::parse_float(&text).and_then(truncated))
        }
        Value::Float(number) => truncated(*number),
        value => number::integer(value),
    };
    found.map_or(Ok(otherwise), |found| number::value(heap, found))
}

fn round(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"])?;
    let precision = place_or(precision, 0)?;
    let method = method.map(|m| print::string(heap, &m).map(|m| m.plain())).transpose()?;
    let scale = 10_f64.powi(precision.clamp(-400, 400) as i32);
    match method.as_deref() {
        None | Some("common") => number::round(heap, value, precision),
        Some("ceil") => Ok(Value::Float((number::float(value)? * scale).ceil() / scale)),
        Some("floor") => Ok(Value::Float((number::float(value)? * scale).floor() / scale)),
        Some(other) => fail(format!("`round` knows no method `{other}`")),
    }
}

const OWN_NAMES: [&str; 12] = [
    "abs", "attr", "count", "d", "default", "float", "int", "length", "round", "safe", "string",
    "tojson",
];
