"""Mail to people: said in the transaction that makes it true, sent later by the projector, at least once.

`Mails.put(connection, mail)` where something happens; `send_always` where it is sent. Nobody waits for a mail server.
"""

from app.mail.mail import Mail, NeverSent, NotSent, Post
from app.mail.waiting import Mails, send_always

__all__ = ["Mail", "Mails", "NeverSent", "NotSent", "Post", "send_always"]
