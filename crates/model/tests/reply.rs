//! What is made of a model's tokens, against tables by hand and direct definitions.

use crate::common::file;
use carat::reply::ThinkingBudget;
use carat::reply::{LoopGuard, Piece, Repeat, Splitter, StopStringError, StopStrings};
use carat::{TokenId, Tokenizer};
use carat_gguf::{Endian, Gguf, OwnedValue, Source, Writer};
use proptest::prelude::*;

/// The vocabulary of tiny-s.
fn tokenizer() -> Tokenizer {
    without(&[])
}

/// The same with other texts for some special tokens.
fn without(texts: &[&str]) -> Tokenizer {
    let source = Source::open(&file("f32")).expect("tiny-s");
    let gguf = source.parse().expect("tiny-s parses");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        if key == "tokenizer.ggml.tokens" {
            let tokens = gguf.metadata().strings(key).expect("tokens");
            let other =
                |t: &str| if texts.contains(&t) { format!("<other{t}") } else { t.to_owned() };
            let tokens: Vec<String> = tokens.map(other).collect();
            writer = writer.metadata(key, OwnedValue::from(tokens));
        } else {
            writer = writer.metadata(key, *value);
        }
    }
    let bytes = writer.to_bytes().expect("a file");
    let gguf = Gguf::parse(&bytes).expect("a file");
    Tokenizer::from_metadata(gguf.metadata()).expect("a vocabulary")
}

/// Tokens in which `#41` stands for a byte token, and special tokens are parsed.
fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<TokenId> {
    let mut parts = text.split('#');
    let mut ids = tokenizer.encode_prompt(parts.next().expect("a part"));
    for part in parts {
        let wanted = format!("<0x{}>", &part[..2]);
        let all = 0..tokenizer.vocab_size() as TokenId;
        let mut all = all.filter(|id| tokenizer.token(*id) == Some(&wanted));
        ids.push(all.next().expect("a byte token"));
        ids.extend(tokenizer.encode_prompt(&part[2..]));
    }
    ids
}

/// All pieces, with those of one kind that follow each other joined.
fn pieces(splitter: &mut Splitter<'_>, ids: &[TokenId]) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    let mut add = |piece: Piece| match (all.last_mut(), &piece) {
        (Some(Piece::Text(last)), Piece::Text(more))
        | (Some(Piece::Thought(last)), Piece::Thought(more)) => last.push_str(more),
        _ => all.push(piece),
    };
    for id in ids {
        splitter.push(*id).into_iter().for_each(&mut add);
    }
    splitter.finish().into_iter().for_each(add);
    all
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn thought(text: &str) -> Piece {
    Piece::Thought(text.to_owned())
}

fn call(inside: &str) -> Piece {
    Piece::ToolCall(inside.to_owned())
}

fn cut_call(inside: &str) -> Piece {
    Piece::CutToolCall(inside.to_owned())
}

const LONG_NAME: &str = "a name of sixty-five letters is none, and so it is a thought, yes";

#[test]
fn tokens_become_text_thoughts_and_calls() {
    let tokenizer = tokenizer();
    let mut splitter = Splitter::new(&tokenizer);
    let cases: Vec<(String, Vec<Piece>)> = [
        ("", vec![]),
        ("hello", vec![text("hello")]),
        ("<|channel>thought\nhm, so<channel|>yes", vec![thought("hm, so"), text("yes")]),
        (
            "a<|channel>thought\n\nb\nc\n<channel|>d",
            vec![text("a"), thought("\nb\nc\n"), text("d")],
        ),
        ("<|channel>thought\n<channel|>yes", vec![text("yes")]),
        // Whatever its name, and with none.
        ("<|channel>analysis\nhm<channel|>yes", vec![thought("hm"), text("yes")]),
        ("<|channel>final\nhm<channel|>yes", vec![thought("hm"), text("yes")]),
        ("<|channel>\nhm<channel|>yes", vec![thought("hm"), text("yes")]),
        ("<|channel>thought<channel|>yes", vec![text("yes")]),
        // Never closed, opened twice, closed twice, closed and never opened.
        ("yes<|channel>thought\nhm", vec![text("yes"), thought("hm")]),
        ("yes<|channel>thought", vec![text("yes")]),
        ("<|channel>thought\na<|channel>more\nb<channel|>c", vec![thought("ab"), text("c")]),
        ("<|channel>tho<|channel>thought\nb<channel|>c", vec![thought("b"), text("c")]),
        ("<|channel>thought\na<channel|>b<channel|>c", vec![thought("a"), text("bc")]),
        ("a<channel|>b", vec![text("ab")]),
        // Tool calls: complete, with structure inside, cut, within a thought.
        (
            "a<|tool_call>call:f{k:<|\"|>v<|\"|>}<tool_call|>b",
            vec![text("a"), call("call:f{k:<|\"|>v<|\"|>}"), text("b")],
        ),
        ("<|tool_call><tool_call|>", vec![call("")]),
        ("<|tool_call>a<tool_call|><|tool_call>b<tool_call|>", vec![call("a"), call("b")]),
        ("<|tool_call>a<|tool_call>b<tool_call|>c", vec![cut_call("a"), call("b"), text("c")]),
        ("a<|tool_call>b", vec![text("a"), cut_call("b")]),
        ("a<tool_call|>b", vec![text("ab")]),
        (
            "<|tool_call>a<|channel>b<channel|>c<tool_call|>d",
            vec![call("a<|channel>b<channel|>c"), text("d")],
        ),
        (
            "<|channel>thought\na<|tool_call>b<tool_call|>c<channel|>d",
            vec![thought("a"), call("b"), thought("c"), text("d")],
        ),
        ("<|channel>tho<|tool_call>b<tool_call|>ught\nc", vec![call("b"), thought("c")]),
        ("<|channel>thought\na<|tool_call>b", vec![thought("a"), cut_call("b")]),
        // Other special tokens say nothing.
        ("a<bos>b<|\"|>c<|turn>d", vec![text("abcd")]),
        // Bytes that make a character, and bytes that do not.
        ("#C3#A9", vec![text("é")]),
        (
            "#C3<|channel>#C3#A9\n#E2#82<channel|>#AC",
            vec![text("\u{FFFD}"), thought("\u{FFFD}"), text("\u{FFFD}")],
        ),
        (
            "#C3<|tool_call>#C3#A9#C3<|\"|>#C3<tool_call|>#A9",
            vec![text("\u{FFFD}"), call("é\u{FFFD}<|\"|>\u{FFFD}"), text("\u{FFFD}")],
        ),
        ("a#C3", vec![text("a\u{FFFD}")]),
        ("<|channel>thought#0Ahm", vec![thought("hm")]),
    ]
    .into_iter()
    .map(|(input, wanted)| (input.to_owned(), wanted))
    .chain([
        (format!("<|channel>{LONG_NAME}\na"), vec![thought(&format!("{LONG_NAME}\na"))]),
        (format!("<|channel>{}\na", &LONG_NAME[1..]), vec![thought("a")]),
    ])
    .collect();
    assert_eq!(LONG_NAME.len(), 65);
    // One splitter for all: the end of an answer leaves nothing behind.
    for (input, wanted) in cases {
        let ids = ids(&tokenizer, &input);
        assert_eq!(pieces(&mut splitter, &ids), wanted, "{input}");
        assert!(!splitter.is_thinking());
    }
    let unknown = tokenizer.vocab_size() as TokenId;
    assert_eq!(pieces(&mut splitter, &[unknown, TokenId::MAX]), []);
    // Letters that spell structure are letters.
    let spelt = "<|channel>thought\nhm<channel|>yes";
    assert_eq!(pieces(&mut splitter, &tokenizer.encode(spelt)), [text(spelt)]);
}

#[test]
fn a_vocabulary_without_such_tokens_has_only_text() {
    let all = ["<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"];
    let input = "a<|channel>b\nc<channel|>d<|tool_call>e<tool_call|>f";
    for (missing, wanted) in [
        (&all[..], vec![text("ab\ncdef")]),
        (&all[..1], vec![text("ab\ncd"), call("e"), text("f")]),
        (&all[1..2], vec![text("ab\ncd"), call("e"), text("f")]),
        (&all[2..3], vec![text("a"), thought("c"), text("def")]),
        (&all[3..], vec![text("a"), thought("c"), text("def")]),
    ] {
        let ids = ids(&tokenizer(), input);
        let tokenizer = without(missing);
        assert_eq!(pieces(&mut Splitter::new(&tokenizer), &ids), wanted, "{missing:?}");
        let has_channels = missing.iter().all(|text| !text.contains("channel"));
        assert_eq!(ThinkingBudget::new(&tokenizer, 1).is_some(), has_channels);
    }
}

#[test]
fn an_answer_goes_on_where_its_prompt_ends() {
    let tokenizer = tokenizer();
    for (prompt, wanted) in [
        ("<|turn>model\n", vec![text("a\nb"), text("c")]),
        ("<|turn>model\n<|channel>thought\n<channel|>", vec![text("a\nb"), text("c")]),
        ("<|turn>model\n<|channel>thought\nhm", vec![thought("a\nb"), text("c")]),
        ("<|turn>model\n<|channel>tho", vec![thought("b"), text("c")]),
        ("<|channel>thought\nhm", vec![thought("a\nb"), text("c")]),
        // Another turn's channel is not this one's.
        ("<|turn>model\n<|channel>thought\nhm<|turn>model\n", vec![text("a\nb"), text("c")]),
        ("", vec![text("a\nb"), text("c")]),
    ] {
        let mut splitter = Splitter::after(&tokenizer, &ids(&tokenizer, prompt));
        let joined = pieces(&mut splitter, &ids(&tokenizer, "a\nb<channel|>c"));
        let wanted = match &wanted[..] {
            [Piece::Text(a), Piece::Text(b)] => vec![text(&format!("{a}{b}"))],
            _ => wanted,
        };
        assert_eq!(joined, wanted, "{prompt}");
    }
    let mut splitter = Splitter::after(&tokenizer, &ids(&tokenizer, "<|turn>m<|tool_call>call:"));
    assert_eq!(pieces(&mut splitter, &ids(&tokenizer, "f{}<tool_call|>")), [call("f{}")]);
}

/// What a budget says after each token of `input`, by the texts of the tokens.
fn said(budget: &mut ThinkingBudget<'_>, tokenizer: &Tokenizer, input: &[TokenId]) -> Vec<String> {
    let written = |ids: &[TokenId]| tokenizer.decode(ids, false);
    input.iter().map(|id| budget.accept(*id).map_or(String::new(), written)).collect()
}

#[test]
fn a_thought_is_closed_when_its_budget_is_spent() {
    let tokenizer = tokenizer();
    // Letters are tokens of their own here; `.` marks where something is said.
    let letters = |text: &str| -> Vec<TokenId> {
        let word = |c: char| tokenizer.encode(&c.to_string());
        text.chars().flat_map(word).collect()
    };
    let [open, close, call, end] = ["<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"]
        .map(|text| tokenizer.special(text).expect("a special token"));
    let name = tokenizer.encode("thought\n");
    let empty = "thought\n<channel|>";
    let channel = |body: &str| [&[open][..], &name, &letters(body), &[close]].concat();
    // The place of what is said, and what it is.
    let first = |budget: usize, tokens: &[TokenId]| {
        let mut budget = ThinkingBudget::new(&tokenizer, budget).expect("channels");
        let said = said(&mut budget, &tokenizer, tokens);
        let places = (0..).zip(said).filter(|(_, said)| !said.is_empty());
        places.collect::<Vec<(usize, String)>>()
    };
    let body = 1 + name.len();
    let close_at = |at: usize| vec![(at, "<channel|>".to_owned())];
    assert_eq!(first(3, &channel("abcde")), close_at(body + 2));
    assert_eq!(first(5, &channel("abcde")), close_at(body + 4));
    assert_eq!(first(6, &channel("abcde")), []);
    assert_eq!(first(3, &letters("abcdefg")), []);
    assert_eq!(first(0, &channel("abc")), [(0, empty.to_owned())]);
    // Channels share the budget; the next one is empty.
    let two = [channel("ab"), letters("xyz"), channel("cdef")].concat();
    let second = channel("ab").len() + 3;
    assert_eq!(first(3, &two), close_at(second + body));
    assert_eq!(first(2, &two), [close_at(body + 1), vec![(second, empty.to_owned())]].concat());
    // A call is no thought and is never cut.
    let with_call =
        [&[open][..], &name, &letters("a"), &[call], &letters("bcdef"), &[end], &letters("gh")];
    assert_eq!(first(2, &with_call.concat()), close_at(body + 1 + 7));
    // A first line of more than 64 bytes counts from the 65th on.
    assert_eq!(
        first(3, &[&[open][..], &letters(LONG_NAME), &letters("abcde")].concat()),
        close_at(68)
    );
    let spent = [&[open][..], &name, &[call], &letters("bcdef"), &[close, end]].concat();
    assert_eq!(first(1, &[&spent[..], &letters("g")].concat()), close_at(spent.len()));
}

#[test]
fn a_prompt_may_begin_the_thought() {
    let tokenizer = tokenizer();
    let close = tokenizer.special("<channel|>").expect("a special token");
    let open = tokenizer.special("<|channel>").expect("a special token");
    let begin = |tokens: usize, prompt: &str| {
        let mut budget = ThinkingBudget::new(&tokenizer, tokens).expect("channels");
        let said = budget.begin(&ids(&tokenizer, prompt)).map(<[_]>::to_vec);
        (said, budget)
    };
    let (said, mut budget) = begin(2, "<|turn>model\n<|channel>thought\na long one");
    assert_eq!((said, budget.left(), budget.forbidden()), (None, 2, None));
    assert_eq!(budget.accept(tokenizer.encode("b")[0]), None);
    assert_eq!(budget.accept(tokenizer.encode("c")[0]), Some(&[close][..]));
    assert_eq!((budget.left(), budget.forbidden()), (0, Some(open)));
    assert_eq!(begin(0, "<|turn>model\n<|channel>thought\nhm").0, Some(vec![close]));
    // A call that the prompt began is not cut.
    let (said, mut budget) = begin(0, "<|turn>model\n<|channel>thought\nhm<|tool_call>call:");
    assert_eq!((said, budget.accept(tokenizer.encode("f")[0])), (None, None));
    let end = tokenizer.special("<tool_call|>").expect("a special token");
    assert_eq!(budget.accept(end), Some(&[close][..]));
    let empty = [tokenizer.encode("thought\n"), vec![close]].concat();
    assert_eq!(begin(0, "<|turn>model\n<|channel>").0, Some(empty));
    assert_eq!(begin(0, "<|channel>thought\nhm<|turn>model\n").0, None);
    assert_eq!(begin(0, "<|turn>model\n<|channel>thought\n<channel|>").0, None);
}

/// What gets through, by trying every place in the whole text.
fn naive_stop(text: &str, strings: &[String]) -> (String, Option<usize>) {
    for (end, _) in text.char_indices().chain([(text.len(), ' ')]) {
        let ends = strings.iter().enumerate().filter(|(_, s)| text[..end].ends_with(s.as_str()));
        // Of equal lengths the last maximum wins, so the order is turned around.
        if let Some((index, s)) = ends.rev().max_by_key(|(_, s)| s.len()) {
            return (text[..end - s.len()].to_owned(), Some(index));
        }
    }
    (text.to_owned(), None)
}

#[test]
fn stop_strings_by_hand() {
    let run = |strings: &[&str], pieces: &[&str]| {
        let mut stop = StopStrings::new(strings).expect("stop strings");
        let out: Vec<String> = pieces.iter().map(|piece| stop.push(piece).to_owned()).collect();
        (out.join("|"), stop.stopped(), stop.finish().to_owned())
    };
    let of = |out: &str, stopped, rest: &str| (out.to_owned(), stopped, rest.to_owned());
    assert_eq!(run(&[], &["a", "b"]), of("a|b", None, ""));
    assert_eq!(run(&["abc"], &["xab", "d"]), of("x|abd", None, ""));
    assert_eq!(run(&["abc"], &["xab"]), of("x", None, "ab"));
    assert_eq!(run(&["abc"], &["xab", "cd", "e"]), of("x||", Some(0), ""));
    // What is complete first ends the text, also within one piece; then the longest counts.
    assert_eq!(run(&["abcd", "bc"], &["xabcd"]), of("xa", Some(1), ""));
    assert_eq!(run(&["c", "bc", "abc", "bc"], &["xabcd"]), of("x", Some(2), ""));
    assert_eq!(run(&["bc", "bc"], &["abc"]), of("a", Some(0), ""));
    assert_eq!(run(&["ab", "abcd"], &["xabcd"]), of("x", Some(0), ""));
    // A beginning that fails may hold another beginning.
    assert_eq!(run(&["aab"], &["aa", "a", "a", "b"]), of("|a|a|", Some(0), ""));
    assert_eq!(run(&["é!", "世界"], &["世", "é", "世", "界"]), of("|世|é|", Some(1), ""));
    // One filter serves several answers.
    let mut stop = StopStrings::new(&["ab"]).expect("a stop string");
    for _ in 0..2 {
        assert_eq!(stop.push("xa"), "x");
        assert_eq!(stop.stopped(), None);
        assert_eq!(stop.finish(), "a");
        assert_eq!(stop.push("bab"), "b");
        assert_eq!(stop.stopped(), Some(0));
        assert_eq!(stop.push("x"), "");
        assert_eq!(stop.finish(), "");
        assert_eq!(stop.stopped(), None);
    }
    for (strings, index) in [(&[""][..], 0), (&["a", "", "b", ""], 1)] {
        let error = StopStrings::new(strings).map(|_| ());
        assert_eq!(error, Err(StopStringError::Empty { index }));
    }
}

/// Where the last tokens are a loop, by the definition: of the shortest cycle of at most 256 that
/// has been repeated four times, with `4096 / different tokens` in all, at least 200 and at most
/// 1024.
fn naive_loop(tokens: &[TokenId]) -> Option<Repeat> {
    (1..=256).find_map(|period| {
        let last = tokens.len().checked_sub(period)?;
        let cycle: std::collections::BTreeSet<_> = tokens[last..].iter().collect();
        let again = (0..last).rev().take_while(|i| tokens[*i] == tokens[i + period]).count();
        let (total, needed) = (again + period, (4096 / cycle.len()).clamp(200, 1024));
        (total >= needed && total >= 4 * period).then_some(Repeat { period, tokens: total })
    })
}

/// Tokens of a cycle after which a guard speaks.
fn patience(cycle: &[TokenId]) -> Option<usize> {
    let mut guard = LoopGuard::new();
    // What comes before is no part of the cycle.
    [9000, 9001, 9000].into_iter().for_each(|token| assert_eq!(guard.accept(token), None));
    let tokens = cycle.iter().cycle().take(4 * 1024);
    let found = tokens.enumerate().find_map(|(at, token)| Some((at + 1, guard.accept(*token)?)));
    let (tokens, repeat) = found?;
    assert_eq!(repeat, Repeat { period: cycle.len(), tokens });
    Some(tokens)
}

#[test]
fn loops_are_noticed_when_their_time_has_come() {
    let different = |n: TokenId| (1..=n).collect::<Vec<_>>();
    assert_eq!(patience(&different(1)), Some(1024));
    assert_eq!(patience(&different(8)), Some(512));
    assert_eq!(patience(&different(16)), Some(256));
    assert_eq!(patience(&different(20)), Some(204));
    assert_eq!(patience(&different(30)), Some(200));
    assert_eq!(patience(&different(100)), Some(400));
    assert_eq!(patience(&different(256)), Some(1024));
    assert_eq!(patience(&different(257)), None);
    // A row of zeros: 0 and a comma, then a line break. 16 of them pass.
    let row: Vec<TokenId> = [1, 2].repeat(16).into_iter().chain([3]).collect();
    assert!(patience(&row).is_some_and(|tokens| tokens > 16 * row.len()));
    // Forgetting works.
    let mut guard = LoopGuard::default();
    (0..1023).for_each(|_| assert_eq!(guard.accept(5), None));
    guard.reset();
    (0..1023).for_each(|_| assert_eq!(guard.accept(5), None));
    assert_eq!(guard.accept(5), Some(Repeat { period: 1, tokens: 1024 }));
    assert_eq!(guard.accept(6), None);
}

proptest! {
    #[test]
    fn stop_strings_are_what_trying_everything_finds(
        strings in prop::collection::vec("[abé世]{1,4}", 0..5),
        pieces in prop::collection::vec("[abé世]{0,6}", 0..8),
    ) {
        let mut stop = StopStrings::new(&strings).expect("stop strings");
        let (mut text, mut out) = (String::new(), String::new());
        for piece in &pieces {
            text.push_str(piece);
            out.push_str(stop.push(piece));
            let (whole, index) = naive_stop(&text, &strings);
            prop_assert_eq!(stop.stopped(), index);
            // All is let through but the longest end that may begin a stop string.
            let begins = |end: &str| strings.iter().any(|s| s.starts_with(end));
            let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            let held = places.map(|at| &text[at..]).find(|end| begins(end)).unwrap_or("");
            let wanted = if index.is_some() { &whole } else { &text[..text.len() - held.len()] };
            prop_assert_eq!(&out, wanted);
        }
        out.push_str(stop.finish());
        prop_assert_eq!(out, naive_stop(&text, &strings).0);
    }

    /// A model that does as it is told never thinks more than its budget, and never in text.
    #[test]
    fn thoughts_stay_within_their_budget(
        said in prop::collection::vec(
            prop::sample::select(vec!["a", "b", "\n", "<|channel>", "<channel|>", "<bos>"]),
            0..60,
        ),
        tokens in 0_usize..12,
    ) {
        let tokenizer = tokenizer();
        let mut budget = ThinkingBudget::new(&tokenizer, tokens).expect("channels");
        let mut splitter = Splitter::new(&tokenizer);
        let (mut forced, mut thoughts, mut is_spent) = (Vec::<TokenId>::new(), 0, false);
        for word in said {
            for token in ids(&tokenizer, word) {
                for token in std::mem::take(&mut forced).into_iter().chain([token]) {
                    let was_thinking = splitter.is_thinking();
                    let piece = splitter.push(token);
                    let is_thought = matches!(piece, Some(Piece::Thought(_)));
                    prop_assert!(!is_thought || !is_spent, "a thought after the end");
                    thoughts += usize::from(was_thinking && splitter.is_thinking());
                    if let Some(next) = budget.accept(token) {
                        prop_assert!(forced.is_empty());
                        forced.extend(next);
                    }
                }
                prop_assert!(thoughts <= tokens, "{thoughts} of {tokens}");
                prop_assert_eq!(budget.left(), tokens - thoughts);
                is_spent = thoughts == tokens && forced.is_empty() && !splitter.is_thinking();
            }
        }
    }

    #[test]
    fn a_loop_is_what_its_definition_says(
        cycle in prop::collection::vec(0_u32..40, 1..80),
        fold in prop::sample::select(vec![2_u32, 5, 16, 40]),
        before in prop::collection::vec(0_u32..3, 0..300),
        repeats in 1_usize..40,
        noise in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let cycle: Vec<TokenId> = cycle.iter().map(|token| token % fold).collect();
        let mut tokens = before;
        tokens.extend(cycle.repeat(repeats));
        if let Some(at) = noise {
            let at = at.index(tokens.len());
            tokens[at] = 77;
        }
        let mut guard = LoopGuard::new();
        for (at, token) in tokens.iter().enumerate() {
            let found = guard.accept(*token);
            if at % 61 == 0 || at + 1 == tokens.len() {
                prop_assert_eq!(found, naive_loop(&tokens[..=at]));
            }
        }
    }
}
