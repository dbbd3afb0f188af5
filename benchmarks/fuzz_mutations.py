"""Ways to break a file: any file, and archives and tables in particular. All is drawn by a seed."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from example_files import written
from gcdflow.files.declared import RunFile

Mutation = Callable[[random.Random, bytes], bytes]

PNG = b"\x89PNG\r\n\x1a\n"
_MAGICS = [b"PK\3\4", b"\x93NUMPY\1\0", PNG, b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0", b"{"]
_MAGICS += [b"\x80\x02", b"\x80\x05", b"RIFF", b"MATLAB 5.0 MAT-file", b"%!PS-Adobe-3.0", b"---\n"]
_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
_TOKENS = b"nan inf -inf -1 1e999 1e-999 0x10 1_0 true null NaN Infinity \" ' &a *a \\ud800".split()
_TOKENS += b"../../x /etc/passwd <script> 2001-99-99 !!python/object/apply:os.system".split()
_TOKENS += [b"", b"\0", b"\n", b"\r", b"\x1b[", b"\xff\xfe", "\u202e".encode(), "\u0663".encode()]
_TOKENS += [b"9" * 5000, b"[" * 2000, b"{a: " * 500, b"," * 9]
# What may stand in JSON and in files of torch.save instead of a value.
_VALUES = (None, -1, 0, 10**30, float("nan"), 1e15, "x", "", [], {}, True, 1.5, {"a": 1}, [1])


# -- any file --------------------------------------------------------------------------------------


def mutate(rng: random.Random, content: bytes) -> bytes:
    """One to three of the changes below."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_ANY)(rng, content)
    return content


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_token(rng: random.Random, content: bytes) -> bytes:
    """Replace a number or word of a text, or insert something between."""
    words = list(re.finditer(rb"[\w.]+", content[:100_000]))
    if not words:
        return splice(rng, content)
    word = rng.choice(words)
    end = rng.choice((word.start(), word.end()))
    return content[: word.start()] + rng.choice(_TOKENS) + content[end:]


def splice(rng: random.Random, content: bytes) -> bytes:
    """Put something else in the place of some bytes, perhaps of none, or of all that follow."""
    start, at = rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)
    end, magic = min(len(content), start + int(2 ** rng.uniform(0, 10))), rng.choice(_MAGICS)
    width = rng.choice((1, 2, 4, 8))
    number = (rng.choice(_NUMBERS) % 256**width).to_bytes(width, rng.choice(("little", "big")))
    first, last, new = rng.choice(
        (
            (start, len(content), b""),
            (start, end, bytes(end - start)),
            (start, end, b""),
            (start, start, rng.randbytes(rng.randint(1, 64))),
            (at, at, content[start:end]),
            (start, start + width, number),
            (0, rng.choice((0, len(magic))), magic),
        )
    )
    return content[:first] + new + content[last:]


_ANY = (*[splice] * 7, flip_bits, flip_bits, set_token, set_token)


# -- archives of arrays ----------------------------------------------------------------------------


def _members(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def _zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of members with equal names
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return target.getvalue()


def mutate_npz(rng: random.Random, content: bytes) -> bytes:
    """An archive whose checksums are right, and whose content is not."""
    members = _members(content)
    at = rng.randrange(len(members))
    name, data = members[at]
    kind = rng.choice(("header", "header", "values", "values", "bytes", "members", "text", "bomb"))
    if kind == "header":
        members[at] = (name, _other_header(rng, data))
    elif kind == "values":
        members[at] = (name, _other_values(rng, data))
    elif kind == "bytes":
        members[at] = (name, mutate(rng, data))
    elif kind == "text":
        members[at] = (name, _array_bytes(np.array(rng.choice(_TEXTS))))
    elif kind == "bomb":
        shape = f"({rng.choice((10**8, 10**9, 10**12))},)"
        data = _with_header("'<i8'", shape, bytes(rng.choice((0, 100, 2**20))))
        members[at] = (name, data)
    else:
        _other_members(rng, members, at)
    compression = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    altered = _zipped(members, compression)
    return flip_bits(rng, altered) if rng.random() < 0.05 else altered


_TEXTS = ["", "{", "[]", "null", "NaN", '{"a": NaN}', '{"a": 1e999}', '{"k": "\\ud800"}']
_TEXTS += ["[" * 9999, '{"a": ' * 999, '{"a": ' + "9" * 5000 + "}", '{"root": 3}']


def _other_members(rng: random.Random, members: list[tuple[str, bytes]], at: int) -> None:
    name, data = members[at]
    choice = rng.randrange(5)
    if choice == 0:
        del members[at]
    elif choice == 1:
        members.insert(rng.randrange(len(members) + 1), (name, data))
    elif choice == 2:
        members[at] = (rng.choice(("../../" + name, "/" + name, name.upper(), name[:-4])), data)
    elif choice == 3:
        members[at] = (name, members[rng.randrange(len(members))][1])
    else:
        members.append((rng.choice(("../x.npy", "a\nb.npy", "labels")), b"junk"))


def _with_header(dtype: str, shape: str, data: bytes, version: int = 1) -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes((version, 0)) + length + text + b"\n" + data


def _other_header(rng: random.Random, data: bytes) -> bytes:
    array = np.lib.format.read_array(io.BytesIO(data))
    n = array.size
    dtypes = ("<i8", "|u1", "<f4", ">f8", "<f2", "|O", "<U5", "|V8", "<U999999999", "<M8[s]", "|b1")
    dtype = rng.choice((*(f"'{d}'" for d in dtypes), "[('a', '<i8')]", "3", "'<c16'", "'<f16'"))
    if rng.random() < 0.5:
        dtype = f"'{array.dtype.str}'"
    shapes = (f"({n},)", f"({n}, 1)", f"({n + 1},)", "()", "(0,)", "(-1,)", "(1.0,)", "(True,)")
    huge = (f"({2**40},)", f"({2**62}, {2**62})", f"(0, {2**60})", "(" * 99, "'x'", "None")
    return _with_header(dtype, rng.choice(shapes + huge), array.tobytes(), rng.choice((1, 1, 2, 3)))


def _array_bytes(array: np.ndarray) -> bytes:
    return written(partial(np.lib.format.write_array, array=array))


def _other_values(rng: random.Random, data: bytes) -> bytes:
    array = np.lib.format.read_array(io.BytesIO(data)).copy()
    if array.ndim == 0 or array.size == 0:
        return _array_bytes(array)
    flat = array.reshape(-1)
    positions = rng.sample(range(len(flat)), min(len(flat), rng.choice((1, 1, 2, len(flat)))))
    values = {
        "i": (-1, -2, 0, 1, 127),
        "f": (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e38, 1e-45),
        "b": (True, False),
        "U": ("", "..", "/etc", "a\0b", "\x1b[31m", "<b>"),
    }
    flat[positions] = rng.choice(values[array.dtype.kind])
    if array.dtype.kind == "b" and rng.random() < 0.3:
        flat.view(np.uint8)[positions[0]] = 7
    if array.dtype.kind == "U" and rng.random() < 0.3:
        flat.view(np.uint32)[0] = rng.choice((0x110000, 0xD800, 2**32 - 1))
    if rng.random() < 0.3:
        array = rng.choice((array[:-1], array[::-1], np.concatenate([array, array])))
    return _array_bytes(np.ascontiguousarray(array))


def broken_as_declared(file: RunFile) -> Mutation:
    """Break what is declared of one field: its range, its uniqueness, its length, its keys."""

    def mutation(rng: random.Random, content: bytes) -> bytes:
        with np.load(io.BytesIO(content)) as archive:
            arrays = dict(archive)
        field = rng.choice([field for field in file.fields if field.name in arrays])
        array, kind = arrays[field.name], rng.randrange(8)
        if kind == 0:
            del arrays[field.name]
        elif kind == 1:
            arrays[field.name] = np.zeros(array.shape, rng.choice(("U9", "S9", "c16", "f2", "i1")))
        elif field.keys:
            values = dict.fromkeys(field.keys.model_fields, 1) | json.loads(str(array))
            _change_leaf(rng, values, _VALUES)
            arrays[field.name] = np.array(json.dumps(values))
        elif kind == 2 or not len(array):
            arrays[field.name] = rng.choice((array[:-1], array[:0], np.repeat(array, 2, axis=0)))
        else:
            flat = array.astype(field.kind if field.kind != "text" else array.dtype).reshape(-1)
            numbers = [flat[0], -1, 0, 1]
            if field.least is not None:
                numbers += [field.least - 1, field.least, min(2.0**62, 2 * field.most)]
                numbers += [np.nan, np.inf] if field.kind == "float32" else []
            flat[rng.randrange(len(flat))] = rng.choice(numbers)
            arrays[field.name] = flat.reshape(array.shape)
        return written(partial(np.savez, **arrays))

    return mutation


def broken_json(rng: random.Random, content: bytes) -> bytes:
    """A JSON object with another value somewhere."""
    values = json.loads(content)
    _change_leaf(rng, values, _VALUES)
    return json.dumps(values).encode()


def mutate_npy(rng: random.Random, content: bytes) -> bytes:
    """A single array of another header, or other values."""
    return rng.choice((_other_header, _other_values))(rng, content)


# -- files of torch.save ---------------------------------------------------------------------------


def mutate_pt(rng: random.Random, content: bytes) -> bytes:
    """An archive whose checksums are right, and whose pickle, storages or values are not."""
    if rng.random() < 0.5:
        values = torch.load(io.BytesIO(content), weights_only=True)
        tensor = torch.ones(2, 3)
        others = [tensor, tensor.expand(4, 2, 3), tensor.to_sparse(), tensor.to("meta")]
        _change_leaf(rng, values, [*_VALUES, b"x", (1,), {1: 2}, tensor.bool(), *others])
        return written(partial(torch.save, values))
    members = _members(content)
    pickles = [i for i, (name, _) in enumerate(members) if name.endswith("data.pkl")]
    at = rng.choice(pickles) if rng.random() < 0.6 else rng.randrange(len(members))
    name, data = members[at]
    if rng.random() < 0.2:
        _other_members(rng, members, at)
    else:
        members[at] = (name, mutate(rng, data))
    return _zipped(members, rng.choice((zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED,)))


def _change_leaf(rng: random.Random, values: dict, others: Sequence[object]) -> None:
    """Go down to some value of nested dictionaries and lists, and put another in its place."""
    here: dict | list = values
    while True:
        key = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
        inner = here[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.9:
            here = inner
            continue
        break
    choices = list(others)
    if isinstance(inner, torch.Tensor):
        choices += [inner * float("nan"), inner.reshape(-1)[:1], inner.double(), inner.int()]
        choices += [inner.half(), inner.unsqueeze(0), torch.ones(1).expand(10**12)]
    here[key] = rng.choice(choices)
    if rng.random() < 0.1:
        del here[key]


# -- images ----------------------------------------------------------------------------------------


def mutate_png(rng: random.Random, content: bytes) -> bytes:
    """A PNG with right checksums, and other sizes, kinds or chunks."""
    if not content.startswith(b"\x89PNG"):
        return mutate(rng, content)
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    i = rng.randrange(len(chunks))
    kind, data = chunks[i]
    if kind == b"IHDR" and rng.random() < 0.7:
        size = struct.pack(">II", *(rng.choice((0, 1, 100_000, 2**31 - 1, 9000)) for _ in "xy"))
        data = size + data[8:]
    else:
        data = mutate(rng, data)
    chunks[i] = (kind, data)
    if rng.random() < 0.2:
        chunks.insert(i, (rng.choice((b"iCCP", b"zTXt", b"eXIf", b"PLTE", b"tRNS", b"acTL")), data))
    return content[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def png(pixels: np.ndarray, bits: int) -> bytes:
    """A PNG of colours in two bytes each (height, width, 3), of which some bits are meant."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"sBIT", bytes([bits] * 3)), (b"IDAT", zlib.compress(rows))]
    return PNG + b"".join(png_chunk(*chunk) for chunk in (*chunks, (b"IEND", b"")))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
