"""The log server: one fast connection, the keys, the scripts, and what they mean together."""

from app.log.connection import Connection, LogGone
from app.log.log import Log

__all__ = ["Connection", "Log", "LogGone"]
