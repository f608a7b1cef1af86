"""Which post the settings name. One rule: SendGrid before SMTP before the mailbox; none of them is said, not passed over."""

from __future__ import annotations

from app.mail.mail import Mail, NotSent, Post
from app.mail.mailbox import Mailbox
from app.mail.sendgrid import SendGrid
from app.mail.smtp import Smtp
from app.settings import Settings


class NoPost:
    """Where the operator has named none: mails wait until they are too old."""

    async def send(self, mail: Mail) -> None:
        raise NotSent("no post: set SENDGRID_API_KEY or SMTP_URL")


def post_of(settings: Settings) -> Post:
    if settings.sendgrid_api_key is not None:
        return SendGrid(settings.sendgrid_api_key.get_secret_value(), settings.sendgrid_base_url, settings.mail_from)
    if settings.smtp_url is not None:
        return Smtp(settings.smtp_url.get_secret_value(), settings.mail_from)
    if settings.helix_mail_dir is not None:
        return Mailbox(settings.helix_mail_dir, settings.mail_from)
    return NoPost()


def has_post(settings: Settings) -> bool:
    return not isinstance(post_of(settings), NoPost)
