"""Teams: accounts that belong to several people.

One rule: a team is an account like a person's, and whoever acts for it does so in a role (`handlers.rules.roles`). What
changes one reads the actor's role again in the transaction that writes, behind a lock on the team's row.
"""
