"""A film in few bytes, as canvas/film.mjs reads it: what changed from frame to frame, then gzip."""

import gzip
import json
import struct
from collections.abc import Sequence

import numpy as np

WIDTHS = 2, 2, 2, 2, 1, 1  # bytes per number: positions, predictions, pseudo-labels, stars; pictures, plane
COARSE = 0xFFF0  # bits that are kept of a position: an eighth of a pixel is not seen


def pack(frames: Sequence[dict], images: bytes, **rest) -> bytes:
    """Frames and images as they are sent to the page, and whatever else it needs; `bytes` may stand anywhere in it.

    A gzip stream: the length of a JSON text as uint32, that text, and the bytes one after the other, in whose place
    the text has {"$bytes": [start, length]}.
    """
    buffers = list(zip(*(frame["data"] for frame in frames), strict=True))
    buffers[0] = [(np.frombuffer(positions, "<u2") & COARSE).tobytes() for positions in buffers[0]]
    changes = [[width, differences(of, width)] for width, of in zip(WIDTHS, buffers, strict=False)]
    told = [{name: value for name, value in frame.items() if name not in ("data", "sent")} for frame in frames]
    brightness = np.frombuffer(images, np.uint8)
    rest |= {"images": (brightness & 0xF8 | brightness >> 5).tobytes()}  # 32 levels, white and black among them
    held = []

    def keep(data: bytes) -> dict:
        start = sum(map(len, held))
        held.append(data)
        return {"$bytes": [start, len(data)]}

    text = json.dumps({"frames": told, "changes": changes} | rest, default=keep, separators=(",", ":")).encode()
    return gzip.compress(b"".join([struct.pack("<I", len(text)), text, *held]), mtime=0)


def differences(frames: Sequence[bytes], width: int) -> bytes:
    """Each number less the one in the frame before, modulo 256 to the power of `width`; low bytes first, then high."""
    numbers = np.frombuffer(b"".join(frames), f"<u{width}").reshape(len(frames), -1)
    changes = np.diff(numbers, axis=0, prepend=np.zeros_like(numbers[:1]))
    return changes.view(np.uint8).reshape(-1, width).T.tobytes()
