"""Reads the forms of a page, as a browser does before somebody presses a button."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec


class Form(msgspec.Struct):
    """One form: where it goes, what it sends anyway, its buttons and its text boxes."""

    action: str
    method: str
    fields: list[tuple[str, str]]
    buttons: list[tuple[str, str]]
    boxes: list[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "form":
            method = given.get("method", "get").lower()
            self._form = Form(given.get("action", ""), method, [], [], [])
            self.forms.append(self._form)
        elif self._form is None or not name:
            return
        elif tag == "textarea":
            self._form.boxes.append(name)
        elif tag == "button" and given.get("type", "submit").lower() == "submit":
            self._form.buttons.append((name, given.get("value", "")))
        elif tag == "input":
            self._input(self._form, given.get("type", "text").lower(), name, given)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    @staticmethod
    def _input(form: Form, kind: str, name: str, given: dict[str, str]) -> None:
        if kind == "submit":
            form.buttons.append((name, given.get("value", "")))
        elif kind in {"checkbox", "radio"}:
            if "checked" in given:
                form.fields.append((name, given.get("value", "on")))
        elif kind not in {"button", "reset", "image", "file"}:
            form.fields.append((name, given.get("value", "")))


def read(page: str) -> list[Form]:
    """Return the forms of an HTML page, in order."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.forms
