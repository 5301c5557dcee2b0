"""rerankd: a local caching proxy for LLM reranking.

Data walks one way: `api -> reranker -> caching -> scoring`. `app` alone wires the parts together.
"""

from importlib.metadata import version

__version__ = version("rerankd")
