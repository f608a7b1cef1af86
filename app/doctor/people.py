"""Whether people can sign up and in, for `helix doctor`. One rule: it reads settings and sends no mail."""

from __future__ import annotations

from app.doctor.checks import Check
from app.mail.choice import has_post
from app.people.parts import named_issuers
from app.people.tokens import AccessTokens, SecretRefused
from app.settings import Settings

_HERE = ("http://127.0.0.1", "http://localhost", "http://[::1]")


def check_people(settings: Settings) -> list[Check]:
    try:
        tokens = AccessTokens(settings.jwt_secret_key.get_secret_value())
        issuers = named_issuers(settings)
    except (SecretRefused, ValueError) as refused:
        return [Check("sign-in", "bad", str(refused), "mend the setting that it names")]
    if not tokens.can_sign:
        return [Check("sign-in", "warning", "nobody can sign in", "set JWT_SECRET_KEY; keys work without it")]
    ways = ", ".join(["password", *issuers])
    found = [Check("sign-in", "good", ways)]
    if not has_post(settings):
        found.append(
            Check("mail", "warning", "no mail is sent, nobody can sign up", "set SENDGRID_API_KEY or SMTP_URL")
        )
    elif settings.helix_mail_dir is not None and not settings.sendgrid_api_key and not settings.smtp_url:
        found.append(Check("mail", "warning", "kept here, see `./helix mail list`", "set SENDGRID_API_KEY or SMTP_URL"))
    elif not settings.public_url.startswith("https://") and not settings.public_url.startswith(_HERE):
        found.append(
            Check("mail", "warning", f"links lead to {settings.public_url}", "set HELIX_PUBLIC_URL, with https")
        )
    else:
        found.append(Check("mail", "good", "SendGrid" if settings.sendgrid_api_key else "SMTP"))
    return found
