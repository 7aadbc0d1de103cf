//! Small files of every kind of model, as their converters write them. The data of their tensors
//! are zeros: targets make other ones.

use carat_gguf::{Endian, TensorType, Writer};

/// A file to which keys and tensors are added.
struct File {
    writer: Writer<'static>,
    prefix: &'static str,
    format: TensorType,
}

impl File {
    fn new(architecture: &'static str, prefix: &'static str, format: TensorType) -> Self {
        let writer = Writer::new(Endian::Little, 3).metadata("general.architecture", architecture);
        Self { writer, prefix, format }
    }

    fn u32s(mut self, keys: &[(&str, u32)]) -> Self {
        for (key, value) in keys {
            self.writer = self.writer.metadata(format!("{}.{key}", self.prefix), *value);
        }
        self
    }

    fn f32s(mut self, keys: &[(&str, f32)]) -> Self {
        for (key, value) in keys {
            self.writer = self.writer.metadata(format!("{}.{key}", self.prefix), *value);
        }
        self
    }

    fn tensor(mut self, name: &str, format: TensorType, dims: &[u64]) -> Self {
        let rows: u64 = dims[1..].iter().product();
        let bytes = dims[0] / format.block_weights() * format.block_bytes() * rows;
        let data = vec![0; bytes as usize];
        self.writer = self.writer.tensor(format!("{name}.weight"), format, dims, data);
        self
    }

    /// Vectors, which are F32 in every file.
    fn vectors(self, names: &[(&str, u64)]) -> Self {
        names.iter().fold(self, |file, (name, n)| file.tensor(name, TensorType::F32, &[*n]))
    }

    /// Matrices of the file's format, `[columns, rows]`.
    fn matrices(self, names: &[(&str, u64, u64)]) -> Self {
        let format = self.format;
        names
            .iter()
            .fold(self, |file, (name, cols, rows)| file.tensor(name, format, &[*cols, *rows]))
    }

    /// Twenty tokens of every type, with scores and merges.
    fn vocabulary(mut self, model: &str) -> Self {
        let tokens = [
            "<pad>",
            "<eos>",
            "<bos>",
            "<unk>",
            "<|turn>",
            "<turn|>",
            "<0x0A>",
            "\u{2581}",
            "a",
            "b",
            "c",
            "ab",
            "abc",
            "\u{2581}a",
            "\n\n",
            "<|tool_call>",
            "<tool_call|>",
            "e",
            "f",
            "ef",
        ];
        let types = [3, 3, 3, 2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 4, 4, 4, 1, 1, 1];
        let scores: Vec<f32> = (0..tokens.len()).map(|i| -(i as f32)).collect();
        self.writer = self
            .writer
            .metadata("tokenizer.ggml.model", model)
            .metadata("tokenizer.ggml.tokens", tokens.to_vec())
            .metadata("tokenizer.ggml.token_type", types.to_vec())
            .metadata("tokenizer.ggml.scores", scores)
            .metadata("tokenizer.ggml.merges", vec!["a b", "ab c", "e f"])
            .metadata("tokenizer.ggml.bos_token_id", 2u32)
            .metadata("tokenizer.ggml.eos_token_id", 1u32)
            .metadata("tokenizer.ggml.unknown_token_id", 3u32)
            .metadata("tokenizer.chat_template", "{{ messages[0].content }}");
        self
    }

    fn sliding(mut self, sliding: &[bool]) -> Self {
        let key = format!("{}.attention.sliding_window_pattern", self.prefix);
        self.writer = self.writer.metadata(key, sliding.to_vec());
        self
    }
}

/// What differs between the models of the family.
struct Shape {
    format: TensorType,
    /// Layers that read the keys and values of earlier ones.
    shared: usize,
    /// Values that each layer has for a token.
    per_layer: u64,
    /// Experts, and how many a token is sent through.
    experts: Option<(u64, u64)>,
}

/// A 12B, an E series, two mixtures of experts and a Gemma 3.
pub(crate) fn models() -> Vec<Writer<'static>> {
    let plain = Shape { format: TensorType::Q4_0, shared: 0, per_layer: 0, experts: None };
    let kinds = [
        Shape { ..plain },
        Shape { format: TensorType::Q8_0, shared: 1, per_layer: 32, ..plain },
        Shape { format: TensorType::F32, shared: 1, per_layer: 32, ..plain },
        Shape { experts: Some((4, 2)), ..plain },
    ];
    let mut all: Vec<_> = kinds.iter().map(gemma4).collect();
    all.push(gemma3());
    all
}

fn gemma4(shape: &Shape) -> Writer<'static> {
    let sliding = [true, false, true];
    let layers = sliding.len() as u64;
    let mut file = File::new("gemma4", "gemma4", shape.format)
        .u32s(&[
            ("block_count", layers as u32),
            ("context_length", 4096),
            ("embedding_length", WIDTH as u32),
            ("feed_forward_length", FFN as u32),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
            ("attention.key_length", 32),
            ("attention.value_length", 32),
            ("attention.key_length_swa", 16),
            ("attention.value_length_swa", 16),
            ("attention.sliding_window", 8),
            ("attention.shared_kv_layers", shape.shared as u32),
            ("embedding_length_per_layer_input", shape.per_layer as u32),
            ("rope.dimension_count", 32),
            ("rope.dimension_count_swa", 16),
        ])
        .f32s(&[
            ("attention.layer_norm_rms_epsilon", 1e-6),
            ("rope.freq_base", 1e6),
            ("rope.freq_base_swa", 1e4),
            ("final_logit_softcapping", 30.0),
        ])
        .sliding(&sliding);
    if let Some((count, used)) = shape.experts {
        file = file.u32s(&[
            ("expert_count", count as u32),
            ("expert_used_count", used as u32),
            ("expert_feed_forward_length", 32),
        ]);
    }
    file = file
        .vocabulary("gemma4")
        .matrices(&[("token_embd", WIDTH, VOCAB)])
        .vectors(&[("output_norm", WIDTH), ("rope_freqs", 16)]);
    if shape.per_layer > 0 {
        let all = shape.per_layer * layers;
        file = file
            .matrices(&[("per_layer_token_embd", all, VOCAB), ("per_layer_model_proj", WIDTH, all)])
            .vectors(&[("per_layer_proj_norm", shape.per_layer)]);
    }
    for (i, sliding) in sliding.into_iter().enumerate() {
        file = layer(file, shape, i, sliding);
    }
    file.writer
}

fn layer(mut file: File, shape: &Shape, i: usize, sliding: bool) -> File {
    let name = |part: &str| format!("blk.{i}.{part}");
    let head = if sliding { 16 } else { 32 };
    file = file
        .matrices(&[(&name("attn_q"), WIDTH, 2 * head), (&name("attn_output"), 2 * head, WIDTH)]);
    if i < 3 - shape.shared {
        file = file
            .matrices(&[(&name("attn_k"), WIDTH, head), (&name("attn_v"), WIDTH, head)])
            .vectors(&[(&name("attn_k_norm"), head)]);
    }
    file = file
        .matrices(&[
            (&name("ffn_gate"), WIDTH, FFN),
            (&name("ffn_up"), WIDTH, FFN),
            (&name("ffn_down"), FFN, WIDTH),
        ])
        .vectors(&[(&name("attn_q_norm"), head), (&name("layer_output_scale"), 1)]);
    for norm in ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"] {
        file = file.vectors(&[(&name(norm), WIDTH)]);
    }
    if shape.per_layer > 0 {
        file = file
            .matrices(&[
                (&name("inp_gate"), WIDTH, shape.per_layer),
                (&name("proj"), shape.per_layer, WIDTH),
            ])
            .vectors(&[(&name("post_norm"), WIDTH)]);
    }
    let Some((count, _)) = shape.experts else { return file };
    let format = shape.format;
    file = file
        .tensor(&name("ffn_gate_up_exps"), format, &[WIDTH, 64, count])
        .tensor(&name("ffn_down_exps"), format, &[32, WIDTH, count])
        .tensor(&name("ffn_gate_inp"), TensorType::F32, &[WIDTH, count]);
    for norm in ["pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"] {
        file = file.vectors(&[(&name(norm), WIDTH)]);
    }
    for (part, n) in [("ffn_gate_inp.scale", WIDTH), ("ffn_down_exps.scale", count)] {
        let data = vec![0; 4 * n as usize];
        file.writer = file.writer.tensor(name(part), TensorType::F32, &[n], data);
    }
    file
}

fn gemma3() -> Writer<'static> {
    let mut file = File::new("gemma3", "gemma3", TensorType::BF16)
        .u32s(&[
            ("block_count", 2),
            ("context_length", 4096),
            ("embedding_length", WIDTH as u32),
            ("feed_forward_length", FFN as u32),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
            ("attention.key_length", 16),
            ("attention.value_length", 16),
            ("attention.sliding_window", 8),
        ])
        .f32s(&[("attention.layer_norm_rms_epsilon", 1e-6), ("rope.freq_base", 1e6)])
        .vocabulary("llama")
        .matrices(&[("token_embd", WIDTH, VOCAB)])
        .vectors(&[("output_norm", WIDTH)]);
    for i in 0..2 {
        let name = |part: &str| format!("blk.{i}.{part}");
        file = file.matrices(&[
            (&name("attn_q"), WIDTH, 32),
            (&name("attn_k"), WIDTH, 16),
            (&name("attn_v"), WIDTH, 16),
            (&name("attn_output"), 32, WIDTH),
            (&name("ffn_gate"), WIDTH, FFN),
            (&name("ffn_up"), WIDTH, FFN),
            (&name("ffn_down"), FFN, WIDTH),
        ]);
        file = file.vectors(&[(&name("attn_q_norm"), 16), (&name("attn_k_norm"), 16)]);
        for norm in ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"] {
            file = file.vectors(&[(&name(norm), WIDTH)]);
        }
    }
    file.writer
}

/// A unified projector, and one whose two senses have encoders, for the kit's model.
pub(crate) fn projectors() -> Vec<Writer<'static>> {
    vec![unified(), towers()]
}

fn unified() -> Writer<'static> {
    let (patch, length) = (48 * 48 * 3, 32);
    let mut file =
        File::new("clip", "clip", TensorType::Q4_0).u32s(&[("vision.patch_size", 16)]).f32s(&[
            ("vision.attention.layer_norm_epsilon", 1e-6),
            ("audio.attention.layer_norm_epsilon", 1e-6),
        ]);
    file.writer = file
        .writer
        .metadata("clip.has_vision_encoder", true)
        .metadata("clip.has_audio_encoder", true)
        .metadata("clip.vision.projector_type", "gemma4uv")
        .metadata("clip.audio.projector_type", "gemma4ua");
    file = file
        .matrices(&[
            ("v.patch_embd", patch, length),
            ("mm.input_projection", length, KIT_WIDTH),
            ("mm.a.input_projection", 640, KIT_WIDTH),
        ])
        .tensor("v.position_embd", TensorType::F32, &[length, 8, 2]);
    for (i, n) in [(1, patch), (2, length), (3, length)] {
        file = file.vectors(&[(&format!("v.patch_norm.{i}"), n)]);
        file = file.bias(&format!("v.patch_norm.{i}"), n);
    }
    file.bias("v.patch_embd", length).writer
}

impl File {
    fn bias(mut self, name: &str, n: u64) -> Self {
        let data = vec![0; 4 * n as usize];
        self.writer = self.writer.tensor(format!("{name}.bias"), TensorType::F32, &[n], data);
        self
    }
}

fn towers() -> Writer<'static> {
    let (length, ffn) = (32, 64);
    let mut file = File::new("clip", "clip.vision", TensorType::Q8_0);
    file.writer = file
        .writer
        .metadata("clip.has_vision_encoder", true)
        .metadata("clip.has_audio_encoder", true)
        .metadata("clip.vision.projector_type", "gemma4v")
        .metadata("clip.audio.projector_type", "gemma4a");
    file = file
        .u32s(&[
            ("patch_size", 16),
            ("embedding_length", length as u32),
            ("feed_forward_length", ffn as u32),
            ("block_count", 1),
            ("attention.head_count", 2),
        ])
        .f32s(&[("attention.layer_norm_epsilon", 1e-6)])
        .tensor("v.patch_embd", TensorType::F32, &[16, 16, 3, length])
        .tensor("v.position_embd", TensorType::F32, &[length, 8, 2]);
    for norm in ["ln1", "ln2", "attn_post_norm", "ffn_post_norm"] {
        file = file.vectors(&[(&format!("v.blk.0.{norm}"), length)]);
    }
    file = file
        .vectors(&[("v.blk.0.attn_q_norm", length / 2), ("v.blk.0.attn_k_norm", length / 2)])
        .matrices(&[
            ("v.blk.0.attn_q", length, length),
            ("v.blk.0.attn_k", length, length),
            ("v.blk.0.attn_v", length, length),
            ("v.blk.0.attn_out", length, length),
            ("v.blk.0.ffn_gate", length, ffn),
            ("v.blk.0.ffn_up", length, ffn),
            ("v.blk.0.ffn_down", ffn, length),
            ("mm.input_projection", length, KIT_WIDTH),
        ]);
    conformer(file).writer
}

/// Adds an encoder of sound.
fn conformer(mut file: File) -> File {
    let (width, ffn, output) = (32, 64, 32);
    file.prefix = "clip.audio";
    file = file
        .u32s(&[
            ("embedding_length", width as u32),
            ("feed_forward_length", ffn as u32),
            ("block_count", 1),
            ("attention.head_count", 2),
            ("num_mel_bins", 8),
            ("projection_dim", KIT_WIDTH as u32),
        ])
        .f32s(&[("attention.layer_norm_epsilon", 1e-5)])
        .tensor("a.conv1d.0", TensorType::F32, &[3, 3, 1, 4])
        .vectors(&[("a.conv1d.0.norm", 4), ("a.conv1d.1.norm", 16)])
        .tensor("a.conv1d.1", TensorType::F32, &[3, 3, 4, 16])
        .matrices(&[
            ("a.input_projection", 32, width),
            ("a.pre_encode.out", width, output),
            ("mm.a.input_projection", output, KIT_WIDTH),
        ])
        .bias("a.pre_encode.out", output);
    let norms = [
        "ffn_norm",
        "ffn_post_norm",
        "ffn_norm_1",
        "ffn_post_norm_1",
        "attn_pre_norm",
        "attn_post_norm",
        "conv_norm",
        "norm_conv",
        "ln2",
    ];
    for norm in norms {
        file = file.vectors(&[(&format!("a.blk.0.{norm}"), width)]);
    }
    let name = |part: &str| format!("a.blk.0.{part}");
    for part in ["attn_q", "attn_k", "attn_v", "attn_out", "conv_pw2", "attn_k_rel"] {
        file = file.matrices(&[(&name(part), width, width)]);
    }
    for suffix in ["", "_1"] {
        file = file.matrices(&[
            (&name(&format!("ffn_up{suffix}")), width, ffn),
            (&name(&format!("ffn_down{suffix}")), ffn, width),
        ]);
    }
    file.vectors(&[(&name("per_dim_scale"), width / 2)])
        .matrices(&[(&name("conv_pw1"), width, 2 * width)])
        .tensor(&name("conv_dw"), TensorType::F32, &[5, width])
}

/// Values of a row, of a feed-forward network, and tokens.
const WIDTH: u64 = 32;
const FFN: u64 = 64;
const VOCAB: u64 = 20;

/// Values of a row of the kit's model.
const KIT_WIDTH: u64 = 64;
