//! Models of any shape with random weights, as the naive pass and as the engine has them.

use carat::Model;
use carat_gguf::{Endian, Gguf, Source, TensorType, Writer};
use carat_kernels::{Format, quantize};

use super::{Kind, Naive, Shape, experts};
use crate::common::file;

/// The context that every made model claims.
const CONTEXT: u32 = 65536;

/// A model of this shape with random weights, as the naive pass and as the engine has it.
pub(crate) fn made(shape: &Shape) -> (Naive, Model) {
    made_in(shape, Dialect::LlamaCpp)
}

/// Whose converter wrote a file of Gemma 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    LlamaCpp,
    Ollama,
}

/// [`made`] as another converter writes it.
pub(crate) fn made_in(shape: &Shape, dialect: Dialect) -> (Naive, Model) {
    let bytes = write(shape, dialect);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, &bytes).expect("a file");
    let naive = Naive::new(shape.clone(), &Gguf::parse(&bytes).expect("a file"));
    (naive, Model::open(path).expect("a model"))
}

/// The file of a model of this shape with random weights, the same ones every time.
pub(crate) fn bytes(shape: &Shape) -> Vec<u8> {
    write(shape, Dialect::LlamaCpp)
}

/// The metadata of a model of this shape, with the tokeniser of tiny-s.
fn metadata(shape: &Shape, dialect: Dialect) -> Writer<'static> {
    let source = Source::open(&file("f32")).expect("tiny-s");
    let tiny_s = source.parse().expect("tiny-s parses");
    let name = if shape.gemma4 { "gemma4" } else { "gemma3" };
    let key = |key: &str| format!("{name}.{key}");
    let u32 = |n: usize| u32::try_from(n).expect("a small number");
    let [sliding, full] = shape.kinds;
    let layers = shape.sliding.len();
    let mut w = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", name)
        .metadata(key("block_count"), u32(layers))
        .metadata(key("context_length"), CONTEXT)
        .metadata(key("embedding_length"), u32(shape.hidden))
        .metadata(key("feed_forward_length"), shape.ffn.iter().map(|n| u32(*n)).collect::<Vec<_>>())
        .metadata(key("attention.head_count"), u32(shape.heads))
        .metadata(
            key("attention.head_count_kv"),
            (0..layers).map(|i| u32(shape.kind(i).kv_heads)).collect::<Vec<_>>(),
        )
        .metadata(key("attention.key_length"), u32(full.head_dim))
        .metadata(key("attention.value_length"), u32(full.head_dim))
        .metadata(key("attention.sliding_window"), u32(shape.window));
    if dialect == Dialect::LlamaCpp {
        w = w
            .metadata(key("attention.layer_norm_rms_epsilon"), 1e-6f32)
            .metadata(key("rope.freq_base"), full.base as f32);
    } else {
        w = w
            .metadata(key("mm.tokens_per_image"), 256u32)
            .metadata(key("vision.block_count"), 27u32)
            .tensor("v.patch_embedding.weight", TensorType::F32, &[4, 2], vec![0; 32])
            .tensor("mm.mm_input_projection.weight", TensorType::F32, &[4, 2], vec![0; 32]);
    }
    if shape.gemma4 {
        w = w
            .metadata(key("attention.key_length_swa"), u32(sliding.head_dim))
            .metadata(key("attention.value_length_swa"), u32(sliding.head_dim))
            .metadata(key("attention.sliding_window_pattern"), shape.sliding.clone())
            .metadata(key("attention.shared_kv_layers"), u32(shape.shared))
            .metadata(key("embedding_length_per_layer_input"), u32(shape.per_layer))
            .metadata(key("rope.freq_base_swa"), sliding.base as f32)
            .metadata(key("rope.dimension_count"), u32(full.head_dim))
            .metadata(key("rope.dimension_count_swa"), u32(sliding.head_dim))
            .metadata(key("final_logit_softcapping"), shape.cap as f32);
        if let Some(moe) = shape.experts {
            w = w
                .metadata(key("expert_count"), u32(moe.count))
                .metadata(key("expert_used_count"), u32(moe.used))
                .metadata(key("expert_feed_forward_length"), u32(moe.width));
        }
    } else if dialect == Dialect::LlamaCpp {
        w = w
            .metadata(key("rope.scaling.type"), "linear")
            .metadata(key("rope.scaling.factor"), shape.scaling as f32);
    }
    vocabulary(w, &tiny_s, dialect)
}

/// The vocabulary of tiny-s; Ollama's converter adds a token for pictures that has no row.
pub(super) fn vocabulary(
    mut w: Writer<'static>,
    tiny_s: &Gguf<'_>,
    dialect: Dialect,
) -> Writer<'static> {
    for (key, value) in tiny_s.metadata().iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        let metadata = tiny_s.metadata();
        w = match key {
            _ if dialect == Dialect::LlamaCpp => w.metadata(key, *value),
            "tokenizer.ggml.tokens" => {
                let tokens = metadata.strings(key).expect("tokens");
                w.metadata(key, tokens.chain(["<image_soft_token>"]).collect::<Vec<_>>())
            }
            "tokenizer.ggml.token_type" => {
                let types = metadata.ints(key).expect("types").map(|t| t as i32);
                w.metadata(key, types.chain([4]).collect::<Vec<_>>())
            }
            "tokenizer.ggml.scores" => {
                let scores = metadata.floats(key).expect("scores").map(|s| s as f32);
                w.metadata(key, scores.chain([0.0]).collect::<Vec<_>>())
            }
            _ => w.metadata(key, *value),
        };
    }
    w
}

fn write(shape: &Shape, dialect: Dialect) -> Vec<u8> {
    let mut w = metadata(shape, dialect);
    let full = shape.kinds[1];
    let layers = shape.sliding.len();
    let mut random = Random(1);
    let vocab = 512;
    w = matrix(w, &mut random, shape.format, "token_embd.weight", shape.hidden, vocab);
    w = vector(w, &mut random, "output_norm.weight", shape.hidden);
    if shape.per_layer > 0 {
        let (len, all) = (shape.per_layer, shape.per_layer * layers);
        for (name, cols, rows) in
            [("per_layer_token_embd", all, vocab), ("per_layer_model_proj", shape.hidden, all)]
        {
            let name = format!("{name}.weight");
            w = matrix(w, &mut random, shape.format, &name, cols, rows);
        }
        w = vector(w, &mut random, "per_layer_proj_norm.weight", len);
    }
    if shape.gemma4 {
        w = divisors(w, full);
    }
    for i in 0..layers {
        let kind = shape.kind(i);
        let (q, k) = (shape.heads * kind.head_dim, kind.kv_heads * kind.head_dim);
        let hidden = shape.hidden;
        let own_k = i < shape.own();
        let own_v = own_k && (shape.sliding[i] || !shape.share_k);
        let step = if shape.per_layer > 0 { hidden } else { 0 };
        for (name, cols, rows) in [
            ("attn_q", hidden, q),
            ("attn_k", hidden, if own_k { k } else { 0 }),
            ("attn_v", hidden, if own_v { k } else { 0 }),
            ("inp_gate", hidden, shape.per_layer),
            ("proj", shape.per_layer, step),
            ("attn_output", q, hidden),
            ("ffn_gate", hidden, shape.ffn[i]),
            ("ffn_up", hidden, shape.ffn[i]),
            ("ffn_down", shape.ffn[i], hidden),
        ] {
            if rows > 0 {
                let name = format!("blk.{i}.{name}.weight");
                w = matrix(w, &mut random, shape.format, &name, cols, rows);
            }
        }
        let norms = ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"];
        let mut vectors: Vec<_> = norms.map(|name| (name, hidden)).into();
        vectors.push(("attn_q_norm", kind.head_dim));
        vectors.extend(own_k.then_some(("attn_k_norm", kind.head_dim)));
        vectors.extend((step > 0).then_some(("post_norm", hidden)));
        vectors.extend(shape.gemma4.then_some(("layer_output_scale", 1)));
        for (name, len) in vectors {
            w = vector(w, &mut random, &format!("blk.{i}.{name}.weight"), len);
        }
        if let Some(moe) = shape.experts {
            w = experts::write(w, &mut random, shape.format, (i, hidden), moe);
        }
    }
    w.to_bytes().expect("a file")
}

/// The divisors of RoPE frequencies: only the pairs that turn have a divisor of 1.
pub(super) fn divisors(w: Writer<'_>, full: Kind) -> Writer<'_> {
    let divisor = |i| if i < full.pairs { 1.0f32 } else { 1e30 };
    let values: Vec<u8> = (0..full.head_dim / 2).flat_map(|i| divisor(i).to_le_bytes()).collect();
    w.tensor("rope_freqs.weight", TensorType::F32, &[full.head_dim as u64 / 2], values)
}

pub(super) fn matrix<'a>(
    w: Writer<'a>,
    random: &mut Random,
    format: Format,
    name: &str,
    cols: usize,
    rows: usize,
) -> Writer<'a> {
    matrices(w, random, format, name, [cols, rows])
}

/// A tensor of these dimensions, of which the first is the length of a row.
pub(super) fn matrices<'a, const N: usize>(
    w: Writer<'a>,
    random: &mut Random,
    format: Format,
    name: &str,
    dims: [usize; N],
) -> Writer<'a> {
    let (cols, rows) = (dims[0], dims[1..].iter().product::<usize>());
    let scale = 2.0 / (cols as f32).sqrt();
    let values: Vec<f32> = (0..rows * cols).map(|_| scale * random.next()).collect();
    let mut bytes = vec![0; rows * format.row_bytes(cols)];
    quantize(format, &values, &mut bytes);
    let kind = TensorType::from_name(format.name()).expect("a ggml type");
    w.tensor(name, kind, &dims.map(|n| n as u64), bytes)
}

pub(super) fn vector<'a>(w: Writer<'a>, random: &mut Random, name: &str, len: usize) -> Writer<'a> {
    let values: Vec<u8> =
        (0..len).flat_map(|_| (1.0 + 0.5 * random.next()).to_le_bytes()).collect();
    w.tensor(name, TensorType::F32, &[len as u64], values)
}

/// Uniform in -1 to 1 (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
