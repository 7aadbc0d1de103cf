"""Makes python-little.gguf and python-big.gguf with the `gguf` Python package (0.19.0), for real.rs.

    pip install gguf==0.19.0
    python make_python_files.py      # writes beside itself

The values are written out here and again in real.rs; neither is copied from our own reader.
"""

from pathlib import Path

import gguf
import numpy as np


def make(path: Path, endian: gguf.GGUFEndian) -> None:
    w = gguf.GGUFWriter(path, "carat-test", endianess=endian)
    w.add_uint8("value.u8", 200)
    w.add_int8("value.i8", -100)
    w.add_uint16("value.u16", 60000)
    w.add_int16("value.i16", -30000)
    w.add_uint32("value.u32", 4000000000)
    w.add_int32("value.i32", -2000000000)
    w.add_float32("value.f32", 0.1)
    w.add_bool("value.yes", True)
    w.add_bool("value.no", False)
    w.add_string("value.text", "zażółć gęślą jaźń 💎")
    w.add_string("value.no_text", "")
    w.add_uint64("value.u64", 2**63 + 1)
    w.add_int64("value.i64", -(2**62))
    w.add_float64("value.f64", 0.1)
    w.add_array("list.i32", [-1, 0, 2**31 - 1])
    w.add_array("list.f32", [0.5, -0.25, 1e30])
    w.add_array("list.bool", [True, False, True])
    w.add_array("list.text", ["▁the", "", "<0x0A>"])
    w.add_array("list.bytes", bytes([0, 127, 255]))
    w.add_array("list.nested", [[1, 2, 3], [4]])
    w.add_custom_alignment(64)

    counting = np.arange(64 * 3, dtype=np.float32).reshape(3, 64)
    w.add_tensor("f32", counting)
    w.add_tensor("f16", counting.astype(np.float16))
    w.add_tensor("i32.3d", np.arange(-4, 4, dtype=np.int32).reshape(2, 2, 2))
    w.add_tensor("f64.one", np.array([0.1], dtype=np.float64))
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        w.add_tensor(kind.name.lower(), gguf.quants.quantize(counting, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    here = Path(__file__).parent
    make(here / "python-little.gguf", gguf.GGUFEndian.LITTLE)
    make(here / "python-big.gguf", gguf.GGUFEndian.BIG)
