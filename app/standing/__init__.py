"""How the providers stand: what each worker notes of its calls, put together on the cache server for all of them.

One rule: it may all vanish at any moment. A worker that cannot reach the cache goes on with what it has seen itself.
"""
