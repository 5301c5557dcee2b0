"""The stored value: what was found and its evidence, versioned and checksummed.

A score takes about 45 bytes, an embedding 4 a dimension and some:

    offset  bytes  field
    0       1      version: 1 for a score, 2 for an embedding
    1       4      CRC-32 of key, version and everything behind this field

    5       4      score in millionths           5       4      when, Unix seconds
    9       4      when, Unix seconds            9       3      prompt tokens
    13      3      prompt tokens                 12      3      completion tokens
    16      3      completion tokens             15      1      bytes of the name behind it
    19      2      which labels have a           16      m      the model that answered, UTF-8
                   probability: bit n, label n   16+m    rest   float32, little-endian
    21      2 n    those, in 65,535ths
    21+2n   rest   the model that answered, UTF-8

Other numbers are big-endian. The key is in the checksum, so a value under another key reads as
nothing. The label probabilities are kept so that a better way of adding them up needs no new call.
"""

import struct
import zlib

from rerankd_server.scoring.scorer import LABELS, Finding, Judgement, Score, Vector, shared

_SCORE, _VECTOR = 1, 2
_HEAD = struct.Struct(">BI")
_SCORE_HEAD = struct.Struct(">BIIIHBHBH")
_SCORE_BODY = struct.Struct(">II3s3sH")
_VECTOR_BODY = struct.Struct(">I3s3sB")
_MICRO = 1_000_000
_UNIT = 65_535
_MOST_TOKENS = (1 << 24) - 1
_MOST_MODEL_BYTES = 255
_LATEST = (1 << 32) - 1
"""Unix seconds, in 2106."""


def seal(key: bytes, finding: Finding) -> bytes:
    """Write `finding`, to be stored under `key`."""
    if isinstance(finding, Score):
        version, body = _SCORE, _score_body(finding)
    else:
        version, body = _VECTOR, _vector_body(finding)
    return _HEAD.pack(version, _checksum(key, bytes([version]), body)) + body


def unseal(key: bytes, data: bytes) -> Finding | None:
    """Read what was stored under `key`, or None where it is cut, changed, or of another version.

    Of a judgement that is its score alone: hundreds are read in a call. See `judgement`.
    """
    if len(data) < _HEAD.size:
        return None
    checksum = _checksum(key, data[:1], data[_HEAD.size :])
    if data[0] == _SCORE and len(data) >= _SCORE_HEAD.size:
        _, stored, micro, at, prompt, prompt_low, completion, low, labels = _SCORE_HEAD.unpack_from(
            data
        )
        if stored != checksum or len(data) < _SCORE_HEAD.size + 2 * labels.bit_count():
            return None
        return Score(
            micro / _MICRO,
            shared(prompt << 8 | prompt_low),
            shared(completion << 8 | low),
            shared(at),
        )
    if int.from_bytes(data[1 : _HEAD.size], "big") != checksum:
        return None
    if data[0] == _VECTOR and len(data) >= _HEAD.size + _VECTOR_BODY.size:
        return _vector(data[_HEAD.size :])
    return None


def judgement(key: bytes, data: bytes) -> Judgement | None:
    """Read all that was stored of the score under `key`; None where `unseal` gives no score."""
    score = unseal(key, data)
    if not isinstance(score, Score):
        return None
    *_, present = _SCORE_HEAD.unpack_from(data)
    present_labels = [n for n in LABELS if present >> n & 1]
    shares = struct.unpack_from(f">{len(present_labels)}H", data, _SCORE_HEAD.size)
    labels = [0.0] * len(LABELS) if present_labels else []
    for n, share in zip(present_labels, shares, strict=True):
        labels[n] = share / _UNIT
    return Judgement(
        score.value,
        score.prompt_tokens,
        score.completion_tokens,
        score.scored_at,
        tuple(labels),
        data[_SCORE_HEAD.size + 2 * len(shares) :].decode(errors="replace"),
    )


def _score_body(score: Score) -> bytes:
    model, present, shares = b"", 0, []
    if isinstance(score, Judgement):
        model = _model(score.model)
        for n, probability in zip(LABELS, score.labels, strict=False):
            share = round(probability * _UNIT) if probability > 0 else 0
            if share > 0:
                present |= 1 << n
                shares.append(min(share, _UNIT))
    body = _SCORE_BODY.pack(
        round(score.value * _MICRO),
        _seconds(score.scored_at),
        _tokens(score.prompt_tokens),
        _tokens(score.completion_tokens),
        present,
    )
    return body + struct.pack(f">{len(shares)}H", *shares) + model


def _vector_body(vector: Vector) -> bytes:
    model = _model(vector.model)
    head = _VECTOR_BODY.pack(
        _seconds(vector.scored_at),
        _tokens(vector.prompt_tokens),
        _tokens(vector.completion_tokens),
        len(model),
    )
    return head + model + vector.data


def _vector(body: bytes) -> Vector | None:
    scored_at, prompt_tokens, completion_tokens, length = _VECTOR_BODY.unpack_from(body)
    start = _VECTOR_BODY.size + length
    if len(body) <= start or (len(body) - start) % 4:
        return None
    return Vector(
        data=body[start:],
        model=body[_VECTOR_BODY.size : start].decode(errors="replace"),
        prompt_tokens=int.from_bytes(prompt_tokens, "big"),
        completion_tokens=int.from_bytes(completion_tokens, "big"),
        scored_at=scored_at,
    )


def _seconds(at: int) -> int:
    """Give the nearest that there is room for: a clock may be far off."""
    return min(max(at, 0), _LATEST)


def _tokens(count: int) -> bytes:
    return min(count, _MOST_TOKENS).to_bytes(3, "big")


def _model(name: str) -> bytes:
    return name.encode(errors="replace")[:_MOST_MODEL_BYTES]


def _checksum(key: bytes, version: bytes, body: bytes) -> int:
    return zlib.crc32(key + version + body)
