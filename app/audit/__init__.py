"""What the audit log is told beside the facts that changes tell of themselves (docs/decisions/0027)."""
