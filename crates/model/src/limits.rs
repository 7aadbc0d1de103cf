#![doc = include_str!("limits.md")]

#[cfg(all(test, feature = "film", feature = "grammar"))]
mod tests {
    use crate::grammar::limits as grammar;
    use crate::media::image::decode;
    use crate::media::pixels;
    use crate::{audio, chat, config};

    const TABLE: &str = include_str!("limits.md");

    /// The cells of the row that begins so.
    fn row(limit: &str) -> Vec<&'static str> {
        let mut rows = TABLE.lines().filter(|line| line.starts_with(&format!("| {limit}")));
        let row = rows.next().unwrap_or_else(|| panic!("no row of {limit}"));
        assert_eq!(rows.next(), None, "{limit}");
        row.trim_matches('|').split('|').map(str::trim).collect()
    }

    /// The first number of a row.
    fn number(limit: &str) -> u64 {
        let cells = row(limit);
        let digits: String = cells[1].chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("{limit} is {}", cells[1]))
    }

    #[test]
    fn the_table_has_the_numbers_of_the_code() {
        use carat_gguf::limits as gguf;
        let seconds = audio::DecodeOptions::default().duration_max.as_secs();
        let film = crate::video::VideoConfig::default();
        for (limit, wanted) in [
            ("header of a model file", gguf::HEADER_BYTES as u64),
            ("metadata entries", gguf::METADATA_ENTRIES),
            ("a metadata key", gguf::KEY_BYTES),
            ("a string of the metadata", gguf::STRING_BYTES),
            ("elements of an array", gguf::ARRAY_ELEMENTS),
            ("arrays within arrays", gguf::ARRAY_LEVELS.into()),
            ("tensors of a file", gguf::TENSORS),
            ("the name of a tensor", gguf::TENSOR_NAME_BYTES),
            ("dimensions of a tensor", gguf::DIMENSIONS as u64),
            ("layers, heads and experts", config::LAYERS_MAX as u64),
            ("layers, heads and experts", config::HEADS_MAX as u64),
            ("layers, heads and experts", config::EXPERTS_MAX as u64),
            ("width of a model", config::WIDTH_MAX as u64),
            ("width of a model", config::CONTEXT_MAX as u64),
            ("tokens that are guessed ahead", crate::DRAFT_MAX as u64),
            ("source of a chat template", chat::SOURCE_BYTES_MAX as u64),
            ("steps of a chat template", chat::STEPS_MAX),
            ("memory of a chat template", chat::BYTES_MAX as u64),
            ("a JSON Schema", grammar::SCHEMA_BYTES as u64),
            ("levels of a JSON Schema", grammar::DEPTH as u64),
            ("rules that a JSON Schema", grammar::RULES as u64),
            ("values of an `enum`", grammar::VALUES as u64),
            ("`minItems`, `minLength`", grammar::COUNT as u64),
            ("a Lark grammar", grammar::TEXT_BYTES as u64),
            ("tools of a conversation", grammar::TOOLS as u64),
            ("a picture file", decode::FILE_BYTES_MAX),
            ("pixels of a picture", pixels::PIXELS_MAX),
            ("a side of a picture", pixels::SIDE_MAX.into()),
            ("memory for decoding a picture", decode::DECODED_BYTES_MAX),
            ("length of a sound file", seconds),
            ("a sound that is heard at once", audio::SEGMENT_SECONDS_MAX as u64),
            ("frames of a film", film.frames_max as u64),
            ("time of ffmpeg", film.patience.as_secs()),
        ] {
            assert_eq!(number(limit), wanted, "{limit}");
        }
        assert!(row("steps of a chat template")[1].contains(&chat::STEPS_PER_PAIR.to_string()));
    }

    #[test]
    fn every_row_says_how_to_set_it_and_what_the_error_is() {
        let rows = TABLE.lines().filter(|line| line.starts_with("| ")).skip(1);
        for row in rows {
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        }
    }
}
