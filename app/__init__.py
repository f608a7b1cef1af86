"""The roof: the only room that knows Redis, FastStream, Starlette, litellm and the other outside parts."""
