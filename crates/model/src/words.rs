//! Words of others in messages: names and texts of files, templates, schemas and requests. They may
//! be of any length, and hold line breaks and characters that a terminal obeys.

/// As much as says what was meant.
pub(crate) fn head(text: &str) -> String {
    cut(text, HEAD_CHARS)
}

/// A sentence of others, on one line.
pub(crate) fn one_line(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => " ".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    cut(text, LINE_CHARS).chars().map(shown).collect()
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

const HEAD_CHARS: usize = 80;
const LINE_CHARS: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_between_characters() {
        assert_eq!(head(&"ß".repeat(HEAD_CHARS)), "ß".repeat(HEAD_CHARS));
        assert_eq!(head(&"ß".repeat(HEAD_CHARS + 1)), "ß".repeat(HEAD_CHARS) + "…");
        assert_eq!(one_line(&"x".repeat(9000)).chars().count(), LINE_CHARS + 1);
    }

    #[test]
    fn no_word_speaks_to_a_terminal() {
        assert_eq!(one_line("a\nb\x1b\u{7f}\u{9b}ß"), r"a b\u{1b}\u{7f}\u{9b}ß");
    }
}
