//! Numbers between bounds, as regular expressions over their decimal digits.
//!
//! A number is compared with a bound as texts are: by the length of its whole part, then digit by
//! digit. So no bound is rounded, and what an expression lets through is within the bounds exactly.

use serde_json::Number;

/// A least or greatest value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    negative: bool,
    /// Digits before the point, without leading zeros but one.
    whole: String,
    /// Digits after the point, without trailing zeros.
    fraction: String,
    exclusive: bool,
}

impl Bound {
    /// Nothing for a number that has more digits after the point than are compared.
    pub(super) fn new(number: &Number, exclusive: bool) -> Option<Self> {
        let text = match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float}"),
            _ => number.to_string(),
        };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (digits.bytes().any(|b| b.is_ascii_digit() && b != b'0'), digits),
            None => (false, text.as_str()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if fraction.len() > FRACTION_MAX || !plain(whole) || !plain(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.to_owned(), fraction.to_owned());
        Some(Self { negative, whole, fraction, exclusive })
    }

    fn is_zero(&self) -> bool {
        self.whole == "0" && self.fraction.is_empty()
    }
}

/// The expression of plain decimals that are not below `bound`; nothing where all are.
pub(super) fn at_least(bound: &Bound) -> Option<String> {
    if bound.whole.len() > WHOLE_MAX {
        return (!bound.negative).then(|| NEVER.to_owned());
    }
    Some(match bound.negative {
        true => format!("{UNSIGNED}|-(?:{})", magnitude_at_most(bound)),
        false => magnitude_at_least(bound),
    })
}

/// The expression of plain decimals that are not above `bound`; nothing where all are.
pub(super) fn at_most(bound: &Bound) -> Option<String> {
    if bound.whole.len() > WHOLE_MAX {
        return bound.negative.then(|| NEVER.to_owned());
    }
    Some(match bound.negative || bound.is_zero() && bound.exclusive {
        true => format!("-(?:{})", magnitude_at_least(bound)),
        false => format!("-{UNSIGNED}|{}", magnitude_at_most(bound)),
    })
}

/// What a number may look like: `integer` with up to 18 digits, others with up to 15, which an
/// `f64` holds; with an exponent where nothing is compared.
pub(super) fn forms(integer: bool, bounded: bool) -> Vec<String> {
    if integer {
        return vec!["0|-?[1-9][0-9]{0,17}".to_owned()];
    }
    let exponent = if bounded { "" } else { "(?:[eE][+-]?[0-9]{1,2})?" };
    let plain = r"0|-?[1-9][0-9]{0,14}|-?(?:0|[1-9][0-9]{0,13})\.[0-9]{1,14}";
    vec![format!("(?:{plain}){exponent}"), format!("-?[0-9.]{{1,16}}{exponent}")]
}

fn magnitude_at_least(bound: &Bound) -> String {
    let Bound { whole, fraction, exclusive, .. } = bound;
    let mut same = match exclusive {
        true => vec![format!(r"{fraction}[0-9]*[1-9][0-9]*")],
        false => vec![format!("{fraction}[0-9]*")],
    };
    for (before, digit, _) in places(fraction) {
        if digit < 9 {
            same.push(format!("{before}[{}-9][0-9]*", digit + 1));
        }
    }
    let optional = if fraction.is_empty() && !exclusive { "?" } else { "" };
    let same = format!(r"{whole}(?:\.(?:{})){optional}", same.join("|"));
    let mut above = vec![format!("[1-9][0-9]{{{},}}", whole.len())];
    for (before, digit, after) in places(whole) {
        if digit < 9 {
            above.push(format!("{before}[{}-9][0-9]{{{after}}}", digit + 1));
        }
    }
    format!(r"{same}|(?:{})(?:\.[0-9]+)?", above.join("|"))
}

fn magnitude_at_most(bound: &Bound) -> String {
    let Bound { whole, fraction, exclusive, .. } = bound;
    let mut same = vec![NEVER.to_owned()];
    if !exclusive || !fraction.is_empty() {
        let mut digits = vec!["0+".to_owned()];
        for (before, digit, _) in places(fraction) {
            if !before.is_empty() {
                digits.push(format!("{before}0*"));
            }
            if digit > 0 {
                digits.push(format!("{before}[0-{}][0-9]*", digit - 1));
            }
        }
        if !exclusive {
            digits.push(format!("{fraction}0*"));
        }
        // An empty fraction would leave a bare point.
        digits.retain(|digits| digits != "0*");
        same = vec![format!(r"{whole}(?:\.(?:{}))?", digits.join("|"))];
    }
    let mut below = Vec::new();
    if whole.len() > 1 {
        below.push(format!("0|[1-9][0-9]{{0,{}}}", whole.len() - 2));
    }
    for (before, digit, after) in places(whole) {
        let least = u8::from(before.is_empty() && whole.len() > 1);
        if digit > least {
            below.push(format!("{before}[{least}-{}][0-9]{{{after}}}", digit - 1));
        }
    }
    if !below.is_empty() {
        same.push(format!(r"(?:{})(?:\.[0-9]+)?", below.join("|")));
    }
    same.join("|")
}

/// Every digit of a text with what stands before it and how many digits follow.
fn places(digits: &str) -> impl Iterator<Item = (&str, u8, usize)> {
    let place = |(at, digit)| (&digits[..at], digit - b'0', digits.len() - at - 1);
    digits.bytes().enumerate().map(place)
}

/// Any number without its sign; what leading zeros there may be is up to [`forms`].
const UNSIGNED: &str = r"(?:[0-9]+(?:\.[0-9]+)?)";

/// Matches nothing that is a number.
const NEVER: &str = "x";

/// Digits before the point of any number that is written.
const WHOLE_MAX: usize = 18;

/// Digits after the point of a bound.
const FRACTION_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grammar::strings;

    fn bound(text: &str, exclusive: bool) -> Bound {
        Bound::new(&serde_json::from_str(text).expect("a number"), exclusive).expect("a bound")
    }

    /// Hundredths, so that both sides are compared as integers.
    fn hundredths(value: i64) -> String {
        let (sign, value) = (if value < 0 { "-" } else { "" }, value.abs());
        match value % 100 {
            0 => format!("{sign}{}", value / 100),
            rest if rest % 10 == 0 => format!("{sign}{}.{}", value / 100, rest / 10),
            rest => format!("{sign}{}.{rest:02}", value / 100),
        }
    }

    #[test]
    fn every_number_is_on_its_side() {
        // An emulator takes minutes for what no instruction set changes.
        let step = if std::env::var_os("CARAT_EMULATED").is_some() { 977 } else { 7 };
        for limit in [-10_050, -1001, -1000, -250, -7, 0, 3, 10, 99, 100, 250, 999, 1001, 12_345] {
            for exclusive in [false, true] {
                let bound = bound(&hundredths(limit), exclusive);
                let (least, most) = (at_least(&bound).unwrap(), at_most(&bound).unwrap());
                for value in (-11_000..13_000).step_by(step).chain(limit - 3..limit + 4) {
                    // Zeros behind the last digit change nothing.
                    for text in [hundredths(value), format!("{}0", with_point(value))] {
                        let is_least = value > limit || value == limit && !exclusive;
                        let is_most = value < limit || value == limit && !exclusive;
                        let matches = |regex: &String| strings::matches(regex, &text).unwrap();
                        assert_eq!(matches(&least), is_least, "{text} >= {bound:?}: {least}");
                        assert_eq!(matches(&most), is_most, "{text} <= {bound:?}: {most}");
                    }
                }
            }
        }
    }

    fn with_point(value: i64) -> String {
        let text = hundredths(value);
        if text.contains('.') { text } else { format!("{text}.0") }
    }

    #[test]
    fn far_bounds_say_all_or_nothing() {
        let far = |text: &str| bound(text, false);
        assert_eq!(at_most(&far("1e300")), None);
        assert_eq!(at_least(&far("-1e300")), None);
        assert_eq!(at_least(&far("1e300")).as_deref(), Some(NEVER));
        assert_eq!(at_most(&far("-1e300")).as_deref(), Some(NEVER));
        assert_eq!(Bound::new(&serde_json::from_str("1e-300").unwrap(), false), None);
    }

    proptest! {
        /// What may be written is read without loss.
        #[test]
        fn forms_are_exact(value in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,15})?") {
            let is = |integer, bounded| {
                let forms = forms(integer, bounded);
                forms.iter().all(|form| strings::matches(form, &value).unwrap())
            };
            if is(true, true) {
                prop_assert_eq!(value.parse::<i64>().unwrap().to_string(), value.clone());
            }
            if is(false, true) {
                let read: f64 = value.parse().unwrap();
                let shortest = match value.contains('.') {
                    true => value.trim_end_matches('0').trim_end_matches('.').to_owned(),
                    false => value.clone(),
                };
                let shortest = if shortest == "-0" { value.clone() } else { shortest };
                let printed = format!("{read}");
                prop_assert!(printed == shortest || read == 0.0, "{} {}", printed, value);
            }
        }
    }
}
