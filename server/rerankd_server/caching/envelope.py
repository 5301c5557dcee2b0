"""The stored value: one score and its evidence in about 45 bytes, versioned and checksummed.

    offset  bytes  field
    0       1      version
    1       4      CRC-32 of key, version and everything behind this field
    5       4      score in millionths
    9       4      when it was scored, Unix seconds
    13      3      prompt tokens
    16      3      completion tokens
    19      2      which labels have a probability: bit n for label n
    21      2 n    those probabilities, in 65,535ths
    21+2n   rest   the model that answered, UTF-8

Numbers are big-endian. The key is in the checksum, so a value under another key reads as nothing.
The label probabilities are kept so that a better way of adding them up needs no new call.
"""

import struct
import zlib

from rerankd_server.scoring.scorer import LABELS, Score

_VERSION = 1
_HEAD = struct.Struct(">BI")
_BODY = struct.Struct(">II3s3sH")
_MICRO = 1_000_000
_UNIT = 65_535
_MOST_TOKENS = (1 << 24) - 1
_MOST_MODEL_BYTES = 255


def seal(key: bytes, score: Score) -> bytes:
    """Write `score`, to be stored under `key`."""
    shares = [(n, round(p * _UNIT)) for n, p in zip(LABELS, score.labels, strict=False)]
    shares = [(n, min(share, _UNIT)) for n, share in shares if share > 0]
    body = _BODY.pack(
        round(score.value * _MICRO),
        score.scored_at,
        min(score.prompt_tokens, _MOST_TOKENS).to_bytes(3, "big"),
        min(score.completion_tokens, _MOST_TOKENS).to_bytes(3, "big"),
        sum(1 << n for n, _ in shares),
    )
    body += struct.pack(f">{len(shares)}H", *(share for _, share in shares))
    body += score.model.encode(errors="replace")[:_MOST_MODEL_BYTES]
    return _HEAD.pack(_VERSION, _checksum(key, body)) + body


def unseal(key: bytes, data: bytes) -> Score | None:
    """Read what was stored under `key`, or None where it is cut, changed, or of another version."""
    if len(data) < _HEAD.size + _BODY.size:
        return None
    version, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if version != _VERSION or checksum != _checksum(key, body):
        return None
    micro, scored_at, prompt_tokens, completion_tokens, present = _BODY.unpack_from(body)
    present_labels = [n for n in LABELS if present >> n & 1]
    if len(body) < _BODY.size + 2 * len(present_labels):
        return None
    shares = struct.unpack_from(f">{len(present_labels)}H", body, _BODY.size)
    labels = [0.0] * len(LABELS) if present_labels else []
    for n, share in zip(present_labels, shares, strict=True):
        labels[n] = share / _UNIT
    return Score(
        value=micro / _MICRO,
        labels=tuple(labels),
        model=body[_BODY.size + 2 * len(shares) :].decode(errors="replace"),
        prompt_tokens=int.from_bytes(prompt_tokens, "big"),
        completion_tokens=int.from_bytes(completion_tokens, "big"),
        scored_at=scored_at,
    )


def _checksum(key: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(bytes([_VERSION]), zlib.crc32(key)))
