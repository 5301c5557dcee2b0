"""Documents of a passage's length, each with a label for the provider to find."""

from collections.abc import Sequence

_PASSAGE = (
    "Foragers that return to the hive judge how far they have flown by how much of the ground has "
    "passed before their eyes, and in which direction by where the sun stands and how the light of "
    "the sky is polarised. Near the hive they go by what they have learnt of it: trees, roofs, the "
    "edge of a wood. A colony that is moved by a few metres loses many of them, for they come back "
    "to the old place and search there; moved by several kilometres it loses few, since those who "
    "fly out find nothing that they know, and learn the place anew."
)


def texts(name: str, count: int) -> Sequence[str]:
    """Give `count` different documents, other than those of any other `name`."""
    return [f"{n % 11} {name} {n}. {_PASSAGE}" for n in range(count)]


def long_texts(name: str, count: int, characters: int) -> Sequence[str]:
    """Give such documents of `characters` each, in which there is room for at least 30."""
    passages = " ".join([_PASSAGE] * (characters // len(_PASSAGE) + 1))
    return [f"{n % 11} {name} {n}. {passages}"[:characters] for n in range(count)]
