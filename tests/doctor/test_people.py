"""What keeps people from signing up and in is said, with what to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.doctor.people import check_people
from tests.conftest import MakeSettings

SECRET = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("given", "verdicts"),
    [
        ({}, ["warning"]),
        ({"jwt_secret_key": "short"}, ["bad"]),
        ({"jwt_secret_key": SECRET}, ["good", "warning"]),
        ({"jwt_secret_key": SECRET, "helix_mail_dir": Path("mails")}, ["good", "warning"]),
        (
            {"jwt_secret_key": SECRET, "smtp_url": "smtp://mail", "helix_public_url": "http://x.example"},
            ["good", "warning"],
        ),
        (
            {"jwt_secret_key": SECRET, "smtp_url": "smtp://mail", "helix_public_url": "https://x.example"},
            ["good", "good"],
        ),
    ],
)
def test_what_is_missing_for_people_is_named(
    make_settings: MakeSettings, given: dict[str, object], verdicts: list[str]
) -> None:
    found = check_people(make_settings(**given))

    assert [check.verdict for check in found] == verdicts
    assert all(check.mend for check in found if check.verdict != "good")
    assert SECRET not in repr(found)
