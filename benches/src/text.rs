//! Text that comes from files and machines, made harmless for where it is shown.

/// At most `max` characters, control characters as `?`.
pub fn printable(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Text within an element or a quoted attribute of HTML or XML. Control characters, which XML has
/// no way to write, become `?`.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// One field of a CSV file, always quoted, as llama-bench does.
pub fn csv_field(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(
            escaped("<b onclick='x'>\"&amp;\"\u{1}</b>"),
            "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;amp;&quot;?&lt;/b&gt;"
        );
    }

    #[test]
    fn quotes_in_a_field_are_doubled() {
        assert_eq!(csv_field("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
    }

    #[test]
    fn a_file_cannot_speak_to_the_terminal() {
        assert_eq!(printable("a\x1b[31m\nb", 20), "a?[31m?b");
        assert_eq!(printable("ßßß", 2), "ßß");
    }
}
