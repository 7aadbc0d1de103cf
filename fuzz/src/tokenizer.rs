//! The tokeniser: text survives being encoded and decoded, and never becomes structure.
//!
//! The input is any bytes, read as text with U+FFFD for what is not UTF-8, and once more as byte
//! tokens.

use std::sync::OnceLock;

use carat::{TokenId, Tokenizer};
use carat_gguf::{Endian, Gguf, Writer};

/// Encodes and decodes `data` with small vocabularies of both kinds.
pub fn tokenizer(data: &[u8]) -> bool {
    static TOKENIZERS: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    let tokenizers = TOKENIZERS.get_or_init(|| {
        let kinds = [("gemma4", false), ("llama", false), ("llama", true)];
        kinds.into_iter().map(|(model, prefix)| build(model, prefix)).collect()
    });
    let text = String::from_utf8_lossy(data);
    let wanted = text.replace('\u{2581}', " ");
    for tokenizer in tokenizers {
        let ids = tokenizer.encode(&text);
        assert_eq!(tokenizer.decode(&ids, false), wanted);
        let special = ids.iter().find(|id| tokenizer.is_special(**id));
        assert_eq!(special, None, "user text became a special token");

        let ids = tokenizer.encode_prompt(&text);
        assert_eq!(tokenizer.decode(&ids, false), wanted);

        // The byte tokens come first in the vocabulary; a space before a text is no byte token.
        let bytes: Vec<TokenId> = data.iter().map(|byte| TokenId::from(*byte)).collect();
        let mut decoder = tokenizer.decoder();
        let mut decoded = String::new();
        for id in bytes {
            decoded.push_str(decoder.push(id));
        }
        decoded.push_str(decoder.finish());
        assert_eq!(decoded, text);
    }
    true
}

/// Texts around everything that the tokeniser treats apart.
pub fn tokenizer_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "",
        " ",
        "hello hello  world\n\n\nhell\n",
        "<|turn>user\nhello<turn|><bos><eos>",
        "<|turn<|turn>><b>hello</b><|tool_call>",
        "<0x41>\u{2581}\u{2581} \u{2581}",
        "na\u{ef}ve \u{65e5}\u{672c} \u{1f999}\u{0}\r\n\t",
        "   leading and trailing   ",
        "lolololololololololololllllllllllooooooooo",
        "hello\u{fffd}\u{feff}e\u{301}",
    ];
    let mut seeds: Vec<Vec<u8>> = texts.into_iter().map(|text| text.as_bytes().to_vec()).collect();
    seeds.push(vec![0xF0, 0x9F, 0xA6, b'a', 0xE2, 0x96, 0xC0, 0x80, 0xFF, 0xED, 0xA0, 0x80]);
    seeds.push((0..=255).collect());
    seeds
}

/// All bytes, some markers of each type, plain user-defined tokens, and a few words with their
/// merges.
fn build(model: &str, add_space_prefix: bool) -> Tokenizer {
    let bytes = (0..=255_u8).map(|byte| (format!("<0x{byte:02X}>"), 6));
    let special = ["<bos>", "<eos>", "<|turn>", "<turn|>"].map(|text| (text.to_owned(), 3));
    let markers = ["<|tool_call>", "<|\"|>"].map(|text| (text.to_owned(), 4));
    let defined = ["\n\n", "  ", "   ", "<b>", "</b>"].map(|text| (text.to_owned(), 4));
    let chars = "helowrd<>|btun\n\t\u{2581}\u{e9}\u{65e5}\u{1f999}".chars();
    let chars = chars.map(|c| (c.to_string(), 1));
    let mut merges = MERGES.map(|(left, right)| format!("{left} {right}")).to_vec();
    merges.push("< turn|>".to_owned());
    let merged = MERGES.map(|(left, right)| (format!("{left}{right}"), 1));
    let tokens: Vec<(String, i32)> =
        bytes.chain(special).chain(markers).chain(defined).chain(chars).chain(merged).collect();

    let scores: Vec<f32> = (0..tokens.len()).map(|id| -(id as f32)).collect();
    let (texts, types): (Vec<String>, Vec<i32>) = tokens.into_iter().unzip();
    let file = Writer::new(Endian::Little, 3)
        .metadata("tokenizer.ggml.model", model)
        .metadata("tokenizer.ggml.tokens", texts)
        .metadata("tokenizer.ggml.token_type", types)
        .metadata("tokenizer.ggml.scores", scores)
        .metadata("tokenizer.ggml.merges", merges)
        .metadata("tokenizer.ggml.bos_token_id", 256_u32)
        .metadata("tokenizer.ggml.eos_token_id", 257_u32)
        .metadata("tokenizer.ggml.add_space_prefix", add_space_prefix)
        .to_bytes()
        .expect("the vocabulary can be written");
    let gguf = Gguf::parse(&file).expect("what was written parses");
    Tokenizer::from_metadata(gguf.metadata()).expect("the vocabulary is sound")
}

/// One step short of `<turn|>`, which `build` adds as a merge although its result is a marker.
const MERGES: [(&str, &str); 16] = [
    ("l", "l"),
    ("h", "e"),
    ("he", "ll"),
    ("hell", "o"),
    ("\u{2581}", "hello"),
    ("o", "l"),
    ("ol", "ol"),
    ("\u{2581}", "w"),
    ("o", "\u{2581}"),
    ("d", "\n"),
    ("<", "|"),
    ("|", ">"),
    ("t", "u"),
    ("r", "n"),
    ("tu", "rn"),
    ("turn", "|>"),
];
