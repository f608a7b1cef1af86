"""Tests of the database's schema."""
