"""Person or machine: what each of them sends."""

import pytest

from goodstanding.intake import machines

FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
CUBOT = "Mozilla/5.0 (Linux; Android 13; CUBOT X70) AppleWebKit/537.36 Chrome/138.0.0.0 Mobile"
GOOGLE = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"


@pytest.mark.parametrize("agent", [FIREFOX, IPHONE, CUBOT, GOOGLE, YAHOO])
def test_people_are_people(agent: str) -> None:
    assert not machines.judge("GET", agent, {}).machine


@pytest.mark.parametrize(
    ("agent", "rule"),
    [
        ("Mozilla/5.0", "apple_privacy"),
        ("", "no_agent"),
        ("BarracudaSentinel (EE)", "scanner"),
        ("Mozilla/5.0 (compatible; LinkScanner/2.4; mail security)", "scanner"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) SafeLinkScanner/1.8", "scanner"),
        ("Mozilla/5.0 (compatible; Example Bot; +https://bot.example.com)", "crawler"),
        ("curl/8.9.1", "program"),
        ("python-requests/2.32", "program"),
        ("Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/138.0.0.0 Safari/537.36", "program"),
    ],
)
def test_machines_are_machines(agent: str, rule: str) -> None:
    verdict = machines.judge("GET", agent, {})
    assert (verdict.machine, verdict.rule) == (True, rule)


def test_a_browser_that_fetches_ahead_or_asks_for_the_head_is_a_machine() -> None:
    assert machines.judge("GET", FIREFOX, {"sec-purpose": "prefetch;prerender"}).machine
    assert machines.judge("GET", FIREFOX, {"x-moz": "prefetch"}).machine
    assert machines.judge("HEAD", FIREFOX, {}).machine
    assert not machines.judge("GET", FIREFOX, {"purpose": "reading"}).machine


def test_every_rule_says_why_and_has_a_name_of_its_own() -> None:
    assert all(rule.about for rule in machines.RULES)
    assert len({rule.name for rule in machines.RULES}) == len(machines.RULES)
