//! The values of `format` that are followed.

use std::fmt::Write;

/// What a `format` asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Format {
    /// A string that this expression matches as a whole.
    String(String),
    /// An integer of so many bits.
    Integer(u32),
    /// Nothing that the grammar could see.
    Annotation,
}

/// The format of that name, if it is known.
pub(super) fn find(name: &str) -> Option<Format> {
    let string = match name {
        // RFC 3339.
        "date-time" => format!("{}[Tt]{}", date(), time()),
        "date" => date(),
        "time" => time(),
        // RFC 3339, appendix A.
        "duration" => duration(),
        // RFC 5321, the dotted form of the local part.
        "email" => format!("{ATOM}(?:\\.{ATOM})*@{}", hostname()),
        "hostname" => hostname(),
        "ipv4" => ipv4(),
        "ipv6" => ipv6(),
        "uuid" => "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}".to_owned(),
        // RFC 3986, with a name or an IPv4 address as the host.
        "uri" => uri(),
        "int32" => return Some(Format::Integer(32)),
        "int64" => return Some(Format::Integer(64)),
        // OpenAPI's, which say how a program keeps the value.
        "float" | "double" | "password" | "binary" => return Some(Format::Annotation),
        _ => return None,
    };
    Some(Format::String(format!("(?:{string})")))
}

fn date() -> String {
    let leap = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
    let months = [
        "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
        "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)",
        "02-(?:0[1-9]|1[0-9]|2[0-8])",
    ];
    format!("(?:[0-9]{{4}}-(?:{})|{leap}-02-29)", months.join("|"))
}

/// Without leap seconds: which there were only a table says.
fn time() -> String {
    let clock = "(?:[01][0-9]|2[0-3]):[0-5][0-9]";
    format!("{clock}:[0-5][0-9](?:\\.[0-9]{{1,9}})?(?:[Zz]|[+-]{clock})")
}

fn duration() -> String {
    let n = "[0-9]{1,9}";
    let time = format!("T(?:{n}H(?:{n}M(?:{n}S)?)?|{n}M(?:{n}S)?|{n}S)");
    let date = format!("(?:{n}Y(?:{n}M(?:{n}D)?)?|{n}M(?:{n}D)?|{n}D)");
    format!("P(?:{date}(?:{time})?|{time}|{n}W)")
}

fn hostname() -> String {
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?";
    format!("{label}(?:\\.{label}){{0,6}}")
}

fn ipv4() -> String {
    let byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    format!("{byte}(?:\\.{byte}){{3}}")
}

fn ipv6() -> String {
    let group = "[0-9a-fA-F]{1,4}";
    let mut forms = format!("(?:{group}:){{7}}{group}");
    // Two colons stand for at least one group of zeros, so that seven are left at most.
    for left in 0..=7usize {
        let before = match left {
            0 => String::new(),
            n => format!("{group}(?::{group}){{{}}}", n - 1),
        };
        let after = match 7 - left {
            0 => String::new(),
            n => format!("(?:{group}(?::{group}){{0,{}}})?", n - 1),
        };
        write!(forms, "|{before}::{after}").expect("a string takes all text");
    }
    forms
}

fn uri() -> String {
    let part = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})";
    let query = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-fA-F]{2})*";
    let authority = format!("//{}(?::[0-9]{{1,5}})?(?:/{part}*)*", hostname());
    let path = format!("{part}+(?:/{part}*)*");
    format!("[a-zA-Z][a-zA-Z0-9+.-]*:(?:{authority}|{path})(?:\\?{query})?(?:#{query})?")
}

const ATOM: &str = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::strings;

    #[test]
    fn formats_are_what_their_standards_say() {
        for (name, yes, no) in [
            (
                "date",
                &["2024-02-29", "2000-02-29", "1999-12-31"][..],
                &["2023-02-29", "1900-02-29", "2024-04-31", "24-1-1"][..],
            ),
            (
                "date-time",
                &["2024-01-01T23:59:59Z", "2024-01-01t00:00:00.5+05:30"],
                &["2024-01-01", "2024-01-01T24:00:00Z"],
            ),
            ("time", &["12:00:00Z"], &["12:00:00", "12:60:00Z"]),
            ("duration", &["P1Y2M3DT4H5M6S", "PT1S", "P2W"], &["P", "PT", "P1W1D", "1D"]),
            ("email", &["a.b+c@x-y.org"], &["a@", "@b", "a b@c", ".a@b"]),
            ("hostname", &["a", "a-b.c"], &["-a", "a-", "a..b"]),
            ("ipv4", &["0.10.200.255"], &["256.1.1.1", "01.1.1.1", "1.1.1"]),
            (
                "ipv6",
                &["::", "::1", "1::", "1:2:3:4:5:6:7:8", "fe80::a:b", "1:2:3:4:5:6:7::"],
                &[":", "1:2:3", "1::2::3", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::"],
            ),
            (
                "uuid",
                &["123e4567-e89b-12d3-a456-426614174000"],
                &["123e4567e89b12d3a456426614174000"],
            ),
            (
                "uri",
                &["https://a.b/c?d=e#f", "mailto:a@b.c", "urn:x:y"],
                &["a/b", "http://a b", ":x"],
            ),
        ] {
            let Some(Format::String(regex)) = find(name) else { panic!("{name}") };
            for text in yes {
                assert!(strings::matches(&regex, text).unwrap(), "{name} {text}");
            }
            for text in no {
                assert!(!strings::matches(&regex, text).unwrap(), "{name} {text}");
            }
        }
        assert_eq!(find("iri"), None);
    }
}
