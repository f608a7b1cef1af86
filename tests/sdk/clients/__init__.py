"""Real tools against Helix, each in an environment of its own, with only base URL and key changed.

`python -m tests.sdk.clients BASE_URL KEY` tries them all on a Helix with the sandbox; the journeys do so in the suite, and give
Claude Code and Codex a task. One rule: nothing here knows of Helix more than a base URL, a key and a model's name.
"""
