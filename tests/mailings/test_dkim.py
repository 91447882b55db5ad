"""Signing: another's verifier believes it, and nothing signed can be changed or added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from goodstanding.mailings.mail import compose, signing
from goodstanding.mailings.mail.signing import BadKey, Dkim, Signer
from tests.mailings.compose_parts import FOOTER, HTML_FOOTER, STAMP, content, strictly


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    made: dict[str, Any] = {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "ec": ec.generate_private_key(ec.SECP256R1()),
    }
    for name, key in made.items():
        (folder / f"{name}.pem").write_bytes(in_pem(key, NoEncryption()))
    return {name: folder / f"{name}.pem" for name in made}


def in_pem(key: Any, encryption: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def signer(keys: dict[str, Path], kind: str, domain: str = "example.com") -> Signer:
    return signing.load(Dkim(domain=domain, selector="s1", key=str(keys[kind])))


def verifies(raw: bytes, key: Signer) -> bool:
    def found(name: bytes, timeout: int = 5) -> bytes | None:
        return key.record.encode() if name == f"{key.place}.".encode() else None

    return bool(dkim.verify(raw, dnsfunc=found))


def signed(key: Signer, recipient: str = "ann@example.com", **more: Any) -> bytes:
    ready = compose.compile_content(content(**more), ["name"], signer=key)
    return ready.render({"name": "Ann  \t\u00e4  "}, recipient, STAMP)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"text": f"Two  spaces \n\ttab\n\n\n{{{{ name }}}} {FOOTER}\n\n\n"},
        {"html": f"<p>Hi {{{{ name }}}}</p>{HTML_FOOTER}", "reply_to": "desk@example.com"},
        {"subject": "\u0413\u043e\u0440\u043e\u0434 {{ name }} " * 9, "from_name": "\u00c4" * 60},
        {"purpose": "transactional", "text": "x"},
    ],
    ids=["text", "spaces", "html", "folded", "transactional"],
)
def test_another_verifier_believes_it(keys: dict[str, Path], kind: str, more: Any) -> None:
    key = signer(keys, kind)
    raw = signed(key, **more)
    assert verifies(raw, key)
    head = raw.partition(b"\r\n\r\n")[0]
    assert all(len(line) <= 78 for line in head.split(b"\r\n"))
    strictly(raw)


def test_a_domain_of_another_script(keys: dict[str, Path]) -> None:
    key = signer(keys, "ed25519", "b\u00fccher.example")
    raw = signed(key, from_address="x@b\u00fccher.example", recipient="\u043f\u0451@example.com")
    assert b" d=xn--bcher-kva.example;" in raw
    assert verifies(raw, key)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_nothing_that_matters_can_be_changed(keys: dict[str, Path], kind: str) -> None:
    key = signer(keys, kind)
    raw = signed(key, html=f"<p>Hi</p>{HTML_FOOTER}", reply_to="desk@example.com")
    names = [str(name) for name in strictly(raw)]
    assert names[0] == "DKIM-Signature"
    for name in names[1:]:
        changed = raw.replace(f"\r\n{name}: ".encode(), f"\r\n{name}: x".encode(), 1)
        assert changed != raw
        assert not verifies(changed, key), name
    assert not verifies(raw.replace(b"<p>Hi", b"<p>Ho"), key)
    assert not verifies(b"From: mallory@example.net\r\n" + raw, key)
    assert not verifies(raw.replace(b"\r\nTo:", b"\r\nFrom: m@example.net\r\nTo:", 1), key)


def test_what_relays_may_do(keys: dict[str, Path]) -> None:
    key = signer(keys, "rsa")
    raw = signed(key, subject="A subject of many words " * 6)
    assert verifies(b"Received: from a by b\r\n" + raw, key)
    assert verifies(raw.replace(b"\r\nSubject: ", b"\r\nSUBJECT:   ", 1), key)
    assert verifies(raw + b"\r\n\r\n", key)


def test_both_that_unsubscribe_are_signed(keys: dict[str, Path]) -> None:
    said = str(strictly(signed(signer(keys, "rsa")))["DKIM-Signature"])
    names = said.partition("h=")[2].partition(";")[0].replace(" ", "").split(":")
    assert names.count("from") == 2
    assert {"list-unsubscribe", "list-unsubscribe-post", "feedback-id"} <= set(names)


def test_trying_again_is_the_same_message(keys: dict[str, Path]) -> None:
    key = signer(keys, "rsa")
    assert signed(key) == signed(key)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("ec", "neither an RSA nor an Ed25519"), ("none", "cannot be read")],
)
def test_keys_that_will_not_do(keys: dict[str, Path], kind: str, words: str) -> None:
    path = keys.get(kind, keys["rsa"].with_name("none.pem"))
    with pytest.raises(BadKey, match=words) as caught:
        signing.load(Dkim(domain="example.com", selector="s", key=str(path)))
    assert str(caught.value).startswith(f"dkim_key: {path} ")
    assert "\n" not in str(caught.value)


def test_keys_that_are_too_small(keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "SMALLEST", 4096)
    with pytest.raises(BadKey, match="has 2048 bits; nobody believes fewer than 4096"):
        Signer("example.com", "s1", keys["rsa"].read_bytes())


def test_files_that_hold_no_key(keys: dict[str, Path], tmp_path: Path) -> None:
    for said in (b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        (tmp_path / "k.pem").write_bytes(said)
        with pytest.raises(BadKey, match="no private key"):
            signing.load(Dkim(domain="example.com", selector="s", key=str(tmp_path / "k.pem")))
    locked = tmp_path / "locked.pem"
    key = ed25519.Ed25519PrivateKey.generate()
    locked.write_bytes(in_pem(key, BestAvailableEncryption(b"x")))
    with pytest.raises(BadKey, match="is encrypted"):
        signing.load(Dkim(domain="example.com", selector="s", key=str(locked)))


@pytest.mark.parametrize(
    ("domain", "selector", "words"),
    [
        ("", "s", "dkim_domain"),
        ("exam ple.com", "s", "dkim_domain"),
        ("example.com;x=y", "s", "dkim_domain"),
        ("example.com", "", "dkim_selector"),
        ("example.com", "a;b", "dkim_selector"),
        ("example.com", "a\r\nb", "dkim_selector"),
        ("example.com", "-a", "dkim_selector"),
    ],
)
def test_names_that_will_not_do(
    keys: dict[str, Path], domain: str, selector: str, words: str
) -> None:
    with pytest.raises(BadKey, match=words):
        Signer(domain, selector, keys["ed25519"].read_bytes())
