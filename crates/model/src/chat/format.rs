//! Python's format specifications, as `str.format`, the `format` filter and `%` use them.

mod percent;
mod template;

use num_bigint::BigInt;
use num_traits::Signed;

use super::budget::{Builder, Heap, Result, fail};
use super::number;
use super::print;
use super::text::{self, Ch};
use super::value::Value;

pub(super) use percent::percent;
pub(super) use template::{format, names_in};

/// `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`
#[derive(Clone, Debug)]
pub(super) struct Spec {
    fill: Ch,
    /// `<`, `>`, `^` or `=`.
    align: Option<char>,
    sign: char,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    fn parse(spec: &[Ch]) -> Result<Self> {
        let mut rest = spec;
        let is_align = |c: &Ch| matches!(c.char(), '<' | '>' | '^' | '=');
        let mut parsed = Self::default();
        match rest {
            [fill, align, more @ ..] if is_align(align) => {
                (parsed.fill, parsed.align) = (*fill, Some(align.char()));
                rest = more;
            }
            [align, more @ ..] if is_align(align) => {
                parsed.align = Some(align.char());
                rest = more;
            }
            _ => {}
        }
        if let Some(sign) = skip(&mut rest, &['+', '-', ' ']) {
            parsed.sign = sign;
        }
        skip(&mut rest, &['z']);
        parsed.alternate = skip(&mut rest, &['#']).is_some();
        if skip(&mut rest, &['0']).is_some() && parsed.align.is_none() {
            (parsed.fill, parsed.align) = (Ch::foreign('0'), Some('='));
        }
        parsed.width = digits(&mut rest).unwrap_or(0);
        parsed.grouping = skip(&mut rest, &[',', '_']);
        if skip(&mut rest, &['.']).is_some() {
            match digits(&mut rest) {
                Some(precision) => parsed.precision = Some(precision),
                None => return fail("a format has no digits after its point"),
            }
        }
        parsed.kind = rest.first().map(|c| c.char());
        if rest.len() > 1 {
            return fail(format!("`{}` is no format", text::plain(&spec[..spec.len().min(40)])));
        }
        Ok(parsed)
    }

    /// `body` in the width. The sign and prefix of a number are `head` characters long.
    fn pad(&self, out: &mut Builder<Ch>, body: &[Ch], head: usize, align: char) -> Result<()> {
        let room = self.width.saturating_sub(body.len());
        let (before, inside, after) = match self.align.unwrap_or(align) {
            '<' => (0, 0, room),
            '^' => (room / 2, 0, room - room / 2),
            '=' => (0, room, 0),
            _ => (room, 0, 0),
        };
        out.repeat(&[self.fill], before)?;
        out.extend(&body[..head])?;
        out.repeat(&[self.fill], inside)?;
        out.extend(&body[head..])?;
        out.repeat(&[self.fill], after)
    }

    fn text(&self, out: &mut Builder<Ch>, text: &[Ch]) -> Result<()> {
        let plain = matches!(self.kind, None | Some('s')) && self.sign == '-' && !self.alternate;
        if !plain || self.grouping.is_some() || self.align == Some('=') {
            return fail("a string takes no such format");
        }
        let shown = self.precision.map_or(text.len(), |precision| precision.min(text.len()));
        self.pad(out, &text[..shown], 0, '<')
    }

    fn integer(&self, out: &mut Builder<Ch>, heap: &Heap, value: &BigInt) -> Result<()> {
        if self.precision.is_some() {
            return fail("an integer takes no precision");
        }
        let magnitude = value.abs();
        heap.work((magnitude.bits() as usize / 64).pow(2) / 8 + 1)?;
        let (prefix, digits) = match self.kind {
            None | Some('d' | 'n') => ("", magnitude.to_string()),
            Some('x') => ("0x", magnitude.to_str_radix(16)),
            Some('X') => ("0X", magnitude.to_str_radix(16).to_uppercase()),
            Some('o') => ("0o", magnitude.to_str_radix(8)),
            Some('b') => ("0b", magnitude.to_str_radix(2)),
            Some('c') => {
                let code = u32::try_from(&magnitude).ok().and_then(char::from_u32);
                return match code.filter(|_| !value.is_negative()) {
                    Some(c) => self.pad(out, &[Ch::foreign(c)], 0, '<'),
                    None => fail("a number is no character"),
                };
            }
            Some(kind) => return fail(format!("an integer takes no format `{kind}`")),
        };
        let prefix = if self.alternate { prefix } else { "" };
        let group = if matches!(self.kind, Some('x' | 'X' | 'o' | 'b')) { 4 } else { 3 };
        self.number(out, value.is_negative(), prefix, &digits, group)
    }

    fn float(&self, out: &mut Builder<Ch>, heap: &Heap, value: f64) -> Result<()> {
        let negative = value.is_sign_negative() && !value.is_nan();
        let magnitude = value.abs();
        let precision = self.precision;
        // Digits beyond those of any float are zeros, but they are digits: they cost.
        heap.take(precision.unwrap_or(0)).map(|()| heap.work(precision.unwrap_or(0) / 16))??;
        let kind = self.kind.unwrap_or('r');
        let digits = match kind {
            _ if !magnitude.is_finite() => print::float(magnitude, false),
            'f' | 'F' => fixed(magnitude, precision.unwrap_or(6), self.alternate),
            '%' => fixed(magnitude * 100.0, precision.unwrap_or(6), self.alternate) + "%",
            'e' | 'E' => exponential(magnitude, precision.unwrap_or(6), self.alternate),
            'g' | 'G' | 'n' => general(magnitude, precision.unwrap_or(6), self.alternate, false),
            'r' => match precision {
                None => print::float(magnitude, false),
                Some(precision) => general(magnitude, precision, self.alternate, true),
            },
            _ => return fail(format!("a float takes no format `{kind}`")),
        };
        let upper = matches!(kind, 'F' | 'E' | 'G');
        let digits = if upper { digits.to_uppercase() } else { digits };
        self.number(out, negative, "", &digits, 3)
    }

    /// A number from its parts; `digits` may go on after those of the whole part.
    fn number(
        &self,
        out: &mut Builder<Ch>,
        negative: bool,
        prefix: &str,
        digits: &str,
        group: usize,
    ) -> Result<()> {
        let sign = match (negative, self.sign) {
            (true, _) => "-",
            (_, '+') => "+",
            (_, ' ') => " ",
            _ => "",
        };
        let head = sign.len() + prefix.len();
        let mut body = Builder::new(out.heap());
        body.foreign(sign)?;
        body.foreign(prefix)?;
        let in_whole =
            |c: char| if group == 3 { c.is_ascii_digit() } else { c.is_ascii_hexdigit() };
        let whole = digits.find(|c: char| !in_whole(c)).unwrap_or(digits.len());
        let Some(separator) = self.grouping else {
            body.foreign(digits)?;
            return self.pad(out, body.items(), head, '>');
        };
        let rest = digits.len() - whole;
        let mut zeros = 0;
        if self.align == Some('=') && self.fill.char() == '0' {
            // Zeros that fill the width are digits, too, and are grouped with the others.
            let room = self.width.saturating_sub(head + rest);
            let fits = room - room / (group + 1);
            zeros = fits.saturating_sub(whole);
        }
        let count = zeros.saturating_add(whole);
        body.reserve(count.saturating_mul(2))?;
        let shown = std::iter::repeat_n('0', zeros).chain(digits[..whole].chars());
        for (at, digit) in shown.enumerate() {
            if at > 0 && (count - at).is_multiple_of(group) {
                body.push(Ch::foreign(separator))?;
            }
            body.push(Ch::foreign(digit))?;
        }
        body.foreign(&digits[whole..])?;
        self.pad(out, body.items(), head, '>')
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            fill: Ch::foreign(' '),
            align: None,
            sign: '-',
            alternate: false,
            width: 0,
            grouping: None,
            precision: None,
            kind: None,
        }
    }
}

/// `format(value, spec)`
fn format_value(out: &mut Builder<Ch>, heap: &Heap, value: &Value, spec: &[Ch]) -> Result<()> {
    if spec.is_empty() {
        return print::push_str(out, value);
    }
    let spec = Spec::parse(spec)?;
    let is_float_kind = matches!(spec.kind, Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%'));
    match value {
        Value::Text(text) => spec.text(out, text.chars()),
        Value::Float(value) => spec.float(out, heap, *value),
        Value::Bool(_) | Value::Int(_) | Value::Big(_) if is_float_kind => {
            spec.float(out, heap, number::float(value)?)
        }
        // A boolean is text where the format names no kind of number.
        Value::Bool(_) if matches!(spec.kind, Some('s')) => fail("a boolean takes no format `s`"),
        _ => match number::integer(value) {
            Some(value) => spec.integer(out, heap, &value),
            None => fail(format!("a value of type {} takes no format", value.type_name())),
        },
    }
}

fn skip(rest: &mut &[Ch], any: &[char]) -> Option<char> {
    let (first, more) = rest.split_first()?;
    if !any.contains(&first.char()) {
        return None;
    }
    *rest = more;
    Some(first.char())
}

/// Digits at the front; what is too large for any memory saturates.
fn digits(rest: &mut &[Ch]) -> Option<usize> {
    let mut number = None::<usize>;
    while let Some((first, more)) = rest.split_first()
        && let Some(digit) = first.char().to_digit(10)
    {
        let before = number.unwrap_or(0);
        number = Some(before.saturating_mul(10).saturating_add(digit as usize).min(FAR));
        *rest = more;
    }
    number
}

fn fixed(value: f64, precision: usize, point: bool) -> String {
    let exact = precision.min(FRACTION_MAX);
    let mut text = format!("{value:.exact$}");
    text.extend(std::iter::repeat_n('0', precision - exact));
    if precision == 0 && point {
        text.push('.');
    }
    text
}

fn exponential(value: f64, precision: usize, point: bool) -> String {
    let exact = precision.min(FRACTION_MAX);
    let text = format!("{value:.exact$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let zeros = "0".repeat(precision - exact);
    let point = if precision == 0 && point { "." } else { "" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}{zeros}{point}e{sign}{:02}", exponent.abs())
}

/// Significant digits without the zeros at the end; `keep_point` is what a float without a kind
/// does: at least one digit after the point.
fn general(value: f64, precision: usize, alternate: bool, keep_point: bool) -> String {
    let precision = precision.max(1);
    let text = exponential(value, precision - 1, false);
    let exponent: i64 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let limit = precision as i64;
    // Without a kind, a number whose point would stand after the last digit is scientific, too.
    let scientific = exponent < -4 || exponent >= limit - i64::from(keep_point);
    let (mut digits, tail) = if scientific {
        let (digits, tail) = text.split_at(text.find('e').unwrap_or(text.len()));
        (digits.to_owned(), tail.to_owned())
    } else {
        (fixed(value, (limit - 1 - exponent).max(0) as usize, false), String::new())
    };
    if !alternate && digits.contains('.') {
        let kept = digits.trim_end_matches('0').trim_end_matches('.').len();
        digits.truncate(kept);
    }
    if keep_point && tail.is_empty() && !digits.contains('.') {
        digits.push_str(".0");
    }
    digits + &tail
}

/// No float has more digits after its point (2^-1074 has so many).
const FRACTION_MAX: usize = 1074;

/// Wider than any budget.
const FAR: usize = 1 << 40;
