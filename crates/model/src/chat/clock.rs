//! `strftime` for the time now. Times are UTC: where the machine stands is not the library's to
//! ask.

use super::budget::{Builder, Result};
use super::text::Ch;

/// Writes `format` for a time in seconds since 1970.
pub(super) fn strftime(out: &mut Builder<Ch>, format: &[Ch], seconds: i64) -> Result<()> {
    let time = Time::new(seconds);
    let mut rest = format;
    while let Some((c, more)) = rest.split_first() {
        rest = more;
        if c.char() != '%' {
            out.push(*c)?;
            continue;
        }
        // `%-d` has no zero in front.
        let bare = rest.first().is_some_and(|c| c.char() == '-');
        rest = &rest[usize::from(bare)..];
        let Some((kind, more)) = rest.split_first() else {
            return out.foreign(if bare { "%-" } else { "%" });
        };
        rest = more;
        match time.field(kind.char()) {
            Some(field) if bare => {
                let short = field.trim_start_matches('0');
                let is_number = field.bytes().all(|b| b.is_ascii_digit());
                let zero = if short.is_empty() { "0" } else { short };
                out.foreign(if is_number { zero } else { &field })?;
            }
            Some(field) => out.foreign(&field)?,
            None => {
                out.foreign(if bare { "%-" } else { "%" })?;
                out.push(*kind)?;
            }
        }
    }
    Ok(())
}

struct Time {
    year: i64,
    /// From 0.
    month: usize,
    day: i64,
    /// Of the year, from 0.
    year_day: i64,
    /// From Sunday, 0.
    week_day: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Time {
    /// Days to dates as in "chrono-Compatible Low-Level Date Algorithms" (Howard Hinnant, 2013):
    /// years begin in March, eras of 400 years have 146097 days.
    fn new(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let era_day = shifted.rem_euclid(146_097);
        let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
        let march_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
        let march_month = (5 * march_day + 2) / 153;
        let day = march_day - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 2 } else { march_month - 10 };
        let year = era_year + era * 400 + i64::from(month < 2);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let month = month as usize;
        let before: i64 = MONTH_DAYS[..month].iter().sum();
        Self {
            year,
            month,
            day,
            year_day: before + day - 1 + i64::from(leap && month > 1),
            week_day: (days + 4).rem_euclid(7) as usize,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    fn field(&self, kind: char) -> Option<String> {
        let Self { year, month, day, year_day, week_day, hour, minute, second } = *self;
        let short = |name: &str| name[..3].to_owned();
        let twelve = (hour + 11) % 12 + 1;
        // Sunday is 7 where weeks begin on Monday.
        let monday = (week_day as i64 + 6) % 7;
        Some(match kind {
            'Y' => year.to_string(),
            'y' => format!("{:02}", year.rem_euclid(100)),
            'm' => format!("{:02}", month + 1),
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'j' => format!("{:03}", year_day + 1),
            'H' => format!("{hour:02}"),
            'I' => format!("{twelve:02}"),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'f' => "000000".to_owned(),
            'p' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            'A' => WEEK_DAYS[week_day].to_owned(),
            'a' => short(WEEK_DAYS[week_day]),
            'B' => MONTHS[month].to_owned(),
            'b' | 'h' => short(MONTHS[month]),
            'w' => week_day.to_string(),
            'u' => (monday + 1).to_string(),
            'U' => format!("{:02}", (year_day + 7 - week_day as i64) / 7),
            'W' => format!("{:02}", (year_day + 7 - monday) / 7),
            'F' => format!("{year}-{:02}-{day:02}", month + 1),
            'T' | 'X' => format!("{hour:02}:{minute:02}:{second:02}"),
            'R' => format!("{hour:02}:{minute:02}"),
            'D' | 'x' => format!("{:02}/{day:02}/{:02}", month + 1, year.rem_euclid(100)),
            'c' => {
                let (name, short_month) = (short(WEEK_DAYS[week_day]), short(MONTHS[month]));
                format!("{name} {short_month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
            }
            'z' | 'Z' => String::new(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

const MONTH_DAYS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEK_DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
