//! CSV under the column names of llama-bench, so that its readers take our rows, with columns of
//! our own after them.

use crate::Results;
use crate::results::{Kind, Test};
use crate::stats::Samples;
use crate::text::csv_field;

/// A header and a row for each test of each result.
pub fn csv(results: &[Results]) -> String {
    let header: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let mut out = header.join(",") + "\n";
    for result in results {
        for test in &result.tests {
            let fields: Vec<_> =
                COLUMNS.iter().map(|(_, value)| csv_field(&value(result, test))).collect();
            out.push_str(&fields.join(","));
            out.push('\n');
        }
    }
    out
}

type Column = (&'static str, fn(&Results, &Test) -> String);

/// The first 23 are llama-bench's (llama.cpp, `tools/llama-bench`, the fields that all its versions
/// since `n_depth` have and that mean something on a CPU).
const COLUMNS: [Column; 40] = [
    ("build_commit", |r, _| r.commit.clone()),
    ("build_number", |_, _| "0".to_owned()),
    ("cpu_info", |r, _| r.machine.cpu.clone()),
    ("gpu_info", |_, _| String::new()),
    ("backends", |_, _| "CPU".to_owned()),
    ("model_filename", |r, _| r.model.file.clone()),
    ("model_type", |r, _| r.model.name.clone()),
    ("model_size", |r, _| r.model.cost.bytes.to_string()),
    ("model_n_params", |r, _| r.model.cost.parameters.to_string()),
    ("n_batch", |_, t| t.chunk.to_string()),
    ("n_ubatch", |_, t| t.chunk.to_string()),
    ("n_threads", |_, t| t.threads.to_string()),
    ("type_k", |_, t| t.kv.clone()),
    ("type_v", |_, t| t.kv.clone()),
    ("n_gpu_layers", |_, _| "0".to_owned()),
    ("n_prompt", |_, t| t.n_prompt.to_string()),
    ("n_gen", |_, t| t.n_gen.to_string()),
    ("n_depth", |_, t| t.n_depth.to_string()),
    ("test_time", |r, _| r.time.clone()),
    ("avg_ns", |_, t| number(t.time_ns().map(|ns| ns.mean()), 0)),
    ("stddev_ns", |_, t| number(t.time_ns().map(|ns| ns.deviation()), 0)),
    ("avg_ts", |_, t| number(t.speed().map(|speed| speed.mean()), 6)),
    ("stddev_ts", |_, t| number(t.speed().map(|speed| speed.deviation()), 6)),
    ("test", |_, t| kind(t.kind).to_owned()),
    ("engine", |r, _| r.engine.clone()),
    ("version", |r, _| r.version.clone()),
    ("isa", |_, t| t.isa.clone()),
    ("n_samples", |_, t| t.samples_ns.len().to_string()),
    ("median_ts", |_, t| number(t.speed().map(|speed| speed.median()), 6)),
    ("min_ts", |_, t| number(t.speed().map(|speed| speed.min()), 6)),
    ("max_ts", |_, t| number(t.speed().map(|speed| speed.max()), 6)),
    ("roof_read_gb_s", |r, _| number(r.roof.as_ref().map(|roof| roof.read_gb_s), 3)),
    ("roof_int8_gmac_s", |r, t| {
        number(r.roof.as_ref().and_then(|roof| roof.int8(&t.isa)).map(|peak| peak.gmac_s), 3)
    }),
    ("roof_share", |r, t| number(r.read_share(t).or_else(|| r.int8_share(t)), 4)),
    ("joules_per_token", |_, t| number(t.joules_per_token, 4)),
    ("load_ns", |r, _| number(r.load().map(|ns| ns.median()), 0)),
    ("peak_rss", |r, _| r.peak_rss.map_or_else(String::new, |bytes| bytes.to_string())),
    ("notes", |r, _| r.notes.join("; ")),
    ("read_gb_s", |_, t| {
        number(t.memory_gb_s().and_then(Samples::new).map(|gb_s| gb_s.median()), 3)
    }),
    ("cached_load_ns", |r, _| number(r.cached_load().map(|ns| ns.median()), 0)),
];

fn number(x: Option<f64>, decimals: usize) -> String {
    x.map_or_else(String::new, |x| format!("{x:.decimals$}"))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Prefill => "prefill",
        Kind::Decode => "decode",
        Kind::Verify => "verify",
        Kind::Image => "image",
        Kind::Audio => "audio",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn the_columns_are_those_of_llama_bench_and_then_ours() {
        let text = csv(&[results()]);
        let header = text.lines().next().expect("a header");
        assert!(header.starts_with(
            "build_commit,build_number,cpu_info,gpu_info,backends,model_filename,model_type,\
             model_size,model_n_params,n_batch,n_ubatch,n_threads,type_k,type_v,n_gpu_layers,\
             n_prompt,n_gen,n_depth,test_time,avg_ns,stddev_ns,avg_ts,stddev_ts,test,engine,"
        ));
    }

    #[test]
    fn a_row_has_a_value_for_every_column() {
        let mut first = Results { cached_load_ns: vec![140_000_000], ..results() };
        first.tests[1].readings_gb_s = vec![[4.0, 6.0], [20.0, 12.0], [9.0, 11.0]];
        let text = csv(&[first, results()]);
        assert_eq!(text.lines().count(), 1 + 2 * results().tests.len());
        let decode = text.lines().nth(2).expect("the second test");
        // Mean of 2, 1 and 4 s; the deviation is that of n − 1; speeds are 4, 8 and 2 tokens/s,
        // and as many GB/s of 5, 16 and 10: 80 %, 50 % and 20 %.
        let wanted = "\"abc\",\"0\",\"Fast & <Cheap>\",\"\",\"CPU\",\"a<b>.gguf\",\
            \"gemma4 2.0B Q4_0\",\"1000000000\",\"2000000000\",\"256\",\"256\",\"2\",\"f16\",\
            \"f16\",\"0\",\"0\",\"8\",\"0\",\"2026-01-31T12:00:00Z\",\"2333333333\",\
            \"1527525232\",\"4.666667\",\"3.055050\",\"decode\",\"carat\",\"0.1.0\",\"avx2\",\
            \"3\",\"4.000000\",\"2.000000\",\"8.000000\",\"10.000\",\"200.000\",\"0.5000\",\"\",\
            \"1500000000\",\"1073741824\",\"a note\",\"10.000\",\"140000000\"";
        assert_eq!(decode, wanted);
    }
}
