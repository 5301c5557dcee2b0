"""Ranks a few documents against `make serve`, or the server at the address given."""

import sys

from rerankd import Client, InvalidRequestError

QUERY = "why is the sky blue"
DOCUMENTS = [
    "Bread needs flour, water, salt and time.",
    "The sky is blue because air scatters blue light most.",
    "At sunset the sky is red.",
    "Why is the sea salty?",
]


def main() -> None:
    """Rank at once, then in parts, then wrongly."""
    with Client(*sys.argv[1:2], timeout=10.0) as client:
        ranking = client.rerank(QUERY, DOCUMENTS)
        for result in ranking:
            print(result.index, result.score, result.source)
        print(ranking.usage)

        # Better and better rankings while a slow model is still at work.
        for ranking in client.rerank_partial(QUERY, DOCUMENTS):
            print("final:", ranking.is_final, "best:", ranking[0].index)

        try:
            client.rerank(QUERY, [])
        except InvalidRequestError as error:
            for violation in error.violations:
                print(f"{violation.field}: {violation.description}")


if __name__ == "__main__":
    main()
