//! The shapes of synthetic models: which tensors there are, and how each is stored.

use carat_gguf::TensorType;

/// A model of random weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Gemma 4 12B, shape for shape.
    B12,
    /// Gemma 4 26B-A4B, shape for shape.
    A26,
    /// Gemma 4 E4B, shape for shape.
    E4B,
    /// Gemma 4 E2B, shape for shape.
    E2B,
    /// The same family with 1.2 · 10⁹ weights, for small machines and for CI.
    B1,
}

/// How the matrices are stored.
#[expect(non_camel_case_types, reason = "the names that files have")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Q4_0, the embeddings Q6_K: Google's own files.
    Q4_0,
    /// Q4_K, with Q6_K where llama.cpp's `Q4_K_M` has it.
    Q4_K_M,
    /// Q8_0 throughout.
    Q8_0,
}

/// The numbers of a shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) layers: usize,
    pub(super) hidden: u64,
    pub(super) ffn: u64,
    pub(super) experts: Option<ExpertsShape>,
    pub(super) heads: u64,
    pub(super) kv_heads_sliding: u64,
    pub(super) kv_heads_full: u64,
    pub(super) head_dim_sliding: u64,
    pub(super) head_dim_full: u64,
    pub(super) vocab: u64,
    pub(super) context: u64,
    pub(super) window: u64,
    /// Every so many layers a full one ends a group of them.
    pub(super) period: usize,
    /// Whether full layers have values of their own, and not those of their keys.
    pub(super) full_values: bool,
    /// So many last layers read the keys and values of earlier ones.
    pub(super) shared: usize,
    /// Length of the feed-forward hidden vector of these.
    pub(super) ffn_shared: u64,
    /// Length of the vector that each layer has for a token; 0 for none.
    pub(super) per_layer: u64,
}

/// The experts of each layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpertsShape {
    pub(super) count: u64,
    pub(super) used: u64,
    pub(super) width: u64,
}

/// The numbers of a drafter, beside those of its model.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrafterShape {
    pub(super) layers: usize,
    pub(super) hidden: u64,
    pub(super) ffn: u64,
    pub(super) heads: u64,
}

impl DrafterShape {
    /// All but the last layer slide.
    pub(super) fn is_sliding(i: usize, layers: usize) -> bool {
        i + 1 < layers
    }
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) tensor_type: TensorType,
    /// Fastest first.
    pub(super) dims: Vec<u64>,
    pub(super) fill: Fill,
}

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fill {
    /// Random weights of variance `1 / hidden`: products keep the size of their input.
    Random,
    /// One value: 1 for norms that change nothing and layers that add what they compute.
    All(f32),
    /// 1 for pairs that turn, 1e30 for the other three quarters (proportional RoPE).
    RopeDivisors,
}

impl Fill {
    pub(super) const ONES: Self = Self::All(1.0);

    /// `head_dim^(-1/4)`: query and key together have attention's usual `1 / sqrt(head_dim)`.
    pub(super) fn query_key(head_dim: u64) -> Self {
        Self::All((head_dim as f32).powf(-0.25))
    }
}

impl Size {
    /// `12b`, `26b`, `e4b`, `e2b`, `1b`.
    pub fn name(self) -> &'static str {
        match self {
            Self::B12 => "12b",
            Self::A26 => "26b",
            Self::E4B => "e4b",
            Self::E2B => "e2b",
            Self::B1 => "1b",
        }
    }

    pub(super) fn shape(self) -> Shape {
        // Numbers of the public model configurations of Gemma 4.
        let gemma = Shape {
            layers: 48,
            hidden: 3840,
            ffn: 15_360,
            experts: None,
            heads: 16,
            kv_heads_sliding: 8,
            kv_heads_full: 1,
            head_dim_sliding: 256,
            head_dim_full: 512,
            vocab: 262_144,
            context: 262_144,
            window: 1024,
            period: 6,
            full_values: false,
            shared: 0,
            ffn_shared: 15_360,
            per_layer: 0,
        };
        let e4b = Shape {
            layers: 42,
            hidden: 2560,
            ffn: 10_240,
            heads: 8,
            kv_heads_sliding: 2,
            kv_heads_full: 2,
            context: 131_072,
            window: 512,
            full_values: true,
            shared: 18,
            ffn_shared: 10_240,
            per_layer: 256,
            ..gemma
        };
        match self {
            Self::B12 => gemma,
            Self::A26 => Shape {
                layers: 30,
                hidden: 2816,
                ffn: 2112,
                experts: Some(ExpertsShape { count: 128, used: 8, width: 704 }),
                kv_heads_full: 2,
                ..gemma
            },
            Self::E4B => e4b,
            Self::E2B => Shape {
                layers: 35,
                hidden: 1536,
                ffn: 6144,
                kv_heads_sliding: 1,
                kv_heads_full: 1,
                period: 5,
                shared: 20,
                ffn_shared: 12_288,
                ..e4b
            },
            Self::B1 => Shape {
                layers: 18,
                hidden: 2048,
                ffn: 8192,
                heads: 8,
                kv_heads_sliding: 4,
                vocab: 32_768,
                ..gemma
            },
        }
    }
}

impl Mix {
    /// `q4_0`, `q4_k_m`, `q8_0`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_K_M => "q4_k_m",
            Self::Q8_0 => "q8_0",
        }
    }

    /// `general.file_type` (llama.cpp, `enum llama_ftype`).
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4_K_M => 15,
        }
    }

    fn embedding(self) -> TensorType {
        match self {
            Self::Q4_0 | Self::Q4_K_M => TensorType::Q6_K,
            Self::Q8_0 => TensorType::Q8_0,
        }
    }

    /// `is_sensitive` names the two matrices of which `Q4_K_M` keeps half in six bits: those of the
    /// first and last eighth of the layers and every third between.
    fn matrix(self, is_sensitive: bool, i: usize, layers: usize) -> TensorType {
        let eighth = layers / 8;
        let more = i < eighth || i >= 7 * layers / 8 || (i - eighth) % 3 == 2;
        match self {
            Self::Q4_0 => TensorType::Q4_0,
            Self::Q4_K_M if is_sensitive && more => TensorType::Q6_K,
            Self::Q4_K_M => TensorType::Q4_K,
            Self::Q8_0 => TensorType::Q8_0,
        }
    }
}

impl Shape {
    /// Sliding layers, then a full one, and so on.
    pub(super) fn is_sliding(&self, i: usize) -> bool {
        !(i + 1).is_multiple_of(self.period)
    }

    /// Whether layer `i` has keys and values of its own.
    fn is_own(&self, i: usize) -> bool {
        i < self.layers - self.shared
    }

    /// Length of the feed-forward hidden vector of layer `i`.
    pub(super) fn ffn(&self, i: usize) -> u64 {
        if self.is_own(i) { self.ffn } else { self.ffn_shared }
    }

    /// The numbers of the drafter that goes with this shape: those of Google's for the 12B, which
    /// make the 423 · 10⁶ weights that it is said to have, or half of its widths.
    pub(super) fn drafter(&self) -> DrafterShape {
        let halves = if self.hidden < 3840 { 2 } else { 1 };
        let heads = self.heads;
        DrafterShape { layers: 4, hidden: 1024 / halves, ffn: 8192 / halves, heads }
    }

    /// The tensors of the drafter.
    pub(super) fn drafter_tensors(&self, mix: Mix) -> Vec<Planned> {
        let DrafterShape { layers, hidden, ffn, heads } = self.drafter();
        let mut all = Vec::new();
        let mut add = |name: String, tensor_type, dims: &[u64], fill| {
            all.push(Planned { name, tensor_type, dims: dims.to_vec(), fill });
        };
        let matrix = mix.matrix(false, 0, layers);
        let (pre, post) = ([2 * self.hidden, hidden], [hidden, self.hidden]);
        add("token_embd.weight".to_owned(), mix.embedding(), &[hidden, self.vocab], Fill::Random);
        add("output_norm.weight".to_owned(), TensorType::F32, &[hidden], Fill::ONES);
        add("nextn.pre_projection.weight".to_owned(), matrix, &pre, Fill::Random);
        add("nextn.post_projection.weight".to_owned(), matrix, &post, Fill::Random);
        let pairs = self.head_dim_full / 2;
        add("rope_freqs.weight".to_owned(), TensorType::F32, &[pairs], Fill::RopeDivisors);
        for i in 0..layers {
            let sliding = DrafterShape::is_sliding(i, layers);
            let head_dim = if sliding { self.head_dim_sliding } else { self.head_dim_full };
            let query = heads * head_dim;
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            let dims =
                [[hidden, query], [query, hidden], [hidden, ffn], [hidden, ffn], [ffn, hidden]];
            let parts = ["attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
            for (part, dims) in parts.into_iter().zip(dims) {
                add(name(part), matrix, &dims, Fill::Random);
            }
            let mut vector = |part, length, fill| add(name(part), TensorType::F32, &[length], fill);
            for part in ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"] {
                vector(part, hidden, Fill::ONES);
            }
            vector("attn_q_norm", head_dim, Fill::query_key(head_dim));
            vector("layer_output_scale", 1, Fill::ONES);
        }
        all
    }

    /// All tensors, in the order of the file.
    pub(super) fn tensors(&self, mix: Mix) -> Vec<Planned> {
        let mut all = Vec::new();
        let mut add = |name: String, tensor_type, dims: &[u64], fill| {
            all.push(Planned { name, tensor_type, dims: dims.to_vec(), fill });
        };
        let Self { hidden, per_layer, .. } = *self;
        add("token_embd.weight".to_owned(), mix.embedding(), &[hidden, self.vocab], Fill::Random);
        add("output_norm.weight".to_owned(), TensorType::F32, &[hidden], Fill::ONES);
        if per_layer > 0 {
            // The projection is stored as llama.cpp's converter leaves it.
            let all = per_layer * self.layers as u64;
            let name = |part: &str| format!("per_layer_{part}.weight");
            add(name("token_embd"), mix.embedding(), &[all, self.vocab], Fill::Random);
            add(name("model_proj"), TensorType::BF16, &[hidden, all], Fill::Random);
            add(name("proj_norm"), TensorType::F32, &[per_layer], Fill::ONES);
        }
        let pairs = self.head_dim_full / 2;
        add("rope_freqs.weight".to_owned(), TensorType::F32, &[pairs], Fill::RopeDivisors);
        for i in 0..self.layers {
            let (sliding, own, ffn) = (self.is_sliding(i), self.is_own(i), self.ffn(i));
            let (head_dim, kv_heads) = match sliding {
                true => (self.head_dim_sliding, self.kv_heads_sliding),
                false => (self.head_dim_full, self.kv_heads_full),
            };
            let (query, key) = (self.heads * head_dim, kv_heads * head_dim);
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            let mut matrix = |part, sensitive, dims: [u64; 2]| {
                add(name(part), mix.matrix(sensitive, i, self.layers), &dims, Fill::Random);
            };
            matrix("attn_q", false, [hidden, query]);
            if own {
                matrix("attn_k", false, [hidden, key]);
            }
            if own && (sliding || self.full_values) {
                matrix("attn_v", true, [hidden, key]);
            }
            matrix("attn_output", false, [query, hidden]);
            matrix("ffn_gate", false, [hidden, ffn]);
            matrix("ffn_up", false, [hidden, ffn]);
            matrix("ffn_down", true, [ffn, hidden]);
            if per_layer > 0 {
                matrix("inp_gate", false, [hidden, per_layer]);
                matrix("proj", false, [per_layer, hidden]);
            }
            let mut vector = |part, length, fill| add(name(part), TensorType::F32, &[length], fill);
            if per_layer > 0 {
                vector("post_norm", hidden, Fill::ONES);
            }
            vector("attn_norm", hidden, Fill::ONES);
            vector("post_attention_norm", hidden, Fill::ONES);
            vector("ffn_norm", hidden, Fill::ONES);
            vector("post_ffw_norm", hidden, Fill::ONES);
            vector("attn_q_norm", head_dim, Fill::query_key(head_dim));
            if own {
                vector("attn_k_norm", head_dim, Fill::query_key(head_dim));
            }
            vector("layer_output_scale", 1, Fill::ONES);
            if let Some(experts) = self.experts {
                for tensor in experts.tensors(mix, i, hidden, self.layers) {
                    add(tensor.name, tensor.tensor_type, &tensor.dims, tensor.fill);
                }
            }
        }
        all
    }
}

impl ExpertsShape {
    /// The tensors of the experts of layer `i`. Rows of `width` weights that are no whole blocks of
    /// a K-quant are Q5_0 or Q8_0 in llama.cpp's mixes; those of Q4_0 stay what they are.
    fn tensors(&self, mix: Mix, i: usize, hidden: u64, layers: usize) -> Vec<Planned> {
        let Self { count, width, .. } = *self;
        let planned = |(name, tensor_type, dims, fill): (&str, TensorType, &[u64], Fill)| Planned {
            name: format!("blk.{i}.{name}"),
            tensor_type,
            dims: dims.to_vec(),
            fill,
        };
        let whole = |tensor_type, cols: u64| match tensor_type {
            TensorType::Q6_K if !cols.is_multiple_of(256) => TensorType::Q8_0,
            TensorType::Q4_K if !cols.is_multiple_of(256) => TensorType::Q5_0,
            other => other,
        };
        let gate_up = whole(mix.matrix(false, i, layers), hidden);
        let down = whole(mix.matrix(true, i, layers), width);
        let f32 = TensorType::F32;
        let all: [(&str, TensorType, &[u64], Fill); 8] = [
            ("ffn_gate_inp.weight", f32, &[hidden, count], Fill::Random),
            ("ffn_gate_inp.scale", f32, &[hidden], Fill::ONES),
            ("ffn_gate_up_exps.weight", gate_up, &[hidden, 2 * width, count], Fill::Random),
            ("ffn_down_exps.weight", down, &[width, hidden, count], Fill::Random),
            ("ffn_down_exps.scale", f32, &[count], Fill::ONES),
            ("pre_ffw_norm_2.weight", f32, &[hidden], Fill::ONES),
            ("post_ffw_norm_1.weight", f32, &[hidden], Fill::ONES),
            ("post_ffw_norm_2.weight", f32, &[hidden], Fill::ONES),
        ];
        all.into_iter().map(planned).collect()
    }
}

impl Planned {
    /// Bytes of the tensor.
    pub(super) fn bytes(&self) -> u64 {
        self.tensor_type.bytes_of(self.dims.iter().product()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(tensors: &[Planned], tensor_type: TensorType) -> usize {
        tensors.iter().filter(|t| t.tensor_type == tensor_type).count()
    }

    #[test]
    fn the_12b_is_the_official_file_tensor_for_tensor() {
        let tensors = Size::B12.shape().tensors(Mix::Q4_0);
        let counts = [TensorType::Q4_0, TensorType::Q6_K, TensorType::F32];
        assert_eq!(counts.map(|t| count(&tensors, t)), [328, 1, 338]);
        let weights: u64 = tensors.iter().map(|t| t.dims.iter().product::<u64>()).sum();
        assert_eq!((weights as f64 / 1e7).round(), 1191.0);
        // The official file has 6 975 879 296 bytes, vocabulary and template included.
        let bytes: u64 = tensors.iter().map(Planned::bytes).sum();
        assert!((6_950_000_000..6_975_879_296).contains(&bytes), "{bytes}");
    }

    /// The official files have 5 154 941 280 and 3 349 516 256 bytes, 15.8 · 10⁶ of them vocabulary
    /// and template, as in that of the 12B. The numbers of weights are the published ones.
    #[test]
    fn the_e_series_is_the_official_files_tensor_for_tensor() {
        for (size, file, published) in
            [(Size::E4B, 5_154_941_280, 746.0), (Size::E2B, 3_349_516_256, 463.0)]
        {
            let tensors = size.shape().tensors(Mix::Q4_0);
            let weights: u64 = tensors.iter().map(|t| t.dims.iter().product::<u64>()).sum();
            assert_eq!((weights as f64 / 1e7).round(), published, "{}", size.name());
            let bytes: u64 = tensors.iter().map(Planned::bytes).sum();
            assert!((file - 15_850_000..file - 15_750_000).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn the_26b_has_the_weights_and_bytes_of_the_official_file() {
        let tensors = Size::A26.shape().tensors(Mix::Q4_0);
        let weights: u64 = tensors.iter().map(|t| t.dims.iter().product::<u64>()).sum();
        assert_eq!((weights as f64 / 1e7).round(), 2523.0);
        // The official file has 14 439 363 584 bytes, vocabulary and template included.
        let bytes: u64 = tensors.iter().map(Planned::bytes).sum();
        assert!((14_410_000_000..14_439_363_584).contains(&bytes), "{bytes}");
        let down = |mix| {
            let tensors = Size::A26.shape().tensors(mix);
            let down = tensors.iter().find(|t| t.name == "blk.5.ffn_down_exps.weight");
            down.map(|t| (t.tensor_type, t.dims.clone()))
        };
        // Rows of 704 weights are no whole blocks of 256.
        assert_eq!(down(Mix::Q4_K_M), Some((TensorType::Q8_0, vec![704, 2816, 128])));
        assert_eq!(down(Mix::Q4_0), Some((TensorType::Q4_0, vec![704, 2816, 128])));
    }

    #[test]
    fn the_drafter_has_the_published_number_of_weights() {
        let tensors = Size::B12.shape().drafter_tensors(Mix::Q8_0);
        let matrices = tensors.iter().filter(|t| t.tensor_type == TensorType::Q8_0);
        let weights: u64 = matrices.map(|t| t.dims.iter().product::<u64>()).sum();
        assert_eq!((weights as f64 / 1e6).round(), 423.0);
    }

    #[test]
    fn other_mixes_and_the_small_one() {
        let mixed = Size::B12.shape().tensors(Mix::Q4_K_M);
        let six: Vec<_> = mixed
            .iter()
            .filter(|t| t.tensor_type == TensorType::Q6_K && t.name.contains("ffn_down"))
            .collect();
        assert_eq!(six.len(), 6 + 6 + 12, "an eighth, an eighth, and a third of 36");
        let plain = Size::B1.shape().tensors(Mix::Q8_0);
        assert_eq!(count(&plain, TensorType::Q8_0), 1 + 18 * 7 - 3);
        let bytes: u64 = Size::B1.shape().tensors(Mix::Q4_0).iter().map(Planned::bytes).sum();
        assert!((650_000_000..750_000_000).contains(&bytes), "{bytes}");
    }
}
