"""People: they sign up, sign in, stay signed in, and are forgotten when they sign out (docs/people.md).

One rule: nobody learns here whether an address has an account, and no password, token or link is kept, logged or told in clear.
"""
