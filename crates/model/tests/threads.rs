//! No bit depends on the number of threads, nor on how a prompt is cut into chunks.

mod common;

use carat::SessionConfig;
use common::{bits, config, logits, model, tokens};

/// Longer than the window of 8 many times over, and than one block of a full layer (256).
const TOKENS: usize = 300;

#[test]
fn threads_do_not_change_a_bit() {
    let ids = tokens(TOKENS);
    for quant in ["q4_0", "bf16", "f32"] {
        let model = model(quant);
        let with = |threads| logits(&model, SessionConfig { threads, ..config() }, &ids).concat();
        let one = bits(&with(1));
        for threads in [2, 3, 8] {
            assert!(bits(&with(threads)) == one, "{quant}: {threads} threads differ from one");
        }
    }
}

#[test]
fn chunks_do_not_change_a_bit() {
    let ids = tokens(TOKENS);
    for quant in ["q4_0", "bf16", "f32"] {
        let model = model(quant);
        let with = |prefill_chunk| {
            let config = SessionConfig { prefill_chunk, rollback: 0, ..config() };
            logits(&model, config, &ids).concat()
        };
        let whole = bits(&with(TOKENS));
        for chunk in [1, 3, 7, 8, 256] {
            assert!(bits(&with(chunk)) == whole, "{quant}: chunks of {chunk} differ from one");
        }
    }
}
