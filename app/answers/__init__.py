"""Answers that are kept for those who ask the same again: on the cache server, sealed, for a while."""

from app.answers.cache import AnswerCache, CacheAway
from app.answers.nearby import NearbyQuestions

__all__ = ["AnswerCache", "CacheAway", "NearbyQuestions"]
