"""Passwords that everybody who guesses tries first. One rule: a list of stems, so that `Password123!` is found in `password`.

Stems of ten characters or fewer with digits and signs around them; longer whole ones as they are. Far from every password
that was ever stolen: a list of those has a gigabyte, and asking somebody else for each would tell him of our people.
"""

from __future__ import annotations

import re
from typing import Final

_STEM_WORDS: Final = """
password passw0rd p@ssw0rd p@ssword pa55word passwort motdepasse contrasena senha passphrase changeme changemenow
letmein letmeinnow welcome welcomeback iloveyou iloveu ihateyou loveyou lovelove qwerty qwertyui qwertyuiop qwertz
qwertzuiop azerty azertyuiop asdf asdfgh asdfghjkl zxcvbn zxcvbnm qazwsx qazwsxedc wsxedc poiuytrewq lkjhgfdsa mnbvcxz
qweasd qweasdzxc abc abcd abcde abcdef abcdefg abcdefgh abcdefghij aaa test tester testing testtest testpassword temp
temporary default admin administrator adminadmin root rootroot toor user username guest login logmein secret
secretsecret topsecret master monkey dragon shadow sunshine princess football baseball basketball soccer hockey
superman batman spiderman starwars pokemon naruto minecraft fortnite michael michelle jessica jennifer daniel charlie
jordan ashley nicole thomas andrea summer winter spring autumn january february march april june july august september
october november december monday friday hello helloworld hello world google facebook twitter linkedin instagram
microsoft apple samsung computer internet trustno whatever freedom liverpool arsenal chelsea barcelona realmadrid
juventus ferrari mercedes porsche corvette mustang harley yamaha chocolate cookie cheese pepper ginger buster killer
hunter ranger tigger soccer maggie hannah flower jesus jesuschrist blessed heaven angel angels forever family mother
father brother sister daughter mommy daddy blink metallica nirvana slipknot eminem rockyou rockstar superstar purple
orange yellow silver golden diamond rainbow unicorn butterfly lovely beautiful sweetheart babygirl babyboy teamo
tequiero amor company database server openai chatgpt anthropic helix helixhelix gateway
"""
_STEMS: Final = frozenset(_STEM_WORDS.split())

_WHOLE_WORDS: Final = """
correcthorsebatterystaple thequickbrownfox ilovemyfamily iloveyousomuch iloveyouforever passwordpassword qwertyqwerty
qwertyuiopasdfghjkl 1q2w3e4r5t 1q2w3e4r5t6y 1q2w3e4r5t6y7u8i9o0p q1w2e3r4t5 q1w2e3r4t5y6 1qaz2wsx3edc 1qaz2wsx3edc4rfv
zaq12wsxcde3 zaq1zaq1zaq1 abcd1234abcd a1b2c3d4e5 a1b2c3d4e5f6 1a2b3c4d5e asdfasdfasdf abcabcabcabc letmeinplease
nevergonnagiveyouup tobeornottobe maytheforcebewithyou
"""
_WHOLE: Final = frozenset(_WHOLE_WORDS.split())

_EDGES: Final = re.compile(r"^[ -@\[-`{-~]+|[ -@\[-`{-~]+$")
"""Digits and signs of ASCII: letters of any script, and pictures, are what a password is made of."""


def common(password: str) -> bool:
    """Whether it is one of the first that anybody tries: digits and signs alone, a stem with such around it, or repeated."""
    word = password.casefold()
    stem = _EDGES.sub("", word)
    return not stem or word in _WHOLE or stem in _WHOLE or stem in _STEMS or _repeated(stem)


def _repeated(stem: str) -> bool:
    """`monkeymonkey`, `aaaaaaaaaaaa`."""
    return any(
        stem == stem[:size] * (len(stem) // size) for size in range(1, len(stem) // 2 + 1) if not len(stem) % size
    )
