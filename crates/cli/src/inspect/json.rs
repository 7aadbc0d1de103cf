//! The report for programs. Sizes are bytes.

use carat::Memory;
use carat_gguf::{Array, Endian, Value as Gguf};
use serde_json::{Map, Value, json};

use super::{Fit, Machine, PROGRAM_BYTES, Report, SessionNeeds, Sum};

pub(super) fn report(report: &Report<'_>) -> Value {
    let gguf = report.gguf;
    let paths = report.source.paths().iter().map(|p| p.to_string_lossy());
    let metadata: Map<_, _> =
        gguf.metadata().iter().map(|(key, v)| (key.to_owned(), value(v))).collect();
    let types: Map<_, _> =
        report.types.iter().map(|t| (t.tensor_type.name().to_owned(), sum(t.sum))).collect();
    let tensors = gguf.tensors().iter().map(|t| {
        json!({
            "name": t.name,
            "type": t.tensor_type.name(),
            "shape": &t.shape[..],
            "bytes": t.data.len(),
            "offset": t.offset,
            "part": t.part,
        })
    });
    let (projector, projectors_beside) = report.senses.json();
    let (drafter, drafters_beside) = report.drafting.json();
    json!({
        "files": paths.collect::<Vec<_>>(),
        "bytes": report.source.bytes_total(),
        "version": gguf.version(),
        "endian": if gguf.endian() == Endian::Little { "little" } else { "big" },
        "alignment": gguf.alignment(),
        "metadata": metadata,
        "total": sum(report.total),
        "tensors_by_type": types,
        "tensors": tensors.collect::<Vec<_>>(),
        "session": match &report.session {
            Ok(needs) => session(needs, report.machine.as_ref()),
            Err(e) => json!({ "possible": false, "reason": crate::sentence(e) }),
        },
        "projector": projector,
        "projectors_beside": projectors_beside,
        "drafter": drafter,
        "drafters_beside": drafters_beside,
        "machine": report.machine.as_ref().map(|machine| {
            json!({ "bytes": machine.total, "free_bytes": machine.available })
        }),
    })
}

fn sum(sum: Sum) -> Value {
    json!({ "tensors": sum.tensors, "parameters": sum.parameters, "bytes": sum.bytes })
}

fn session(needs: &SessionNeeds, machine: Option<&Machine>) -> Value {
    let paged = machine.and_then(|machine| machine.paging(&needs.text));
    let fits = |total| {
        machine.map(|machine| match machine.fit(total) {
            Fit::Now => "now",
            Fit::NotNow(_) => "not now",
            Fit::Never(_) => "never",
        })
    };
    let Memory { weights, experts, experts_of_token, tokenizer, kv, scratch, on_disk, .. } =
        needs.text;
    let media = needs.media.as_ref().map(|media| match media {
        Ok(memory) => json!({
            "projector_bytes": memory.projector,
            "scratch_bytes": memory.scratch,
            "total_bytes": SessionNeeds::total(memory),
            "fits": fits(SessionNeeds::total(memory)),
        }),
        Err(e) => json!({ "reason": crate::sentence(e) }),
    });
    let drafts = needs.drafts.as_ref().map(|drafts| match drafts {
        Ok(memory) => json!({
            "drafter_bytes": memory.drafter,
            "scratch_bytes": memory.scratch,
            "total_bytes": SessionNeeds::total(memory),
            "fits": fits(SessionNeeds::total(memory)),
        }),
        Err(e) => json!({ "reason": crate::sentence(e) }),
    });
    json!({
        "possible": true,
        "model": needs.model,
        "context": needs.context,
        "kv": needs.kv,
        "weights_bytes": weights,
        "experts_bytes": experts,
        "experts_of_token_bytes": experts_of_token,
        "on_disk_bytes": on_disk,
        "tokenizer_bytes": tokenizer,
        "kv_bytes": kv,
        "scratch_bytes": scratch,
        "program_bytes": PROGRAM_BYTES,
        "total_bytes": SessionNeeds::total(&needs.text),
        "fits": fits(SessionNeeds::total(&needs.text)),
        "paged_experts": paged.map(|paging| json!({
            "kept_bytes": paging.kept,
            "bytes_from_disk_of_token": paging.from_disk,
        })),
        "with_media": media,
        "with_drafts": drafts,
        "ignored_keys": needs.ignored_keys,
        "unread_bytes": needs.unread,
    })
}

/// The value as JSON has it; JSON has no NaN and no infinity, they become null.
fn value(v: &Gguf<'_>) -> Value {
    match *v {
        Gguf::String(v) => v.into(),
        Gguf::Bool(v) => v.into(),
        Gguf::F32(v) => v.into(),
        Gguf::F64(v) => v.into(),
        Gguf::U64(v) => v.into(),
        Gguf::Array(v) => array(v),
        _ => v.as_int().into(),
    }
}

/// A short array as it is; of a long one its type, its length and its first elements.
fn array(array: Array<'_>) -> Value {
    if array.len() <= WHOLE_MAX {
        return first(array, WHOLE_MAX);
    }
    json!({
        "type": array.element_type().to_string(),
        "length": array.len(),
        "first": first(array, FIRST),
    })
}

fn first(array: Array<'_>, n: usize) -> Value {
    if let Some(items) = array.strings() {
        return items.take(n).collect();
    }
    if let Some(items) = array.arrays() {
        return items.take(n).map(self::array).collect();
    }
    if let Some(items) = array.floats() {
        return items.take(n).collect();
    }
    if let Some(items) = array.bools() {
        return items.take(n).collect();
    }
    if let Some(items) = array.ints() {
        return items.take(n).collect();
    }
    array.uints().into_iter().flatten().take(n).collect()
}

/// The longest array that is printed whole: a value for each layer of any model of the family.
const WHOLE_MAX: usize = 128;
/// Elements shown of a longer one.
const FIRST: usize = 8;
