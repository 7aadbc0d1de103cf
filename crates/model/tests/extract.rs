//! Answers that are values of Rust types, whatever random weights would say.

use crate::common::{config, model};
use crate::emulated::emulated;
use carat::{
    AnswerOptions, Chat, ChatConfig, ConversationError, Error, Message, SamplerConfig,
    SessionConfig,
};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[expect(dead_code, reason = "that the fields can be read is the test")]
enum Shape {
    Circle { radius: f32 },
    Square { side: Option<u8> },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that the fields can be read is the test")]
struct Scene {
    #[schemars(length(max = 12))]
    title: String,
    #[schemars(length(max = 2))]
    shapes: Vec<Shape>,
    is_dark: bool,
    #[serde(default)]
    #[schemars(range(min = -5, max = 5))]
    level: i64,
    pair: (u8, bool),
}

#[test]
fn values_come_out_of_random_weights() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let session = SessionConfig { context: 1024, marks: 1, ..config() };
    let (mut whole, mut shapes) = (0, 0);
    for seed in 0..40 {
        let config = ChatConfig { session: session.clone(), ..ChatConfig::default() };
        let mut chat = Chat::new(&model, config).expect("a chat");
        chat.push(Message::user("describe"));
        let sampling = SamplerConfig { temperature: 1.0, seed, ..SamplerConfig::default() };
        let options = AnswerOptions { sampling, ..AnswerOptions::default() };
        match chat.extract::<Scene>(options) {
            Ok(scene) => {
                whole += 1;
                shapes += scene.shapes.len();
                assert!(scene.title.chars().count() <= 12 && scene.shapes.len() <= 2);
                assert!((-5..=5).contains(&scene.level));
            }
            // Numbers and white space may go on to the end of the context.
            Err(Error::Conversation(ConversationError::Unfinished { text, .. })) => {
                assert!(text.len() > 100, "{text}");
            }
            Err(e) => panic!("{seed}: {e}"),
        }
    }
    assert!(whole > 0 && shapes > 0, "{whole} {shapes}");
}

#[test]
fn an_answer_that_is_cut_is_no_value() {
    let model = model("q4_0");
    let mut chat = Chat::new(&model, ChatConfig::default()).expect("a chat");
    chat.push(Message::user("describe"));
    let options = AnswerOptions { max_tokens: Some(5), ..AnswerOptions::default() };
    let error = chat.extract::<Scene>(options).expect_err("five tokens are no scene");
    assert!(matches!(error, Error::Conversation(ConversationError::Unfinished { .. })), "{error}");
}
