"""Backup and restore: `files` is what a backup consists of, `save` makes one, `load` puts one back, `carried` the log."""
