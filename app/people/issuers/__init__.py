"""Sign-in by somebody else's word: Google, GitHub, or any issuer that speaks OpenID Connect (docs/people.md).

One rule: an issuer is believed about its own people, over TLS, in an answer to a question that this very browser asked; and about
an address only where it says that it has tried it.
"""
