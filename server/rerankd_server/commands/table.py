"""Rankings for people: a table that fills in live, and a last line that sums it up."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from rerankd import Document, Ranking, Result, ScoreSource, UnscoredDetail
from rerankd_server.evaluation.costs import money

_STYLES = {ScoreSource.CACHE: "green", ScoreSource.MODEL: "cyan", ScoreSource.SHARED: "blue"}
_DETAILS = {
    UnscoredDetail.CUT_OFF: "cut off: does the model think first? set max_tokens",
    UnscoredDetail.EMPTY_REPLY: "empty: does the model think first? set max_tokens",
    UnscoredDetail.UNREADABLE: "unreadable",
    UnscoredDetail.DECLINED: "declined",
}
_MOST_CHARS = 1000
_MARGIN = 4
"""Lines of the screen that the table leaves free while it fills in."""


def table(
    ranking: Ranking, documents: Sequence[Document], most_rows: int | None = None
) -> RenderableType:
    """Draw `ranking`, a row each: place, score, where the score came from, text."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "score", "source"):
        drawn.add_column(name, justify="left" if name == "source" else "right", no_wrap=True)
    drawn.add_column("document")
    for place, result in enumerate(ranking.results[:most_rows], 1):
        drawn.add_row(str(place), _score(result), _source(result), _text(documents[result.index]))
    if most_rows is not None and len(ranking.results) > most_rows:
        drawn.add_row("", "", "", f"... and {len(ranking.results) - most_rows:,} more")
    return drawn


def rows_that_fit(console: Console) -> int | None:
    """Give how many rows a live table may have here; None where nothing is drawn live."""
    return max(1, console.height - _MARGIN) if console.is_terminal else None


def summary(ranking: Ranking, seconds: float) -> str:
    """Say in a line what a ranking took."""
    usage = ranking.usage
    parts = [f"{usage.cached_pairs:,} cached", f"{usage.scored_pairs:,} scored"]
    if usage.shared_pairs:
        parts.append(f"{usage.shared_pairs:,} shared")
    if usage.unscored_pairs:
        why = ", ".join(_causes(ranking))
        parts.append(f"{usage.unscored_pairs:,} without a score{why and f' ({why})'}")
    took = f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"
    spent = _worth(usage.prompt_tokens + usage.completion_tokens, usage.cost_usd)
    saved = _worth(usage.saved_prompt_tokens + usage.saved_completion_tokens, usage.saved_usd)
    line = f"{', '.join(parts)}; {usage.model_calls:,} model calls, {spent}"
    if usage.pending_calls:
        line += f" ({usage.pending_calls:,} still pending)"
    if usage.cached_pairs or usage.shared_pairs:
        line += f"; saved {saved}"
    return f"{line}; {took} ({ranking.model})"


def _causes(ranking: Ranking) -> Iterator[str]:
    """Say why documents have no score, with a count, the commonest cause first."""
    causes = Counter(
        (result.unscored_detail and _DETAILS.get(result.unscored_detail))
        or result.unscored_reason.value.replace("_", " ")
        for result in ranking
        if result.unscored_reason is not None
    )
    for cause, count in causes.most_common():
        yield f"{count:,} {cause}"


def _worth(tokens: int, dollars: float | None) -> str:
    """Say how many tokens that is, and what they cost where that is known."""
    return f"{tokens:,} tokens" if dollars is None else f"{tokens:,} tokens = {money(dollars)}"


def _score(result: Result) -> str:
    return "" if result.score is None else f"{result.score:.3f}"


def _source(result: Result) -> Text:
    """Say where the score came from, and why there is none, or none but one that stands in."""
    words = Text()
    if result.source is not None:
        words.append(result.source.value, style=_STYLES.get(result.source, ""))
    if result.unscored_reason is not None:
        words.append(f"{' ' if words else ''}{result.unscored_reason.value}", style="dim")
    return words


def _text(document: Document) -> Text:
    # It is the text that must not wrap, not its column: rich narrows only columns that may.
    line = Text(no_wrap=True, overflow="ellipsis")
    if document.id:
        line.append(f"{_shown(document.id)}  ", style="dim")
    return line.append(_shown(document.text))


def _shown(text: str) -> str:
    """Give a text's beginning on one line, without what would command the terminal."""
    return printable(" ".join(text[:_MOST_CHARS].split()))


def printable(text: str) -> str:
    """Give a text without what would command the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
