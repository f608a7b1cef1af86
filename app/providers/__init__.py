"""The models of the world: what is offered, at what price, and how each provider is asked.

`catalogue` is light and for every process; `world`, which calls providers, is for workers.
"""
