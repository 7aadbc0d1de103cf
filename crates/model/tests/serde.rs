//! Settings and results in JSON.

use std::time::Duration;

use carat::audio::{DecodeOptions, LongClip};
use carat::video::VideoConfig;
use carat::vision::Budget;
use carat::{Isa, KvType, Progress, SamplerConfig, SessionConfig, Stop};
use serde_json::{from_value, json, to_value};

#[test]
fn settings_are_read_and_what_is_left_out_is_the_default() {
    let found: SessionConfig =
        from_value(json!({ "context": 4096, "kv": "q8", "isa": "scalar" })).expect("settings");
    let isa = Isa::scalar();
    let wanted = SessionConfig { context: 4096, kv: KvType::Q8, isa, ..Default::default() };
    assert_eq!(found, wanted);

    let found: SamplerConfig = from_value(json!({ "temperature": 0.5, "seed": 7 })).expect("one");
    assert_eq!(found, SamplerConfig { temperature: 0.5, seed: 7, ..Default::default() });

    let film =
        json!({ "budget": 140, "ffmpeg": "/opt/ffmpeg", "patience": { "secs": 9, "nanos": 0 } });
    let film: VideoConfig = from_value(film).expect("settings");
    assert_eq!((film.budget.tokens(), film.frames_max), (140, 32));
    assert_eq!(
        (film.ffmpeg.to_str(), film.patience),
        (Some("/opt/ffmpeg"), Duration::from_secs(9))
    );

    assert_eq!(from_value::<DecodeOptions>(json!({})).expect("none"), DecodeOptions::default());
    assert_eq!(from_value::<LongClip>(json!("refuse")).expect("a word"), LongClip::Refuse);
}

#[test]
fn settings_come_back_as_they_were() {
    let session = SessionConfig { threads: 3, kv: KvType::F32, ..Default::default() };
    let json = to_value(&session).expect("JSON");
    assert_eq!(json["isa"], Isa::best().name());
    assert_eq!(from_value::<SessionConfig>(json).expect("settings"), session);
    let sampler = SamplerConfig { top_k: 5, ..SamplerConfig::gemma() };
    let json = to_value(&sampler).expect("JSON");
    assert_eq!(from_value::<SamplerConfig>(json).expect("settings"), sampler);
    for budget in Budget::ALL {
        let json = to_value(budget).expect("JSON");
        assert_eq!(json, budget.tokens());
        assert_eq!(from_value::<Budget>(json).expect("a budget"), budget);
    }
}

#[test]
fn what_no_setting_can_be_is_refused_by_name() {
    let refused = |json, part| {
        let text = from_value::<SessionConfig>(json).expect_err(part).to_string();
        assert!(text.contains(part), "{text}");
    };
    refused(json!({ "contex": 4096 }), "`contex`");
    refused(json!({ "kv": "q9" }), "`q9`");
    refused(json!({ "isa": "mmx" }), "no instruction set \"mmx\": choose one of scalar");
    refused(json!({ "threads": -1 }), "-1");
    let text = from_value::<Budget>(json!(100)).expect_err("no budget").to_string();
    assert!(text.contains("100 tokens does not exist"), "{text}");
}

#[test]
fn results_are_written() {
    assert_eq!(to_value(Stop::ContextFull).unwrap(), json!("context_full"));
    assert_eq!(to_value(Stop::EndOfGeneration(106)).unwrap(), json!({ "end_of_generation": 106 }));
    let progress = Progress { done: 3, total: 8 };
    assert_eq!(to_value(progress).unwrap(), json!({ "done": 3, "total": 8 }));

    let kit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-s");
    let model = carat::Model::open(kit.join("text-q4_0.gguf")).expect("a model");
    let config = to_value(model.config()).unwrap();
    assert_eq!((&config["architecture"], &config["hidden"]), (&json!("gemma4"), &json!(64)));
    assert_eq!(config["layers"].as_array().map(Vec::len), Some(model.config().layers.len()));
    let identity = model.identity().expect("an identity");
    assert_eq!(to_value(identity).unwrap(), json!(identity.to_string()));
}
