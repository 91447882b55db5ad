"""What mailbox providers object to: each rule fires on its example, and a good mail has none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from goodstanding.mailings.mail import linting
from goodstanding.mailings.mail.linting import Finding, Setting, lint
from goodstanding.mailings.mail.signing import Signer
from tests.mailings.compose_parts import FOOTER, HTML_FOOTER, content

WORDS = (
    "Our new hats are warm and light and come in seven colours, all of them made in our town. " * 2
)
GOOD = f"""<!DOCTYPE html><html lang="en"><head><title>News</title></head><body>
<div style="display:none">Seven colours</div><h1>Hats</h1><p>Dear {{{{ name }}}}, {WORDS}</p>
<p><a href="https://www.example.com/hats">See them</a> <img src="https://www.example.com/h.png"
alt="A hat"> <a href="https://example.com">www.example.com</a> Node.js
<a href="https://hats.example/node">Node.js</a></p>
{HTML_FOOTER}</body></html>"""


def signer(domain: str = "example.com", bits: int = 2048) -> Signer:
    key: Any = rsa.generate_private_key(65537, bits) if bits else None
    key = key or ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Signer(domain, "s", pem)


SIGNER = signer()


def findings(setting: dict[str, Any] | None = None, **more: Any) -> list[Finding]:
    said = {
        "base_url": "https://mail.example.com",
        "bounce_domain": "bounces.example.com",
        "signer": SIGNER,
    }
    mail = content(**{"from_name": "Hats", "subject": "News for {{ name }}", "html": GOOD} | more)
    return lint(mail, Setting(**said | (setting or {})), ["name"])


def rules(setting: dict[str, Any] | None = None, **more: Any) -> dict[str, Finding]:
    return {each.rule: each for each in findings(setting, **more)}


def page(extra: str) -> str:
    return GOOD.replace("<h1>", f"\n{extra}<h1>")


ASKING = GOOD.replace("<h1>", '<p><a href="{{ confirm_url }}">Yes</a></p><h1>')
ASKS = {"purpose": "confirmation", "html": ASKING, "text": "{{ confirm_url }} {{ postal_address }}"}


def test_a_good_mail_has_nothing_to_object_to() -> None:
    assert findings() == []
    assert findings(**ASKS) == []
    assert findings(html=None) == []


EXAMPLES: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "content": [({}, {"html": "<p>{{ nmae }}"}), ({}, {"postal_address": ""})],
    "no_one_click": [({"base_url": "http://mail.example.com"}, {})],
    "unreachable": [
        ({"base_url": "https://127.0.0.1:8000"}, {}),
        ({"base_url": "https://localhost"}, {}),
        ({"base_url": "https://[fd00::1]/"}, {}),
    ],
    "free_mail": [({}, {"from_address": "me@gmail.com"})],
    "unaligned": [({"bounce_domain": "b.example.net"}, {"from_address": "me@shop.co.uk"})],
    "unsigned": [({"signer": None}, {})],
    "other_return_path": [({"bounce_domain": "example.net"}, {})],
    "weak_key": [({"signer": signer(bits=1024)}, {})],
    "unread_key": [({"signer": signer(bits=0)}, {})],
    "no_sender_name": [({}, {"from_name": " "})],
    "no_reply": [({}, {"from_address": f"{name}@example.com"})
                 for name in ("noreply", "no-reply", "do-not-reply", "donotreply")],
    "no_text": [({}, {"text": None})],
    "clipped": [({}, {"html": page("<p>Hats!</p>" * 9_000)})],
    "hidden_unsubscribe": [
        ({}, {"html": page("").replace("<p>{{ postal", '<p style="display: none">{{ postal')}),
        ({}, {"html": page("<style>p {display:none}</style>")}),
    ],
    "hidden_confirm": [
        ({}, ASKS | {"html": ASKING.replace("<p><a href=\"{{ c", "<p hidden><a href=\"{{ c")}),
        ({}, ASKS | {"html": ASKING.replace("<h1>", "<style>p {display:none}</style><h1>")}),
    ],
    "remote_styles": [
        ({}, {"html": page('<link rel="stylesheet" href="https://example.com/x.css">')}),
        ({}, {"html": page("<style>@import 'x.css';</style>")}),
    ],
    "active_content": [({}, {"html": page(f"<{tag}></{tag}>")})
                       for tag in ("script", "form", "iframe", "object")],
    "no_alt": [({}, {"html": page('<img src="https://example.com/x.png">')})],
    "inline_image": [({}, {"html": page('<img alt="" src="data:image/png;base64,AA">')})],
    "only_images": [({}, {"html": GOOD.replace(WORDS, "")})],
    "no_language": [({}, {"html": GOOD.replace(' lang="en"', "")})],
    "not_https": [
        ({}, {"html": page('<a href="http://example.com/">x</a>')}),
        ({}, {"html": page('<img alt="" src="http://example.com/x.png">')}),
        ({}, {"text": f"http://example.com/ {FOOTER}"}),
    ],
    "shortener": [
        ({}, {"html": page('<a href="https://bit.ly/abc">x</a>')}),
        ({}, {"text": f"see https://www.tinyurl.com/x. {FOOTER}"}),
    ],
    "link_to_number": [
        ({}, {"html": page('<a href="https://203.0.113.5/x">x</a>')}),
        ({}, {"html": page('<a href="https://[2001:db8::1]/x">x</a>')}),
    ],
    "misleading_link": [
        ({}, {"html": page('<a href="https://evil.example/">www.bank.example.com</a>')}),
        ({}, {"html": page('<a href="https://evil.example/x"><b>https://bank.com</b>/x</a>')}),
    ],
    "counted_link": [
        ({"base_url": "https://tracking.example.net"},
         {"html": page('<a href="https://example.com/x">example.com/x</a>')}),
    ],
    "shouting": [({}, {"subject": "BUY OUR HATS NOW"}), ({}, {"subject": "\u0413" * 9})],
    "pretended_answer": [({}, {"subject": "Re: your order"}), ({}, {"subject": "FWD : hats"})],
    "excited": [({}, {"subject": "Hats!!!"}), ({}, {"subject": "Win $$$ now"})],
    "long_subject": [({}, {"subject": "Hats and more hats, " * 5})],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "setting", "more"),
    [(rule, *each) for rule, examples in EXAMPLES.items() for each in examples],
)
def test_every_rule_fires_on_its_example(
    rule: str, setting: dict[str, Any], more: dict[str, Any]
) -> None:
    found = rules(setting, **more)
    assert rule in found
    assert found[rule].severity == linting.RULES.rules[rule].severity
    assert found[rule].sources
    assert "{" not in found[rule].says


def test_every_rule_has_an_example_and_a_page_that_says_so() -> None:
    assert linting.RULES.rules.keys() == EXAMPLES.keys()
    used = {source for rule in linting.RULES.rules.values() for source in rule.sources}
    assert used == linting.RULES.sources.keys()
    assert all(url.startswith("https://") for url in linting.RULES.sources.values())


@pytest.mark.parametrize(
    ("setting", "more", "silent"),
    [
        ({}, {"subject": "NEWS"}, "shouting"),
        ({"base_url": "https://tracking.example.net"},
         {"purpose": "one_off", "html": page('<a href="https://example.com/x">example.com/x</a>')},
         "counted_link"),
        ({}, {"subject": "USA: 20 % off"}, "pretended_answer"),
        ({"bounce_domain": "b.example.net"}, {}, "unaligned"),
        ({"bounce_domain": "b.shop.co.uk", "signer": signer("shop.co.uk")},
         {"from_address": "me@news.shop.co.uk"}, "unaligned"),
        ({"base_url": "http://mail.example.com"}, {"purpose": "transactional"}, "no_one_click"),
        ({}, {"from_address": "noreply@example.com", "reply_to": "desk@example.com"}, "no_reply"),
        ({}, {"html": page("<a href=\"https://{{ name }}.example/\">bank.example</a>")},
         "misleading_link"),
        ({}, {"html": page('<!-- <script></script> <img src=x> -->')}, "active_content"),
        ({}, {"html": page('<a href="https://b.co.uk">www.b.co.uk</a>')},
         "misleading_link"),
    ],
)  # fmt: skip
def test_what_is_no_objection(setting: dict[str, Any], more: dict[str, Any], silent: str) -> None:
    assert silent not in rules(setting, **more)


def test_a_finding_has_its_line_and_the_gravest_come_first() -> None:
    found = findings({"signer": None}, html=page('<script></script><img src="x">'), subject="{{")
    assert [each.severity for each in found] == sorted(
        (each.severity for each in found), key=["refused", "objection", "advice"].index
    )
    lines = {each.rule: (each.place, each.line) for each in found}
    assert lines["active_content"] == ("html", 3)
    assert lines["content"] == ("subject", 1)
    assert lines["unsigned"] == ("settings", None)


def lint_files(
    environment: dict[str, str], folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("goodstanding"), "lint", *arguments],
        env=environment | {f"GOODSTANDING_{name.upper()}": v for name, v in variables.items()},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text(GOOD.replace("{{ name }}", "{{ first_name }}"))
    (tmp_path / "good.txt").write_text(f"Hats {FOOTER}")
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    variables = {
        "base_url": "https://mail.example.com", "bounce_domain": "bounces.example.com",
        "postal_address": "1 High Street", "sender_address": "news@example.com",
        "sender_name": "Hats", "dkim_domain": "example.com", "dkim_selector": "s",
        "dkim_key": str(tmp_path / "key.pem"),
    }  # fmt: skip
    files = ("--html", "good.html", "--text", "good.txt")
    done = lint_files(environment, tmp_path, "--subject", "News", *files, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing to object to.\n", "")
    done = lint_files(environment, tmp_path, "--subject", "Hats!!", "--json", *files, **variables)
    assert done.returncode == 0
    assert json.loads(done.stdout)["rule"] == "excited"
    done = lint_files(environment, tmp_path, "--subject", "BUY OUR HATS", *files, **variables)
    assert done.returncode == 1
    assert "objection: subject: the subject is in capitals" in done.stdout
    variables["dkim_key"] = "nothing.pem"
    done = lint_files(environment, tmp_path, "--subject", "News", *files, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "setting dkim_key: nothing.pem cannot be read: No such file or directory\n"
    )
