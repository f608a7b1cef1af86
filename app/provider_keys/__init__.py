"""The keys that customers bring: sealed, shown to nobody, used for their own account alone (docs/decisions/0029)."""
