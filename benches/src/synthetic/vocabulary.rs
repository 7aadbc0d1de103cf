//! The vocabulary of synthetic models.

use carat_gguf::{OwnedArray, Writer};

/// As many tokens as are wanted: those that the family needs, bytes, and made-up words.
pub(super) fn vocabulary(writer: Writer<'_>, count: usize) -> Writer<'_> {
    const CONTROL: i32 = 3;
    const BYTE: i32 = 6;
    const NORMAL: i32 = 1;
    let special = SPECIAL.iter().map(|text| ((*text).to_owned(), CONTROL));
    let bytes = (0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), BYTE));
    let letters = ('a'..='z').chain(['\u{2581}', '\n']).map(|c| (c.to_string(), NORMAL));
    let pairs = ('a'..='z').map(|c| (format!("\u{2581}{c}"), NORMAL));
    let words = (0..).map(|i| (format!("\u{2581}w{i}"), NORMAL));
    let all = special.chain(bytes).chain(letters).chain(pairs).chain(words);
    let (tokens, types): (Vec<String>, Vec<i32>) = all.take(count).unzip();
    let merges: Vec<String> = ('a'..='z').map(|c| format!("\u{2581} {c}")).collect();
    writer
        .metadata("tokenizer.ggml.model", "gemma4")
        .metadata("tokenizer.ggml.scores", OwnedArray::F32(vec![0.0; count]))
        .metadata("tokenizer.ggml.tokens", tokens)
        .metadata("tokenizer.ggml.token_type", types)
        .metadata("tokenizer.ggml.merges", merges)
        .metadata("tokenizer.ggml.padding_token_id", 0u32)
        .metadata("tokenizer.ggml.eos_token_id", 1u32)
        .metadata("tokenizer.ggml.bos_token_id", 2u32)
        .metadata("tokenizer.ggml.unknown_token_id", 3u32)
        .metadata("tokenizer.ggml.add_space_prefix", false)
        .metadata("tokenizer.ggml.add_bos_token", true)
}

/// The tokens that the engine asks for by name: ends, turns and media.
const SPECIAL: [&str; 14] = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<|turn>",
    "<turn|>",
    "<|image>",
    "<|image|>",
    "<image|>",
    "<|audio>",
    "<|audio|>",
    "<audio|>",
    "<|video|>",
];
