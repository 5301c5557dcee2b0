"""Familiar documents: those that were asked about lately in the same words, by their bytes.

A request that is all made of them is answered without reading it to the end: no document becomes an
object, is checked, or is hashed. To find it by its bytes takes a third of the time that its hash
takes, and its room, so this holds far fewer pairs than `Memory`, whose scores it shares.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.again import Again
from rerankd_server.api.call import Call
from rerankd_server.api.validation import Limits, fits
from rerankd_server.caching.generations import Generations
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import Score

_ENTRY, _DOCUMENT, _ID = 1_000, 380, 120
"""Bytes that a query takes beside its texts, and each document and id beside its own, as
measured."""


def _view() -> Any:
    """Make the class of requests that leave their documents unread: each is its bytes."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    request = next(each for each in file.message_type if each.name == "RerankRequest")
    documents = next(each for each in request.field if each.name == "documents")
    documents.type = documents.TYPE_BYTES
    documents.ClearField("type_name")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(pb.RerankRequest.DESCRIPTOR.full_name)
    )


_View = _view()
_ASKED = [name for name in pb.RerankRequest.DESCRIPTOR.fields_by_name if name != "documents"]
"""All that can change what becomes of a document."""


class Known(NamedTuple):
    """What is known of a request's documents, by position."""

    model: str
    top_n: int
    scores: Sequence[Score]
    ids: Sequence[str]
    echoes: Sequence[bytes]
    """The documents, where the request wants them back."""


class _Query(NamedTuple):
    """What is known of documents that were asked about in the same words."""

    scores: dict[bytes, Score]
    """Each one's, by its bytes; documents that make one pair have one."""
    pairs: dict[bytes, Score]
    """Each pair's."""
    ids: dict[bytes, str]
    """Each one's, by its bytes; few have an id."""
    size: int
    epoch: int

    def agrees(self, found: Sequence[Score], pairs: Sequence[bytes]) -> bool:
        """Whether none of `pairs` was bought anew since, so that another score was found."""
        return [*map(self.pairs.get, pairs, found)] == [*found]


class Familiar:
    """Remembers documents in at most about `limit` bytes; 0 for none at all.

    Only those of queries that come again are remembered. `are_fresh` tells whether none of
    some scores is too old.
    """

    def __init__(
        self, limit: int, limits: Limits, are_fresh: Callable[[Sequence[Score]], bool]
    ) -> None:
        self._limit = limit
        self._limits = limits
        self._are_fresh = are_fresh
        self._answered = Again(limit // 8)
        """Queries, with all else that was asked."""
        self._kept: Generations[tuple[object, ...], _Query] = Generations(
            limit - limit // 8, lambda query: query.size
        )

    def find(self, call: Call) -> Known | None:
        """Give what is known, where that is all of it and still holds."""
        if not self._limit:
            return None
        try:
            view = call.view = _View.FromString(call.data)
        except DecodeError:
            return None
        call.asked = tuple([getattr(view, name) for name in _ASKED])
        query = self._kept.get(call.asked)
        if query is None or query.epoch != call.epoch or not self._is_within_limits(call):
            return None
        documents = [*view.documents]
        try:
            scores = [*map(query.scores.__getitem__, documents)]
        except KeyError:
            return None
        if not self._are_fresh(scores):
            return None
        ids = [query.ids.get(each, "") for each in documents] if query.ids else ()
        return Known(
            view.model, view.top_n, scores, ids, documents if view.return_documents else ()
        )

    def _is_within_limits(self, call: Call) -> bool:
        """Whether nothing is wrong with the request as a whole."""
        count = len(call.view.documents)
        return 0 < count <= self._limits.documents and fits(len(call.data), count, self._limits)

    def keep(self, call: Call, documents: Sequence[pb.Document], ranking: Ranking) -> None:
        """Remember the `documents` of `call`, which was answered with `ranking`, if it can be."""
        found, pairs = ranking.recalled, ranking.pairs
        if call.view is None or not self._answered.note(call.asked) or not (found and pairs):
            return
        query = self._kept.get(call.asked)
        if query is None or query.epoch != call.epoch or not query.agrees(found, pairs):
            texts = sum(map(sys.getsizeof, call.asked))  # a character takes up to four bytes
            query = _Query({}, {}, {}, _ENTRY + texts, call.epoch)
        size = query.size
        for data, score, pair, document in zip(
            call.view.documents, found, pairs, documents, strict=True
        ):
            if data in query.scores:
                continue
            query.scores[data] = query.pairs.setdefault(pair, score)
            if document.id:
                query.ids[data] = document.id
                size += _ID + sys.getsizeof(document.id)
            size += _DOCUMENT + len(data)
        self._kept.put(call.asked, query._replace(size=size))
