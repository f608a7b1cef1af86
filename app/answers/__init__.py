"""Answers that are kept for those who ask the same again: on the cache server, sealed, for a while."""

from app.answers.cache import AnswerCache, CacheAway

__all__ = ["AnswerCache", "CacheAway"]
