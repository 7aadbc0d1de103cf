//! Drafts under answers: grammars, tools, thoughts, stop strings and log-probabilities give the
//! same events with drafts and without.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::answers::{answer, chat, script, ways};
use crate::common::model;
use crate::drafting::Script;
use crate::saved::bytes;
use carat::{
    Answer, AnswerOptions, Cancel, Chat, DraftConfig, DraftStats, Drafts, Event, Finish, Grammar,
    SamplerConfig,
};
use serde_json::{Value, json};

#[test]
fn answers_are_the_same_with_drafts() {
    let model = model("q4_0");
    let mut accepted = 0;
    for seed in 0..6 {
        for (way, options, tools) in ways(&model, seed) {
            let mut plain = chat(&model, DraftConfig::default(), &tools);
            let (wanted, wanted_done) = answer(&mut plain, &options);
            assert_eq!(wanted_done.drafts, DraftStats::default());
            let text = plain.session().tokens().to_vec();
            for (right, adaptive) in [(0.0, false), (0.6, false), (1.0, false), (1.0, true)] {
                let draft = DraftConfig { most: 1 + seed as usize, adaptive };
                let mut drafting = chat(&model, draft, &tools);
                let drafts = match way {
                    "greedy" => Drafts::Lookup,
                    _ => script(&text, right, seed),
                };
                drafting.session_mut().set_drafts(drafts).expect("room");
                let (events, done) = answer(&mut drafting, &options);
                let what = format!("{way}, seed {seed}, {right} right");
                assert_eq!(events, wanted, "{what}");
                assert_eq!((&done.reason, done.usage), (&wanted_done.reason, wanted_done.usage));
                assert_eq!(drafting.messages().len(), plain.messages().len(), "{what}");
                let settled = |chat: &mut Chat| {
                    chat.session_mut().logits().expect("logits");
                    bytes(chat.session())
                };
                assert!(settled(&mut drafting) == settled(&mut plain), "{what}: other caches");
                accepted += done.drafts.accepted;
                let stats = done.drafts;
                assert!(stats.accepted <= stats.drafted && stats.tokens >= stats.passes, "{what}");
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

/// What a grammar forces is evaluated with the token before it, and drafts that it forbids are no
/// part of a pass.
#[test]
fn forced_tokens_cost_no_pass_and_forbidden_drafts_none_either() {
    let model = model("q4_0");
    let schema = json!({ "enum": ["a long sentence that is the only one", "another one"] });
    let env = model.grammar_env().expect("a trie");
    let format = Arc::new(Grammar::json_schema_value(env, &schema).expect("a schema"));
    let options = AnswerOptions {
        format: Some(format),
        log_probabilities: Some(0),
        ..AnswerOptions::default()
    };
    for draft in [DraftConfig { most: 4, adaptive: false }, DraftConfig::default()] {
        let mut chat = chat(&model, draft, &[]);
        let (is_drafting, mut asked) = (draft.most > 0, Arc::default());
        if is_drafting {
            // Everything it drafts is forbidden: tokens of one byte that JSON strings do not have.
            let source = Script::new(&Arc::new(Mutex::new(vec![300; 1024])), 1.0, 1);
            asked = source.asked();
            chat.session_mut().set_drafts(Drafts::Source(Box::new(source))).expect("room");
        }
        let (events, done) = answer(&mut chat, &options);
        assert_eq!(done.reason, Finish::EndOfTurn);
        let text: String = events
            .iter()
            .filter_map(|event| if let Event::Text(text) = event { Some(&text[..]) } else { None })
            .collect();
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(schema["enum"].as_array().expect("a list").contains(&value), "{value}");
        if is_drafting {
            let DraftStats { drafted, passes, .. } = done.drafts;
            assert!(asked.load(Ordering::Relaxed) > 0 && drafted == 0, "{:?}", done.drafts);
            // A pass after each token that was chosen, and none of its own for those between. One
            // at least is over more tokens than are counted.
            let chosen = events.iter().filter(|event| matches!(event, Event::Token(_))).count();
            assert!(passes < chosen, "{:?} for {chosen} of them chosen", done.drafts);
            assert!(chosen * 2 < done.usage.completion_tokens, "{:?}", done.usage);
        }
    }
}

/// An answer drafts nothing that it could not say any more.
#[test]
fn answers_draft_up_to_their_last_token() {
    let model = model("q4_0");
    let mut plain = chat(&model, DraftConfig::default(), &[]);
    let options = |max_tokens| {
        let sampling = SamplerConfig { temperature: 0.0, ..Default::default() };
        AnswerOptions { sampling, max_tokens: Some(max_tokens), ..AnswerOptions::default() }
    };
    answer(&mut plain, &options(20));
    let text = plain.session().tokens().to_vec();
    for max_tokens in 1..=8 {
        let mut chat = chat(&model, DraftConfig { most: 7, adaptive: false }, &[]);
        chat.session_mut().set_drafts(script(&text, 1.0, 1)).expect("room");
        let (_, done) = answer(&mut chat, &options(max_tokens));
        assert_eq!(done.usage.completion_tokens, max_tokens);
        let DraftStats { drafted, passes, .. } = chat.session().draft_stats();
        assert_eq!((passes, drafted), (usize::from(max_tokens > 1), max_tokens.saturating_sub(2)));
    }
}

/// Answers of several conversations in one pass.
#[test]
fn answers_together_are_the_same_with_drafts() {
    let model = model("q4_0");
    let ways = ways(&model, 11);
    let mut wanted = Vec::new();
    let mut chats = Vec::new();
    for (i, (_, options, tools)) in ways.iter().enumerate() {
        let mut plain = chat(&model, DraftConfig::default(), tools);
        wanted.push(answer(&mut plain, options));
        let draft = DraftConfig { most: 1 + i % 5, adaptive: i % 3 == 0 };
        let mut drafting = chat(&model, draft, tools);
        let text = plain.session().tokens().to_vec();
        drafting.session_mut().set_drafts(script(&text, 0.8, 3)).expect("room");
        chats.push(drafting);
    }
    let options = ways.iter().map(|(_, options, _)| options.clone());
    let begin = |(chat, options)| Answer::begin(chat, &model, options).expect("an answer");
    let mut answers: Vec<_> = chats.iter_mut().zip(options).map(begin).collect();
    let mut events = vec![Vec::new(); answers.len()];
    while answers.iter().any(|answer| !answer.is_done()) {
        let sessions = chats.iter_mut().zip(&answers).filter(|(_, answer)| !answer.is_done());
        let mut sessions: Vec<_> = sessions.map(|(chat, _)| chat.session_mut()).collect();
        carat::evaluate(&mut sessions, &Cancel::new()).expect("a pass");
        for ((answer, chat), events) in answers.iter_mut().zip(&mut chats).zip(&mut events) {
            answer.advance(chat.session_mut()).expect("a token");
            events.extend(std::iter::from_fn(|| answer.next_event()));
        }
    }
    for (i, (mut events, (wanted, wanted_done))) in events.into_iter().zip(wanted).enumerate() {
        let Some(Event::Done(done)) = events.pop() else { panic!("an end") };
        assert_eq!(events, wanted, "{}", ways[i].0);
        assert_eq!((done.reason, done.usage), (wanted_done.reason, wanted_done.usage));
    }
}
