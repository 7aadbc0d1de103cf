//! Operators.

use std::cmp::Ordering;

use super::ast::{Compare, Math};
use super::budget::{Builder, Heap, Result, fail};
use super::format::percent;
use super::number;
use super::value::{Kind, Seq, Value};

/// `a op b`
pub(super) fn math(heap: &Heap, op: Math, a: &Value, b: &Value) -> Result<Value> {
    match (op, a, b) {
        _ if number::is_number(a) && number::is_number(b) => number::math(heap, op, a, b),
        (Math::Mod, Value::Text(template), values) => percent(heap, template, values),
        (Math::Add, Value::Text(a), Value::Text(b)) => {
            let mut out = Builder::new(heap);
            out.reserve(a.chars().len() + b.chars().len())?;
            out.extend(a.chars())?;
            out.extend(b.chars())?;
            Ok(Value::Text(out.text()?))
        }
        (Math::Add, Value::Seq(a), Value::Seq(b)) if can_grow(a) && a.kind == b.kind => {
            let mut out = Builder::new(heap);
            out.reserve(a.items.len() + b.items.len())?;
            out.extend(&a.items)?;
            out.extend(&b.items)?;
            Ok(Value::Seq(Seq::new(a.kind, out)?))
        }
        (Math::Mul, Value::Text(_) | Value::Seq(_), _) if number::integer(b).is_some() => {
            repeat(heap, a, b)
        }
        (Math::Mul, _, Value::Text(_) | Value::Seq(_)) if number::integer(a).is_some() => {
            repeat(heap, b, a)
        }
        _ => {
            let (a, b) = (a.type_name(), b.type_name());
            fail(format!("{} of {a} and {b} is not possible", name(op)))
        }
    }
}

fn can_grow(seq: &Seq) -> bool {
    matches!(seq.kind, Kind::List | Kind::Tuple)
}

fn repeat(heap: &Heap, value: &Value, times: &Value) -> Result<Value> {
    let times = usize::try_from(number::place(times)?).unwrap_or(0);
    match value {
        Value::Text(text) => {
            let mut out = Builder::new(heap);
            out.repeat(text.chars(), times)?;
            Ok(Value::Text(out.text()?))
        }
        Value::Seq(seq) if can_grow(seq) => {
            let mut out = Builder::new(heap);
            out.repeat(&seq.items, times)?;
            Ok(Value::Seq(Seq::new(seq.kind, out)?))
        }
        _ => fail(format!("a value of type {} cannot be repeated", value.type_name())),
    }
}

fn name(op: Math) -> &'static str {
    match op {
        Math::Add => "the sum",
        Math::Sub => "the difference",
        Math::Mul => "the product",
        Math::Div | Math::FloorDiv => "the quotient",
        Math::Mod => "the remainder",
        Math::Pow => "the power",
    }
}

/// `a op b`
pub(super) fn compare(heap: &Heap, op: Compare, a: &Value, b: &Value) -> Result<bool> {
    Ok(match op {
        Compare::Eq => a.equals(b, heap)?,
        Compare::Ne => !a.equals(b, heap)?,
        Compare::In => b.contains(a, heap)?,
        Compare::NotIn => !b.contains(a, heap)?,
        Compare::Lt => a.order(b, heap)? == Some(Ordering::Less),
        Compare::Gt => a.order(b, heap)? == Some(Ordering::Greater),
        Compare::Le => a.order(b, heap)?.is_some_and(|order| order != Ordering::Greater),
        Compare::Ge => a.order(b, heap)?.is_some_and(|order| order != Ordering::Less),
    })
}
