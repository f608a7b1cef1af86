"""What `/v1/analytics` answers, for the documentation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.http.answers import CostView
from handlers.rules.optimizing import Confidence


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)


class SpentView(_View):
    group: str
    """The model, day, key or provider."""
    requests: int
    cached_requests: int
    """Answered from the response cache."""
    input_tokens: int
    cached_input_tokens: int
    """Of the input, read from the provider's prompt cache."""
    output_tokens: int
    cost: CostView
    """With every adjustment."""
    adjusted: CostView
    """Of the cost: what adjustments have added, or, below zero, taken away."""
    saved: CostView
    """What the response cache has saved."""


class UsageAnalytics(_View):
    """What was spent in a stretch of time."""

    object: Literal["analytics.usage"] = "analytics.usage"
    since: str = Field(alias="from")
    to: str
    group_by: Literal["model", "day", "key", "provider"]
    data: list[SpentView]
    total_cost: CostView


class ModelSpending(_View):
    provider: str
    model: str
    requests: int
    cost: CostView
    projected_monthly_cost: CostView


class Suggestion(_View):
    """A cheaper model with the same capabilities that ranks about as high."""

    now: str = Field(alias="from")
    to: str
    quality_of_to: int
    requests: int
    """The saving was reckoned from so many."""
    cost: CostView
    cost_then: CostView
    monthly_saving: CostView
    confidence: Confidence


class Switching(_View):
    monthly_saving: CostView
    quality_margin: int
    """A model that ranks so much lower still counts as equally good."""
    suggestions: list[Suggestion]


class Caching(_View):
    """What answers that are kept would save."""

    monthly_saving: CostView
    kept_for_s: int
    compared_requests: int
    """Those of which it is known whether they equal another."""
    repeated_requests: int
    repeated_cost: CostView
    confidence: Confidence


class CostOptimization(_View):
    """What could be saved, reckoned from the account's own requests."""

    object: Literal["analytics.cost_optimization"] = "analytics.cost_optimization"
    since: str = Field(alias="from")
    to: str
    observed_days: float
    """From the first request in the stretch to now."""
    requests: int
    """Those that a provider answered."""
    confidence: Confidence
    current_cost: CostView
    projected_monthly_cost: CostView
    models: list[ModelSpending]
    switching: Switching
    caching: Caching
    limits: list[str]
    """What these sums do not know."""
