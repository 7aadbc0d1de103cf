#!/usr/bin/env python3
"""Writes a checkpoint as the pair of GGUF files that carat embeds: matrices in Q8_0 (the projector's in BF16).

usage: export.py CHECKPOINT OUT-FOLDER [--f32]
"""

import argparse
import json
import pathlib

import gguf
import numpy as np

from data import HERE, Vocabulary
from model import PATCH_VALUES, Config, Model
from train import load

TYPES = {"normal": 1, "control": 3, "byte": 6}


def text_file(model, path, kind):
    c = model.config
    w = gguf.GGUFWriter(path, "gemma4")
    full = [k == "f" for k in c.pattern]
    w.add_name("Carat's toy model")
    w.add_description(
        "A toy trained to show the engine carat on drawn shapes, printed and spoken digits, and small sums"
    )
    w.add_license("MIT OR Apache-2.0")
    w.add_uint32("gemma4.block_count", len(full))
    w.add_uint32("gemma4.context_length", c.context)
    w.add_uint32("gemma4.embedding_length", c.hidden)
    w.add_uint32("gemma4.feed_forward_length", c.feed_forward)
    w.add_uint32("gemma4.attention.head_count", c.heads)
    w.add_array("gemma4.attention.head_count_kv", [1 if f else c.kv_heads for f in full])
    w.add_float32("gemma4.rope.freq_base", 1e6)
    w.add_float32("gemma4.rope.freq_base_swa", 1e4)
    w.add_float32("gemma4.attention.layer_norm_rms_epsilon", c.eps)
    for key, dim in (("", 2 * c.head_dim), ("_swa", c.head_dim)):
        w.add_uint32("gemma4.attention.key_length" + key, dim)
        w.add_uint32("gemma4.attention.value_length" + key, dim)
        w.add_uint32("gemma4.rope.dimension_count" + key, dim)
    w.add_float32("gemma4.final_logit_softcapping", c.softcap)
    w.add_uint32("gemma4.attention.sliding_window", c.window)
    w.add_array("gemma4.attention.sliding_window_pattern", [not f for f in full])
    w.add_uint32("gemma4.attention.shared_kv_layers", 0)
    w.add_uint32("gemma4.embedding_length_per_layer_input", 0)
    w.add_quantization_version(2)
    vocabulary(w)
    tensors(w, model, kind)
    finish(w)


def vocabulary(w):
    v = Vocabulary()
    special = len(v.special)
    w.add_tokenizer_model("gemma4")
    w.add_token_list(v.tokens)
    w.add_token_scores([-1000.0] * len(v.tokens))
    w.add_token_types(
        [
            TYPES["control"] if i < special else TYPES["byte"] if i < special + 256 else TYPES["normal"]
            for i in range(len(v.tokens))
        ]
    )
    w.add_token_merges([" ".join(m) for m in v.merges])
    w.add_bos_token_id(v.special["<bos>"])
    w.add_eos_token_id(v.special["<eos>"])
    w.add_unk_token_id(v.special["<unk>"])
    w.add_pad_token_id(v.special["<pad>"])
    w.add_add_space_prefix(False)
    w.add_add_bos_token(True)
    w.add_chat_template((HERE / "template.jinja").read_text().strip())


def put(w, name, value, kind=gguf.GGMLQuantizationType.F32):
    value = np.ascontiguousarray(value.detach().numpy().astype(np.float32))
    if kind == gguf.GGMLQuantizationType.F32:
        w.add_tensor(name, value)
    else:
        w.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)


def tensors(w, model, kind):
    c = model.config
    put(w, "token_embd.weight", model.embedding, kind)
    put(w, "output_norm.weight", model.output_norm)
    w.add_tensor("rope_freqs.weight", np.where(np.arange(c.head_dim) < c.head_dim // 4, 1.0, 1e30).astype(np.float32))
    for i, layer in enumerate(model.layers):
        b = f"blk.{i}."
        for name in ("q", "k", "v"):
            if getattr(layer, name) is not None:
                put(w, f"{b}attn_{name}.weight", getattr(layer, name), kind)
        put(w, b + "attn_output.weight", layer.o, kind)
        for name in ("gate", "up", "down"):
            put(w, f"{b}ffn_{name}.weight", getattr(layer, name), kind)
        put(w, b + "attn_q_norm.weight", layer.q_norm)
        put(w, b + "attn_k_norm.weight", layer.k_norm)
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            put(w, f"{b}{name}.weight", getattr(layer, name))
        put(w, b + "layer_output_scale.weight", layer.output_scale)


def projector_file(model, path, kind):
    c, v = model.config, model.vision
    w = gguf.GGUFWriter(path, "clip")
    w.add_type("mmproj")
    w.add_name("Carat's toy model")
    w.add_bool("clip.has_vision_encoder", True)
    w.add_bool("clip.has_audio_encoder", True)
    w.add_string("clip.vision.projector_type", "gemma4uv")
    w.add_string("clip.audio.projector_type", "gemma4ua")
    for side, width in (("vision", c.embed), ("audio", 640)):
        w.add_uint32(f"clip.{side}.projection_dim", c.hidden)
        w.add_uint32(f"clip.{side}.embedding_length", width)
        for key in ("feed_forward_length", "block_count", "attention.head_count"):
            w.add_uint32(f"clip.{side}.{key}", 0)
        w.add_float32(f"clip.{side}.attention.layer_norm_epsilon", c.eps)
    w.add_uint32("clip.vision.image_size", 224)
    w.add_uint32("clip.vision.patch_size", 16)
    w.add_array("clip.vision.image_mean", [0.0, 0.0, 0.0])
    w.add_array("clip.vision.image_std", [1.0, 1.0, 1.0])
    w.add_uint32("clip.audio.num_mel_bins", 128)
    put(w, "v.patch_embd.weight", v.patch, kind)
    put(w, "v.patch_embd.bias", v.patch_bias)
    w.add_tensor("v.patch_norm.1.weight", np.ones(PATCH_VALUES, np.float32))
    w.add_tensor("v.patch_norm.1.bias", np.zeros(PATCH_VALUES, np.float32))
    for n, norm in ((2, v.norm2), (3, v.norm3)):
        put(w, f"v.patch_norm.{n}.weight", norm.weight)
        put(w, f"v.patch_norm.{n}.bias", norm.bias)
    put(w, "v.position_embd.weight", v.places)
    put(w, "mm.input_projection.weight", v.projection, kind)
    put(w, "mm.a.input_projection.weight", model.audio, kind)
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("checkpoint", type=pathlib.Path)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--f32", action="store_true", help="write all weights as they are, for comparing numbers")
    a = p.parse_args()
    state = json.load(open(a.checkpoint / "state.json"))
    model = Model(Config(**state["config"]))
    load(model, a.checkpoint)
    a.out.mkdir(parents=True, exist_ok=True)
    kinds = gguf.GGMLQuantizationType
    text_file(model, a.out / "demo-text.gguf", kinds.F32 if a.f32 else kinds.Q8_0)
    projector_file(model, a.out / "demo-mmproj.gguf", kinds.F32 if a.f32 else kinds.BF16)
    print(*(f"{f.name} {f.stat().st_size}" for f in sorted(a.out.glob("demo-*.gguf"))))


if __name__ == "__main__":
    main()
