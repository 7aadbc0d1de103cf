//! The tokeniser against the reference kit, against merging by hand, and on vocabularies that are
//! wrong.

use std::path::Path;

use carat::tokenizer::TokenizerError;
use carat::{ChatTemplate, TokenId, Tokenizer};
use carat_gguf::{Endian, Gguf, OwnedValue, Source, Writer};
use proptest::prelude::*;

/// A vocabulary under construction. Ids: 0 to 255 the bytes, 256 `<unk>`, 257 `<bos>`, 258 `<eos>`,
/// then `more`.
struct Vocabulary {
    model: &'static str,
    tokens: Vec<(String, i32)>,
    merges: Vec<String>,
    extra: Vec<(&'static str, OwnedValue)>,
}

const FIRST: TokenId = 259;

impl Vocabulary {
    fn new(model: &'static str, more: &[(&str, i32)]) -> Self {
        let bytes = (0..=255_u8).map(|byte| (format!("<0x{byte:02X}>"), 6));
        let special = [("<unk>", 2), ("<bos>", 3), ("<eos>", 3)];
        let rest = special.iter().chain(more).map(|(text, kind)| ((*text).to_owned(), *kind));
        let tokens = bytes.chain(rest).collect();
        Self { model, tokens, merges: Vec::new(), extra: Vec::new() }
    }

    fn merges(mut self, merges: &[&str]) -> Self {
        self.merges.extend(merges.iter().map(|merge| (*merge).to_owned()));
        self
    }

    /// Sets a key, also one that is there without it.
    fn with(mut self, key: &'static str, value: impl Into<OwnedValue>) -> Self {
        self.extra.push((key, value.into()));
        self
    }

    fn build(&self) -> Result<Tokenizer, TokenizerError> {
        let scores: Vec<f32> = (0..self.tokens.len()).map(|id| -(id as f32)).collect();
        let (texts, types): (Vec<String>, Vec<i32>) = self.tokens.iter().cloned().unzip();
        let mut keys: Vec<(&str, OwnedValue)> = vec![
            ("tokenizer.ggml.model", self.model.into()),
            ("tokenizer.ggml.tokens", texts.into()),
            ("tokenizer.ggml.token_type", types.into()),
            ("tokenizer.ggml.scores", scores.into()),
            ("tokenizer.ggml.merges", self.merges.clone().into()),
            ("tokenizer.ggml.unknown_token_id", 256_u32.into()),
            ("tokenizer.ggml.bos_token_id", 257_u32.into()),
            ("tokenizer.ggml.eos_token_id", 258_u32.into()),
            ("tokenizer.ggml.add_space_prefix", false.into()),
        ];
        for (key, value) in &self.extra {
            keys.retain(|entry| entry.0 != *key);
            // An empty string stands for a key that is left out.
            if *value != OwnedValue::from("") {
                keys.push((key, value.clone()));
            }
        }
        let writer = Writer::new(Endian::Little, 3);
        let writer = keys.into_iter().fold(writer, |w, (key, value)| w.metadata(key, value));
        let file = writer.to_bytes().expect("the vocabulary can be written");
        Tokenizer::from_metadata(Gguf::parse(&file).expect("a sound file").metadata())
    }

    fn sound(&self) -> Tokenizer {
        self.build().expect("a sound vocabulary")
    }
}

fn pieces(tokenizer: &Tokenizer, ids: &[TokenId]) -> Vec<String> {
    ids.iter().map(|id| tokenizer.token(*id).expect("a token").to_owned()).collect()
}

fn tiny_s() -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-s/text-q4_0.gguf");
    let source = Source::open(&path).expect("the file is in the repository");
    let gguf = source.parse().expect("a sound file");
    Tokenizer::from_metadata(gguf.metadata()).expect("a sound vocabulary")
}

#[test]
fn the_kit_encodes_as_the_reference_does() {
    let tokenizer = tiny_s();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-s/reference.json");
    let text = std::fs::read(path).expect("the file is in the repository");
    let reference: serde_json::Value = serde_json::from_slice(&text).expect("the file is JSON");
    for case in reference["tokenize"].as_array().expect("an array") {
        let text = case["text"].as_str().expect("a string");
        let ids = tokenizer.encode_prompt(text);
        assert_eq!(serde_json::json!(ids), case["ids"], "{text:?}");
        assert_eq!(tokenizer.decode(&ids, false), text);
    }
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(2), Some(1)));
    // The facts page: <eos>, <turn|>, <|tool_response>.
    assert_eq!(tokenizer.eog(), [1, 50, 106]);
    assert!(tokenizer.add_bos());
}

#[test]
fn user_text_never_becomes_structure() {
    let tokenizer = tiny_s();
    let markers: Vec<TokenId> = (0..512).filter(|id| tokenizer.is_special(*id)).collect();
    assert_eq!(markers.len(), 24, "17 of the control type and 7 user-defined");
    for id in markers {
        let marker = tokenizer.token(id).expect("a token");
        assert_eq!(tokenizer.special(marker), Some(id));
        let text = format!("a{marker}\n{marker}{marker}");
        let ids = tokenizer.encode(&text);
        assert!(!ids.iter().any(|id| tokenizer.is_special(*id)), "{marker}");
        assert_eq!(tokenizer.decode(&ids, true), text);
        let ids = tokenizer.encode_prompt(&text);
        assert_eq!(ids.iter().filter(|found| **found == id).count(), 3, "{marker}");
        assert_eq!(tokenizer.decode(&ids, false), text);
        assert_eq!(tokenizer.decode(&ids, true), "a\n");
    }
    assert_eq!(tokenizer.special("the"), None);
}

#[test]
fn special_tokens_may_contain_spaces() {
    let more = [("<my mark>", 3), ("[end \u{2581}of]", 3), ("\u{2581}", 1), ("a", 1)];
    for model in ["gemma4", "llama"] {
        let tokenizer = Vocabulary::new(model, &more).sound();
        let (mark, end, space, a) = (FIRST, FIRST + 1, FIRST + 2, FIRST + 3);
        let text = "a <my mark>a[end  of] <my mark>";
        assert_eq!(tokenizer.encode_prompt(text), [a, space, mark, a, end, space, mark], "{model}");
        assert_eq!(tokenizer.special("<my mark>"), Some(mark), "{model}");
        assert_eq!(tokenizer.special("[end  of]"), Some(end), "{model}");
        assert_eq!(tokenizer.decode(&tokenizer.encode_prompt(text), false), text, "{model}");
        let ids = tokenizer.encode(text);
        assert!(!ids.iter().any(|id| tokenizer.is_special(*id)), "{model}");
        // In a rendered chat only the template's counts.
        let template = ChatTemplate::new("<my mark>{{ x }}a <my mark>").expect("a valid template");
        let rendered = template.render_json("{\"x\": \"a<my mark>\"}").expect("it renders");
        let ids = tokenizer.encode_rendered(&rendered);
        assert_eq!(ids.iter().filter(|id| **id == mark).count(), 2, "{model}");
        let text = tokenizer.decode(&ids, false);
        assert_eq!(text, "<my mark>a<my mark>a <my mark>", "{model}");
    }
}

#[test]
fn no_merge_makes_a_marker() {
    let more = [("<", 1), ("e", 1), ("os>", 1), ("<e", 1), ("o", 1), ("s", 1), (">", 1), ("os", 1)];
    for model in ["gemma4", "llama"] {
        let vocabulary = Vocabulary::new(model, &more);
        let tokenizer = vocabulary.merges(&["o s", "os >", "< e", "<e os>"]).sound();
        let ids = tokenizer.encode("<eos>");
        assert_eq!(pieces(&tokenizer, &ids), ["<e", "os>"], "{model}");
        assert_eq!(tokenizer.encode_prompt("<eos>"), [258], "{model}");
        // A byte token is found by its byte and not by its name.
        assert!(tokenizer.encode("<0x41>").iter().all(|id| *id != 0x41), "{model}");
    }
}

#[test]
fn user_defined_text_is_cut_out_leftmost_longest() {
    let more = [
        ("\n\n", 4),
        ("\n\n\n", 4),
        ("  ", 4),
        ("<b>", 4),
        ("a", 1),
        ("\u{2581}", 1),
        ("\u{2581}a", 1),
        ("\n", 1),
    ];
    for model in ["gemma4", "llama"] {
        let tokenizer = Vocabulary::new(model, &more).merges(&["\u{2581} a"]).sound();
        let ids = tokenizer.encode("a   a<b>\n\n\n\n\u{2581}a");
        let wanted = ["a", "\u{2581}\u{2581}", "\u{2581}a", "<b>", "\n\n\n", "\n", "\u{2581}a"];
        assert_eq!(pieces(&tokenizer, &ids), wanted, "{model}");
        assert_eq!(tokenizer.decode(&ids, true), "a   a<b>\n\n\n\n a", "{model}");
    }
}

#[test]
fn newline_runs_stand_apart_in_gemma4() {
    let more = [("\n", 1), ("\n\n", 1), ("a", 1), ("a\n", 1), ("\n\n\n", 1)];
    let tokenizer = Vocabulary::new("gemma4", &more).merges(&["a \n", "\n \n"]).sound();
    // "a\n" is a merge, but lies across; three newlines are a token without any merge; four are two
    // pairs.
    let ids = tokenizer.encode("a\na\n\n\na\n\n\n\n");
    assert_eq!(pieces(&tokenizer, &ids), ["a", "\n", "a", "\n\n\n", "a", "\n\n", "\n\n"]);
}

#[test]
fn merges_are_split_where_both_sides_are_tokens() {
    let more = [("a", 1), ("  ", 1), (" ", 1), ("  a", 1), ("b", 1), ("zb", 1), ("ba", 1)];
    // Pieces with spaces of their own; parts and results that are no tokens are skipped.
    let merges = ["   ", "   a", "z b", "a a", "b a", "b a"];
    let tokenizer = Vocabulary::new("gemma4", &more).merges(&merges).sound();
    let ids = tokenizer.encode("  aba zb");
    let wanted = ["\u{2581}\u{2581}a", "ba", "\u{2581}", "<0x7A>", "b"];
    assert_eq!(pieces(&tokenizer, &ids), wanted);
}

#[test]
fn scores_rank_the_merges_of_llama() {
    let more = [("a", 1), ("b", 1), ("c", 1), ("ab", 1), ("bc", 1), ("aa", 1), ("\u{2581}", 1)];
    let build = |scores: [f32; 7]| {
        let all: Vec<f32> = [0.0; FIRST as usize].into_iter().chain(scores).collect();
        Vocabulary::new("llama", &more).with("tokenizer.ggml.scores", all).sound()
    };
    let tokenizer = build([0.0, 0.0, 0.0, -2.0, -1.0, -1.0, 0.0]);
    let encode = |text: &str| pieces(&tokenizer, &tokenizer.encode(text));
    assert_eq!(encode("abc"), ["a", "bc"]);
    assert_eq!(encode("aaaaa"), ["aa", "aa", "a"], "of equals the leftmost");
    assert_eq!(encode("aé"), ["a", "<0xC3>", "<0xA9>"]);
    let tokenizer = build([0.0, 0.0, 0.0, 2.0, 1.0, 1.0, 0.0]);
    assert_eq!(pieces(&tokenizer, &tokenizer.encode("abc")), ["ab", "c"]);
}

#[test]
fn a_space_prefix_comes_and_goes() {
    let more = [("a", 1), ("\u{2581}", 1), ("\u{2581}a", 1)];
    let key = "tokenizer.ggml.add_space_prefix";
    for prefix in [OwnedValue::from(true), OwnedValue::from("")] {
        let tokenizer = Vocabulary::new("llama", &more).with(key, prefix).sound();
        for (text, wanted) in [
            ("a", &["\u{2581}a"][..]),
            (" a", &["\u{2581}", "\u{2581}a"]),
            ("", &[]),
            ("\n a", &["\u{2581}", "<0x0A>", "\u{2581}a"]),
        ] {
            let ids = tokenizer.encode(text);
            assert_eq!(pieces(&tokenizer, &ids), wanted);
            assert_eq!(tokenizer.decode(&ids, true), text);
        }
        let ids = tokenizer.encode_prompt("<bos>a<eos>a");
        assert_eq!(pieces(&tokenizer, &ids), ["<bos>", "a", "<eos>", "a"]);
        // Generated tokens continue a text: their space stays.
        assert_eq!(tokenizer.decoder().push(FIRST + 2), " a");
    }
    let tokenizer = Vocabulary::new("gemma4", &more).with(key, true).sound();
    assert_eq!(pieces(&tokenizer, &tokenizer.encode("a")), ["a"]);
}

#[test]
fn characters_come_out_whole() {
    let tokenizer = Vocabulary::new("gemma4", &[("a", 1)]).sound();
    let mut decoder = tokenizer.decoder();
    let llama = [0xF0, 0x9F, 0xA6, 0x99];
    let texts: Vec<String> = llama.iter().map(|id| decoder.push(*id).to_owned()).collect();
    assert_eq!(texts, ["", "", "", "\u{1f999}"]);
    // A character that is cut off by a token, by a special token, by the end.
    assert_eq!((decoder.push(0xF0), 0).1, 0);
    assert_eq!(decoder.push(FIRST), "\u{fffd}a");
    decoder.push(0xC3);
    assert_eq!(decoder.push(258), "\u{fffd}");
    decoder.push(0xE2);
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(decoder.finish(), "");
    assert_eq!(decoder.push(100_000), "");
    assert_eq!(tokenizer.decoder().show_special(true).push(257), "<bos>");
}

#[test]
fn a_long_line_takes_no_quadratic_time() {
    for model in ["gemma4", "llama"] {
        let more = [("a", 1), ("aa", 1), ("aaaa", 1), ("aaaaaaaa", 1)];
        let merges = ["a a", "aa aa", "aaaa aaaa"];
        let tokenizer = Vocabulary::new(model, &more).merges(&merges).sound();
        let ids = tokenizer.encode(&"a".repeat(1_000_001));
        assert_eq!(ids.len(), 125_001, "{model}");
    }
}

#[test]
fn equal_texts_give_the_lowest_id() {
    let more = [("a", 1), ("a", 1), ("ab", 1), ("b", 1), ("ab", 1), ("a", 4), ("<eos>", 1)];
    for model in ["gemma4", "llama"] {
        let tokenizer = Vocabulary::new(model, &more).merges(&["a b", "a b"]).sound();
        assert_eq!(tokenizer.encode("ab"), [FIRST + 2], "{model}");
        assert_eq!(tokenizer.encode_prompt("<eos>"), [258], "{model}");
    }
}

#[test]
fn keys_name_what_ends_and_what_is_suppressed() {
    let more = [("<turn|>", 1), ("<end_of_turn>", 4), ("stop", 1), ("x", 1)];
    let tokenizer = Vocabulary::new("gemma4", &more)
        .with("tokenizer.ggml.eot_token_id", FIRST + 2)
        .with("tokenizer.ggml.suppress_tokens", vec![3_i32, 300 - 40])
        .with("tokenizer.ggml.add_bos_token", false)
        .sound();
    assert_eq!(tokenizer.eog(), [258, FIRST, FIRST + 1, FIRST + 2]);
    assert!(tokenizer.is_eog(FIRST + 2) && !tokenizer.is_eog(FIRST + 3));
    assert!(!tokenizer.encode("stop").contains(&(FIRST + 2)), "what a key names is no text");
    assert_eq!(tokenizer.suppressed(), [3, 260]);
    assert!(tokenizer.add_bos(), "always for gemma4");
    let llama = Vocabulary::new("llama", &more).with("tokenizer.ggml.add_bos_token", false);
    assert!(!llama.sound().add_bos());
}

#[test]
fn wrong_vocabularies_are_refused() {
    use TokenizerError as E;
    type Check = fn(&E) -> bool;
    let v = || Vocabulary::new("gemma4", &[("a", 1)]);
    let cases: [(Vocabulary, Check); 19] = [
        (v().with("tokenizer.ggml.model", "gpt2"), |e| matches!(e, E::UnknownModel { .. })),
        (v().with("tokenizer.ggml.model", ""), |e| matches!(e, E::Metadata(_))),
        (v().with("tokenizer.ggml.model", 3_u32), |e| matches!(e, E::Metadata(_))),
        (v().with("tokenizer.ggml.tokens", ""), |e| matches!(e, E::Metadata(_))),
        (v().with("tokenizer.ggml.tokens", vec![1_u32]), |e| matches!(e, E::Metadata(_))),
        (v().with("tokenizer.ggml.tokens", vec!["a"]), |e| {
            matches!(e, E::WrongLength { found: 260, wanted: 1, .. })
        }),
        (v().with("tokenizer.ggml.token_type", ""), |e| matches!(e, E::Metadata(_))),
        (v().with("tokenizer.ggml.token_type", vec![9_i32; 260]), |e| {
            matches!(e, E::BadType { id: 0, found: 9 })
        }),
        (v().with("tokenizer.ggml.token_type", vec![6_i32; 260]), |e| {
            matches!(e, E::BadByte { id: 256, .. })
        }),
        (v().with("tokenizer.ggml.merges", ""), |e| matches!(e, E::Metadata(_))),
        (v().merges(&["a a", "aa"]), |e| matches!(e, E::BadMerge { index: 1, .. })),
        (v().merges(&[" a"]), |e| matches!(e, E::BadMerge { index: 0, .. })),
        (v().merges(&[""]), |e| matches!(e, E::BadMerge { index: 0, .. })),
        (v().with("tokenizer.ggml.eos_token_id", 260_u32), |e| {
            matches!(e, E::IdOutOfRange { id: 260, vocab_size: 260, .. })
        }),
        (v().with("tokenizer.ggml.padding_token_id", u64::MAX), |e| {
            matches!(e, E::IdOutOfRange { id: u64::MAX, .. })
        }),
        (v().with("tokenizer.ggml.suppress_tokens", vec![1_u32, 999]), |e| {
            matches!(e, E::IdOutOfRange { id: 999, .. })
        }),
        (v().with("tokenizer.ggml.bos_token_id", ""), |e| matches!(e, E::Metadata(_))),
        (Vocabulary::new("llama", &[]).with("tokenizer.ggml.scores", vec![1_f32]), |e| {
            matches!(e, E::WrongLength { found: 1, wanted: 259, .. })
        }),
        (Vocabulary::new("llama", &[]).with("tokenizer.ggml.scores", vec![f32::NAN; 259]), |e| {
            matches!(e, E::BadScore { id: 0 })
        }),
    ];
    for (index, (vocabulary, right)) in cases.iter().enumerate() {
        let error = vocabulary.build().expect_err("the vocabulary is wrong");
        assert!(right(&error), "case {index}: {error:?}");
        assert!(!error.to_string().ends_with('.') && !error.to_string().contains('\n'), "{error}");
    }
    let mut no_bytes = v().with("tokenizer.ggml.unknown_token_id", "");
    no_bytes.tokens[0x41].1 = 1;
    assert!(matches!(no_bytes.build(), Err(E::NoFallback { missing: 0x41 })));
    let mut no_bytes = v();
    no_bytes.tokens[0x41].1 = 1;
    assert_eq!(no_bytes.sound().encode("AB"), [256, 0x42]);
}

/// Merges as the definition has it: the best pair of all, the leftmost of equals, until there is
/// none.
fn merged_by_hand(text: &str, rank: impl Fn(&str, &str) -> Option<usize>) -> Vec<String> {
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let pairs = parts.windows(2).enumerate();
        let best = pairs.filter_map(|(at, p)| Some((rank(&p[0], &p[1])?, at))).min();
        let Some((_, at)) = best else { return parts };
        let right = parts.remove(at + 1);
        parts[at].push_str(&right);
    }
}

/// Overlapping merges over four letters; every result is a token.
const MERGES: [(&str, &str); 12] = [
    ("b", "c"),
    ("a", "b"),
    ("ab", "c"),
    ("a", "bc"),
    ("a", "a"),
    ("aa", "aa"),
    ("c", "\u{2581}"),
    ("\u{2581}", "a"),
    ("\u{2581}a", "b"),
    ("bc", "bc"),
    ("c", "c"),
    ("abc", "\u{2581}a"),
];

fn small(model: &'static str) -> Tokenizer {
    let joined = MERGES.map(|(left, right)| format!("{left}{right}"));
    let mut more: Vec<(&str, i32)> = ["a", "b", "c", "\u{2581}"].map(|c| (c, 1)).to_vec();
    more.extend(joined.iter().map(|text| (text.as_str(), 1)));
    let merges = MERGES.map(|(left, right)| format!("{left} {right}"));
    Vocabulary::new(model, &more).merges(&merges.each_ref().map(String::as_str)).sound()
}

proptest! {
    #[test]
    fn merging_is_what_the_definition_says(text in "[abcx \u{e9}]{0,40}") {
        let spaced = text.replace(' ', "\u{2581}");
        let by_rank = |left: &str, right: &str| MERGES.iter().position(|m| *m == (left, right));
        // Scores fall with the id, and of equal texts the first counts.
        let by_text = |left: &str, right: &str| {
            let text = format!("{left}{right}");
            MERGES.iter().position(|m| format!("{}{}", m.0, m.1) == text)
        };
        let visible = |parts: Vec<String>| -> Vec<String> {
            let bytes = |c: &str| c.bytes().map(|b| format!("<0x{b:02X}>")).collect::<Vec<_>>();
            let known = |p: &str| !["x", "\u{e9}"].contains(&p);
            let part = |p: String| if known(&p) { vec![p] } else { bytes(&p) };
            parts.into_iter().flat_map(part).collect()
        };
        let (bpe, spm) = (small("gemma4"), small("llama"));
        let (by_rank, by_text) =
            (merged_by_hand(&spaced, by_rank), merged_by_hand(&spaced, by_text));
        prop_assert_eq!(pieces(&bpe, &bpe.encode(&text)), visible(by_rank));
        prop_assert_eq!(pieces(&spm, &spm.encode(&text)), visible(by_text));
    }

    #[test]
    fn text_survives(text in "(\\PC|[ \n\u{2581}abc<>|]|<bos>|<0x41>){0,30}") {
        for tokenizer in [small("gemma4"), small("llama"), tiny_s()] {
            let wanted = text.replace('\u{2581}', " ");
            let ids = tokenizer.encode(&text);
            prop_assert_eq!(&tokenizer.decode(&ids, true), &wanted);
            prop_assert_eq!(&tokenizer.decode(&tokenizer.encode_prompt(&text), false), &wanted);
        }
    }

    #[test]
    fn any_bytes_decode_as_in_std(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let tokenizer = small("gemma4");
        let ids: Vec<TokenId> = bytes.iter().map(|byte| TokenId::from(*byte)).collect();
        prop_assert_eq!(tokenizer.decode(&ids, true), String::from_utf8_lossy(&bytes));
    }
}
