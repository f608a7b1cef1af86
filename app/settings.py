"""Every setting of Helix, read once from the environment. A value that makes no sense stops the process with one line."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from functools import cached_property, lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.http.headers import origins

PROVIDER_KEYS = ("anthropic", "openai", "xai", "perplexity")

Count = Annotated[int, Field(ge=1, le=100_000)]


class Settings(BaseSettings):
    """Names are the contract's; each environment variable is the field's name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    database_url: SecretStr
    """postgresql://…"""
    database_replica_url: SecretStr | None = None
    redis_url: SecretStr
    """The log: append-only file, fsync always, noeviction."""
    cache_url: SecretStr | None = None
    """The cache; the log server where it is not set."""

    api_key_encryption_key: SecretStr = SecretStr("")
    """Wraps the data keys: 32 bytes in hex or base64. Several, separated by commas, during a rotation: the first
    wraps, all unwrap. No process starts without it; an operator's command that opens no content does without."""

    anthropic_api_key: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    xai_api_key: SecretStr | None = None
    perplexity_api_key: SecretStr | None = None
    anthropic_base_url: str = "https://api.anthropic.com"
    openai_base_url: str = "https://api.openai.com/v1"
    xai_base_url: str = "https://api.x.ai/v1"
    perplexity_base_url: str = "https://api.perplexity.ai"
    helix_providers: Path | None = None
    """A TOML file of more providers."""
    helix_prices: Path | None = None
    """A TOML file of prices that override the catalogue; `prices.toml` at the root where it is not set."""
    helix_sandbox_url: str | None = None
    """Where the sandbox provider listens; set by `up` when no provider key is."""

    jwt_secret_key: SecretStr = SecretStr("")
    """Signs access tokens: 32 bytes or more as text. Several, separated by commas, during a rotation: the first signs, all
    are believed. Without it nobody signs in."""
    helix_sign_in: Path | None = None
    """A TOML file of issuers whose people may sign in (docs/people.md)."""
    google_client_id: str | None = None
    google_client_secret: SecretStr | None = None
    github_client_id: str | None = None
    github_client_secret: SecretStr | None = None
    helix_public_url: str | None = None
    """Where people reach this Helix, such as https://helix.example: mails link there. This machine where it is not set."""
    sendgrid_api_key: SecretStr | None = None
    sendgrid_base_url: str = "https://api.sendgrid.com"
    smtp_url: SecretStr | None = None
    """smtp://user:password@host:587 or smtps://…:465; used where there is no SENDGRID_API_KEY."""
    mail_from: str = "Helix <helix@localhost>"
    helix_mail_dir: Path | None = None
    """Where mails are kept that go nowhere; set by `up` when neither SENDGRID_API_KEY nor SMTP_URL is."""

    sentry_dsn: SecretStr | None = None

    max_connections_per_user: int | None = Field(default=None, ge=1)
    """Requests in flight an account may have; the tier's number where it is not set."""
    helix_tiers: Path | None = None
    """A TOML file of limits that differ from the tiers' own: `[team]`, `requests_a_minute = 5000` (docs/limits.md)."""
    worker_concurrency: Count = Field(
        default=2000, validation_alias=AliasChoices("worker_concurrency", "celery_worker_concurrency")
    )
    """Provider calls in flight in one worker process."""
    redis_max_connections: Count = 200
    max_db_connections: Count = 20
    workers: Count = 1
    port: int = Field(default=8000, ge=0, le=65535)
    helix_host: str = "127.0.0.1"
    helix_partitions: int = Field(default=1, ge=1, le=1024)
    helix_process_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}", min_length=1
    )
    """The consumer's name on the log. Two processes that run at once must never share one: each would take for its own
    what the other is at work on. So it is new at every start unless it is given: in two containers host and pid can be
    the same. `up` gives names that are stable over a restart, which then takes back at once what it held before."""
    helix_lease_s: float = Field(default=10.0, ge=1, le=600)
    """A command that its worker has not renewed for so long is taken over by another; the same in every worker."""
    helix_allow_unsafe_log: bool = False
    """Serve although the log may evict or does not fsync: acknowledged requests can be lost."""
    enable_cost_optimization: bool = False
    """Offer `/v1/analytics/cost-optimization`, and keep a digest of each question so that equal ones are known."""
    enable_semantic_cache: bool = False
    """Let clients ask for the kept answer to a question that means the same (`x-helix-cache: similar`)."""
    helix_semantic_cache_model: str | None = None
    """The embedding model it compares questions with: an id or `provider/id`. Needed where it is on; the calls are the
    operator's expense."""
    helix_own_key_fee_thousandths: int = Field(default=0, ge=0, le=1000)
    """What a request under a provider key of the customer's own costs him here: so many thousandths of the tokens' price."""
    helix_trusted_proxies: str = ""
    """Networks, separated by commas, whose word on the client's address is believed (`CF-Connecting-IP`,
    `X-Forwarded-For`). Empty: nobody's."""
    helix_cors_origins: str = ""
    """Origins, separated by commas, whose pages may call from a browser. Empty: none."""
    helix_pages: Path | None = None
    """A directory with `privacy.html`, `terms.html`, `dpa.html` and `cookies.html`, each instead of the template."""
    helix_erasure_grace_days: int = Field(default=30, ge=0, le=365)
    """How long a person who deletes his account can take it back."""
    helix_log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    helix_metrics_dir: Path | None = None
    """Where the processes of one machine put their counts together; set by `up`."""

    @field_validator("helix_trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, text: str) -> str:
        for each in filter(None, map(str.strip, text.split(","))):
            ip_network(each)
        return text

    @field_validator("helix_cors_origins")
    @classmethod
    def _origins_are_origins(cls, text: str) -> str:
        origins(text)
        return text

    @model_validator(mode="after")
    def _providers_file_exists(self) -> Self:
        if self.helix_providers and not self.helix_providers.is_file():
            raise ValueError(f"HELIX_PROVIDERS names no file: {self.helix_providers}")
        return self

    @model_validator(mode="after")
    def _semantic_cache_has_a_model(self) -> Self:
        if self.enable_semantic_cache and not self.helix_semantic_cache_model:
            raise ValueError(
                "ENABLE_SEMANTIC_CACHE needs HELIX_SEMANTIC_CACHE_MODEL, the embedding model to compare with"
            )
        return self

    @property
    def public_url(self) -> str:
        """Without a slash at its end."""
        return (self.helix_public_url or f"http://{self.helix_host}:{self.port}").rstrip("/")

    @cached_property
    def trusted_proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(each.strip()) for each in self.helix_trusted_proxies.split(",") if each.strip())

    @property
    def cache(self) -> str:
        return (self.cache_url or self.redis_url).get_secret_value()

    @property
    def answers(self) -> str | None:
        """Where answers are kept: a cache of its own, never the log's server."""
        return self.cache_url.get_secret_value() if self.cache_url and self.cache != self.log else None

    @property
    def log(self) -> str:
        return self.redis_url.get_secret_value()

    @property
    def database(self) -> str:
        return self.database_url.get_secret_value()


@lru_cache
def settings() -> Settings:
    """The settings of this process. Exits with one line for each setting that is missing or makes no sense."""
    try:
        return Settings()  # type: ignore[call-arg]  # the fields come from the environment
    except ValidationError as refused:
        for fault in refused.errors(include_url=False, include_input=False):
            name = str(fault["loc"][0]).upper() if fault["loc"] else "settings"
            print(f"helix: {name}: {fault['msg']}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
