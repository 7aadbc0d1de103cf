//! Numbers: integers of any size up to Python's limit for printing, and floats.

use std::cmp::Ordering;
use std::rc::Rc;

use num_bigint::{BigInt, Sign};
use num_traits::{FromPrimitive, Signed, ToPrimitive};

use super::ast::Math;
use super::budget::{Heap, Result, fail};
use super::value::Value;

pub(super) fn is_number(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_))
}

/// The value of an integer. Larger ones cost steps by their size, which bounds their memory.
pub(super) fn value(heap: &Heap, number: BigInt) -> Result<Value> {
    if let Some(small) = number.to_i64() {
        return Ok(Value::Int(small));
    }
    if number.bits() > BITS_MAX {
        return fail(TOO_LARGE);
    }
    heap.work(number.bits() as usize / 64 + 1)?;
    Ok(Value::Big(Rc::new(number)))
}

/// A boolean or an integer.
pub(super) fn integer(value: &Value) -> Option<BigInt> {
    match value {
        Value::Bool(yes) => Some(BigInt::from(u8::from(*yes))),
        Value::Int(number) => Some(BigInt::from(*number)),
        Value::Big(number) => Some(BigInt::clone(number)),
        _ => None,
    }
}

/// An integer that fits, for widths, places and counts; those beyond saturate.
pub(super) fn place(value: &Value) -> Result<i64> {
    if let Value::Int(number) = value {
        return Ok(*number);
    }
    match integer(value) {
        Some(number) => Ok(saturated(&number)),
        None => fail(format!("a value of type {} is no integer", value.type_name())),
    }
}

pub(super) fn saturated(number: &BigInt) -> i64 {
    number.to_i64().unwrap_or(if number.is_negative() { i64::MIN } else { i64::MAX })
}

/// Any number as a float.
pub(super) fn float(value: &Value) -> Result<f64> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        _ => match integer(value) {
            Some(number) => as_float(&number),
            None => fail(format!("a value of type {} is no number", value.type_name())),
        },
    }
}

/// The integer that a float is, if it is one.
pub(super) fn whole(number: f64) -> Option<BigInt> {
    if number.fract() == 0.0 { BigInt::from_f64(number) } else { None }
}

/// Exact, as in Python; `None` where one is no number.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), b) => compare_mixed(&integer(b)?, *a).map(Ordering::reverse),
        (a, Value::Float(b)) => compare_mixed(&integer(a)?, *b),
        (a, b) => Some(integer(a)?.cmp(&integer(b)?)),
    }
}

fn compare_mixed(a: &BigInt, b: f64) -> Option<Ordering> {
    match BigInt::from_f64(b.trunc()) {
        Some(whole) => Some(a.cmp(&whole).then(0.0_f64.partial_cmp(&b.fract())?)),
        None if b.is_nan() => None,
        None => Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater }),
    }
}

/// `a op b` for two numbers.
pub(super) fn math(heap: &Heap, op: Math, a: &Value, b: &Value) -> Result<Value> {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        let small = match op {
            Math::Add => a.checked_add(*b),
            Math::Sub => a.checked_sub(*b),
            Math::Mul => a.checked_mul(*b),
            _ => None,
        };
        if let Some(small) = small {
            return Ok(Value::Int(small));
        }
    }
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => integers(heap, op, &a, &b),
        _ => floats(op, float(a)?, float(b)?),
    }
}

fn integers(heap: &Heap, op: Math, a: &BigInt, b: &BigInt) -> Result<Value> {
    let words = |number: &BigInt| number.bits() as usize / 64 + 1;
    heap.work(words(a) * words(b) / 16)?;
    let is_zero = b.sign() == Sign::NoSign;
    if is_zero && matches!(op, Math::Div | Math::FloorDiv | Math::Mod) {
        return fail("division by zero");
    }
    match op {
        Math::Add => value(heap, a + b),
        Math::Sub => value(heap, a - b),
        Math::Mul => value(heap, a * b),
        Math::Div => Ok(Value::Float(as_float(a)? / as_float(b)?)),
        Math::FloorDiv => value(heap, num_integer::Integer::div_floor(a, b)),
        Math::Mod => value(heap, num_integer::Integer::mod_floor(a, b)),
        Math::Pow if b.is_negative() => floats(op, as_float(a)?, as_float(b)?),
        Math::Pow => {
            // Powers of 0, 1 and -1 stay small.
            let grows = a.bits() > 1;
            let exponent = if grows { b.to_u32() } else { (b % 2_u8).to_u32().map(|odd| odd + 2) };
            let exponent = if is_zero { Some(0) } else { exponent };
            let bits = exponent.map_or(u64::MAX, |e| a.bits().saturating_mul(u64::from(e)));
            if bits > 2 * BITS_MAX {
                return fail(TOO_LARGE);
            }
            heap.work((bits as usize / 64).pow(2) / 16)?;
            value(heap, a.pow(exponent.unwrap_or(0)))
        }
    }
}

fn as_float(number: &BigInt) -> Result<f64> {
    match number.to_f64() {
        Some(number) if number.is_finite() => Ok(number),
        _ => fail("an integer is too large for a float"),
    }
}

fn floats(op: Math, a: f64, b: f64) -> Result<Value> {
    if b == 0.0 && matches!(op, Math::Div | Math::FloorDiv | Math::Mod) {
        return fail("division by zero");
    }
    Ok(Value::Float(match op {
        Math::Add => a + b,
        Math::Sub => a - b,
        Math::Mul => a * b,
        Math::Div => a / b,
        Math::FloorDiv => {
            let quotient = ((a - modulo(a, b)) / b).round();
            if quotient == 0.0 { 0.0_f64.copysign(a / b) } else { quotient }
        }
        Math::Mod => modulo(a, b),
        Math::Pow if a == 0.0 && b < 0.0 => return fail("0.0 has no negative power"),
        Math::Pow if a < 0.0 && b.is_finite() && b.fract() != 0.0 => {
            return fail("the power would be a complex number");
        }
        Math::Pow => {
            let power = a.powf(b);
            if power.is_infinite() && a.is_finite() && b.is_finite() {
                return fail("the power is too large for a float");
            }
            power
        }
    }))
}

/// With the sign of `b`.
fn modulo(a: f64, b: f64) -> f64 {
    let rest = a % b;
    match rest {
        0.0 => 0.0_f64.copysign(b),
        _ if (rest < 0.0) != (b < 0.0) => rest + b,
        _ => rest,
    }
}

/// `-value`
pub(super) fn negate(heap: &Heap, number: &Value) -> Result<Value> {
    match number {
        Value::Float(number) => Ok(Value::Float(-number)),
        _ => match integer(number) {
            Some(number) => value(heap, -number),
            None => fail(format!("a value of type {} has no sign", number.type_name())),
        },
    }
}

/// Python's `round(number, digits)`: to the nearest, halves to even.
pub(super) fn round(heap: &Heap, number: &Value, digits: i64) -> Result<Value> {
    let number = match number {
        Value::Float(number) => *number,
        _ => match integer(number) {
            Some(number) if digits >= 0 => return value(heap, number),
            Some(number) => return value(heap, round_integer(&number, digits)),
            None => return fail(format!("a value of type {} is no number", number.type_name())),
        },
    };
    if !number.is_finite() || digits > 330 {
        return Ok(Value::Float(number));
    }
    if digits < 0 {
        let scale = 10_f64.powi(digits.max(-330).unsigned_abs() as i32);
        return Ok(Value::Float((number / scale).round_ties_even() * scale));
    }
    let rounded = format!("{number:.*}", digits as usize);
    Ok(Value::Float(rounded.parse().unwrap_or(number)))
}

fn round_integer(number: &BigInt, digits: i64) -> BigInt {
    if digits < -(DIGITS_MAX as i64) {
        return BigInt::ZERO;
    }
    let scale = BigInt::from(10).pow(digits.unsigned_abs() as u32);
    let (quotient, rest) = num_integer::Integer::div_mod_floor(number, &scale);
    let odd = (&quotient % 2_u8).sign() != Sign::NoSign;
    let up = match (rest * 2_u8).cmp(&scale) {
        Ordering::Greater => true,
        Ordering::Equal => odd,
        Ordering::Less => false,
    };
    (quotient + u8::from(up)) * scale
}

/// The integer that a text shows in `radix`, as Python's `int(text, radix)`.
pub(super) fn parse_integer(text: &str, radix: u32) -> Option<BigInt> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let prefix = match radix {
        16 => Some(["0x", "0X"]),
        8 => Some(["0o", "0O"]),
        2 => Some(["0b", "0B"]),
        _ => None,
    };
    let digits = prefix
        .and_then(|prefixes| prefixes.iter().find_map(|p| digits.strip_prefix(p)))
        .unwrap_or(digits);
    let sound = |digits: &str| {
        digits.len() <= DIGITS_MAX
            && !digits.is_empty()
            && digits.split('_').all(|part| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii() && c.is_digit(radix))
            })
    };
    let number =
        sound(digits).then(|| BigInt::parse_bytes(digits.replace('_', "").as_bytes(), radix));
    number.flatten().map(|number| if negative { -number } else { number })
}

/// The float that a text shows, as Python's `float(text)`.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let sound = text.split('_').all(|part| !part.is_empty())
        && !text.contains("_.")
        && !text.contains("._");
    if !sound || text.len() > DIGITS_MAX {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// Python converts integers to text up to so many digits.
pub(super) const DIGITS_MAX: usize = 4300;

/// The bits of so many digits: log2(10) is 3.322.
const BITS_MAX: u64 = 14_284;

const TOO_LARGE: &str = "an integer has more than 4300 digits";
