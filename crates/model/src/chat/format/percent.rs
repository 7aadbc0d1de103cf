//! `'%s and %(name)05.2f' % values`

use super::super::budget::{Builder, Fault, Heap, Result, fail};
use super::super::number;
use super::super::print;
use super::super::text::{self, Ch, Text};
use super::super::value::{Kind, Value};
use super::{Spec, digits, skip};

/// `template % values`
pub(crate) fn percent(heap: &Heap, template: &Text, values: &Value) -> Result<Value> {
    let is_tuple = matches!(values, Value::Seq(seq) if seq.kind == Kind::Tuple);
    let single = [values.clone()];
    let places: &[Value] = match values {
        Value::Seq(seq) if is_tuple => &seq.items,
        _ => &single,
    };
    let mut out = Builder::new(heap);
    let mut rest = template.chars();
    let (mut next, mut named) = (0, false);
    while let Some(at) = rest.iter().position(|c| c.char() == '%') {
        heap.work(1)?;
        out.extend(&rest[..at])?;
        rest = &rest[at + 1..];
        let mut value = None;
        if rest.first().is_some_and(|c| c.char() == '(') {
            let Some(end) = rest.iter().position(|c| c.char() == ')') else {
                return fail("a format has a `(` without its `)`");
            };
            let Value::Dict(dict) = values else {
                return fail("a format with names needs a dict");
            };
            let name = text::plain(&rest[1..end]);
            value = dict.named(&name).cloned();
            if value.is_none() {
                return fail(format!("a format asks for `{name}`, which is not given"));
            }
            named = true;
            rest = &rest[end + 1..];
        }
        let mut take = || {
            let value = value.take().or_else(|| places.get(next).cloned());
            next += 1;
            value.ok_or_else(|| Fault::Error("a format asks for more values than given".to_owned()))
        };
        conversion(heap, &mut out, &mut rest, &mut take)?;
    }
    out.extend(rest)?;
    let all_used = next >= places.len() || named || !is_tuple && is_mapping(values);
    if !all_used {
        return fail("a format leaves values unused");
    }
    Ok(Value::Text(out.text()?))
}

/// Python lets these be more than a format uses.
fn is_mapping(values: &Value) -> bool {
    match values {
        Value::Dict(_) | Value::Undefined => true,
        Value::Seq(seq) => matches!(seq.kind, Kind::List | Kind::Range(_)),
        _ => false,
    }
}

/// One conversion after its `%` and name.
fn conversion(
    heap: &Heap,
    out: &mut Builder<Ch>,
    rest: &mut &[Ch],
    take: &mut dyn FnMut() -> Result<Value>,
) -> Result<()> {
    let mut spec = Spec { align: Some('>'), ..Spec::default() };
    let (mut left, mut zeros) = (false, false);
    while let Some(flag) = skip(rest, &['-', '+', ' ', '#', '0']) {
        match flag {
            '-' => left = true,
            '0' => zeros = true,
            '#' => spec.alternate = true,
            '+' => spec.sign = '+',
            _ if spec.sign != '+' => spec.sign = ' ',
            _ => {}
        }
    }
    spec.width = match skip(rest, &['*']) {
        Some(_) => {
            let width = number::place(&take()?)?;
            left |= width < 0;
            usize::try_from(width.unsigned_abs()).unwrap_or(super::FAR).min(super::FAR)
        }
        None => digits(rest).unwrap_or(0),
    };
    if skip(rest, &['.']).is_some() {
        spec.precision = match skip(rest, &['*']) {
            Some(_) => Some(usize::try_from(number::place(&take()?)?).unwrap_or(0).min(super::FAR)),
            None => Some(digits(rest).unwrap_or(0)),
        };
    }
    skip(rest, &['l', 'h', 'L']);
    let Some((kind, more)) = rest.split_first() else {
        return fail("a format ends after `%`");
    };
    *rest = more;
    if kind.char() == '%' {
        return out.push(*kind);
    }
    if left {
        spec.align = Some('<');
    } else if zeros && !matches!(kind.char(), 's' | 'r' | 'a' | 'c') {
        (spec.align, spec.fill) = (Some('='), Ch::foreign('0'));
    }
    write(heap, out, spec, kind.char(), &take()?)
}

fn write(
    heap: &Heap,
    out: &mut Builder<Ch>,
    mut spec: Spec,
    kind: char,
    value: &Value,
) -> Result<()> {
    match kind {
        's' | 'r' | 'a' => {
            let mut shown = Builder::new(heap);
            match kind {
                's' => print::push_str(&mut shown, value)?,
                _ => print::push_repr(&mut shown, value)?,
            }
            spec = Spec { sign: '-', alternate: false, ..spec };
            spec.text(out, shown.items())
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let number = match value {
                Value::Float(number) if matches!(kind, 'd' | 'i' | 'u') => {
                    number::whole(number.trunc())
                }
                _ => number::integer(value),
            };
            let Some(number) = number else {
                return fail(format!("a format wants a number, found {}", value.type_name()));
            };
            spec.kind = Some(if matches!(kind, 'i' | 'u') { 'd' } else { kind });
            // A precision is the least count of digits.
            let digits = spec.precision.take();
            if let Some(digits) = digits {
                let mut shown = Builder::new(heap);
                let plain = Spec { width: 0, align: Some('>'), sign: '-', ..spec.clone() };
                plain.integer(&mut shown, heap, &number)?;
                let missing = digits.saturating_sub(shown.len());
                let signed = usize::from(shown.items().first().is_some_and(|c| c.char() == '-'));
                let mut filled = Builder::new(heap);
                filled.extend(&shown.items()[..signed])?;
                filled.repeat(
                    &[Ch::foreign('0')],
                    missing.saturating_add(if missing > 0 { signed } else { 0 }),
                )?;
                filled.extend(&shown.items()[signed..])?;
                return spec.pad(out, filled.items(), signed, '>');
            }
            spec.integer(out, heap, &number)
        }
        'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
            spec.kind = Some(kind);
            spec.float(out, heap, number::float(value)?)
        }
        'c' => match value {
            Value::Text(text) if text.chars().len() == 1 => {
                Spec { precision: None, ..spec }.text(out, text.chars())
            }
            _ => {
                spec.kind = Some('c');
                match number::integer(value) {
                    Some(number) => spec.integer(out, heap, &number),
                    None => fail("`%c` wants a character"),
                }
            }
        },
        other => fail(format!("`%{other}` is no format")),
    }
}
