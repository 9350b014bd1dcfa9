#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a model of a real shape with random weights, for measurements of speed.

random_model.py SHAPE FOLDER

Weights are BF16 with random signs and mantissas and one exponent per matrix, near 1/sqrt(inputs), so that
activations stay finite. There is no tokenizer: token ids go in and come out.
"""
import argparse
import json
import math
import random
from pathlib import Path

SHAPES = {
    # The shape of Qwen2.5-0.5B with a vocabulary of 32,000.
    "0.5b": dict(layers=24, heads=14, kv_heads=2, head_dim=64, hidden=896, wide=4864, vocab=32000, context=32768),
    # The shape of Llama-3.2-1B with a vocabulary of 32,000.
    "1b": dict(layers=16, heads=32, kv_heads=8, head_dim=64, hidden=2048, wide=8192, vocab=32000, context=32768),
    "tiny": dict(layers=2, heads=4, kv_heads=2, head_dim=32, hidden=128, wide=256, vocab=512, context=4096),
}


def octave_tables(scale):
    """Byte tables: any byte to a BF16's high byte (sign, exponent) and low byte (mantissa), of [scale, 2 scale)."""
    exponent = 127 + math.floor(math.log2(scale))
    high = bytes((byte & 0x80) | exponent >> 1 for byte in range(256))
    low = bytes((exponent & 1) << 7 | byte & 0x7F for byte in range(256))
    return high, low


def random_weights(source, count, scale):
    high, low = octave_tables(scale)
    data = bytearray(2 * count)  # little-endian
    data[0::2] = source.randbytes(count).translate(low)
    data[1::2] = source.randbytes(count).translate(high)
    return data


def tensors_of(shape):
    """(name, dimensions, scale); scale None: all ones."""
    hidden, wide = shape["hidden"], shape["wide"]
    q, kv = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    yield "model.embed_tokens.weight", (shape["vocab"], hidden), 0.02
    for layer in range(shape["layers"]):
        prefix = f"model.layers.{layer}."
        for name, out, inputs in (("self_attn.q_proj", q, hidden), ("self_attn.k_proj", kv, hidden),
                                  ("self_attn.v_proj", kv, hidden), ("self_attn.o_proj", hidden, q),
                                  ("mlp.gate_proj", wide, hidden), ("mlp.up_proj", wide, hidden),
                                  ("mlp.down_proj", hidden, wide)):
            yield f"{prefix}{name}.weight", (out, inputs), 1 / math.sqrt(inputs)
        yield f"{prefix}input_layernorm.weight", (hidden,), None
        yield f"{prefix}post_attention_layernorm.weight", (hidden,), None
    yield "model.norm.weight", (hidden,), None


def write_model(shape, folder):
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "llama", "hidden_size": shape["hidden"], "intermediate_size": shape["wide"],
              "num_hidden_layers": shape["layers"], "num_attention_heads": shape["heads"],
              "num_key_value_heads": shape["kv_heads"], "head_dim": shape["head_dim"], "vocab_size": shape["vocab"],
              "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": shape["context"],
              "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors, header, end = list(tensors_of(shape)), {}, 0
    for name, dimensions, _ in tensors:
        begin, end = end, end + 2 * math.prod(dimensions)
        header[name] = {"dtype": "BF16", "shape": list(dimensions), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    source = random.Random(1)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, dimensions, scale in tensors:
            count = math.prod(dimensions)
            file.write(b"\x80\x3f" * count if scale is None else random_weights(source, count, scale))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    write_model(SHAPES[arguments.shape], arguments.folder)


if __name__ == "__main__":
    main()
