import json
import struct

import torch

from . import read

TYPES = {"F32": torch.float32, "F64": torch.float64, "I32": torch.int32, "I64": torch.int64, "U8": torch.uint8}


def load_file(filename):
    _, header, data = read(filename)
    tensors = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        numbers = torch.frombuffer(bytearray(data[begin:end]), dtype=TYPES[tensor["dtype"]]) if end > begin \
            else torch.empty(0, dtype=TYPES[tensor["dtype"]])
        tensors[name] = numbers.reshape(tensor["shape"])
    return tensors


def save_file(tensors, filename, metadata=None):
    """As the package does: wide numbers first, then by name; the header padded to 8 bytes."""
    names = {dtype: name for name, dtype in TYPES.items()}
    header = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, tensor in sorted(tensors.items(), key=lambda pair: (-pair[1].element_size(), pair[0])):
        content = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(filename, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
