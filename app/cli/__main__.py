"""`python -m app.cli`, as the launcher calls it."""

from app.cli import main

main()
