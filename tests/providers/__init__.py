"""The models of the world: what is offered, and how each provider is asked."""
