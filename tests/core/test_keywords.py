"""Keywords: what a reply by SMS says of consent, and what it does not."""

# ruff: noqa: RUF001

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodstanding.core import keywords, registers
from goodstanding.core.events import Event
from goodstanding.core.keywords import LANGUAGES, read, word_in
from tests.core.telling import SMS, became, event, sent, standing

# As somebody would type it, in each language: to stop, to start again, to ask.
TYPED = {
    "en": ("Stop please", "START", "help me!"),
    "es": ("Darme de baja, por favor", "ALTA", "ayuda"),
    "ca": ("BAIXA", "alta", "ajuda"),
    "pt": ("nao enviem mais mensagens", "INICIAR", "ajuda"),
    "fr": ("Arrêtez de m'envoyer des sms svp", "m'abonner", "AIDE"),
    "de": ("Bitte abmelden!", "wieder abonnieren", "Hilfe"),
    "it": ("basta, grazie", None, "aiuto"),
    "nl": ("Meld mij af aub", "abonneren", "hulp"),
    "sv": ("AVANMÄL", None, "hjalp"),
    "nb": ("Meld meg av, takk", None, "HJELP"),
    "da": ("Afmeld mig", None, "hjælp"),
    "fi": ("lopeta heti", None, "apua"),
    "pl": ("prosze wylacz", "subskrybuj", "POMOC"),
    "cs": ("odhlasit", None, "pomoc"),
    "sk": ("Odhlásiť", None, "informacie"),
    "hu": ("leiratkozás", None, "SEGÍTSÉG"),
    "ro": ("mă dezabonez", None, "ajutor"),
    "el": ("ΔΙΑΓΡΑΦΗ", None, "βοηθεια"),
    "tr": ("RET", None, "yardım"),
    "ru": ("Не пишите мне больше!", "СТАРТ", "помощь"),
    "uk": ("Відпишіть мене, будь ласка", "старт", "ДОВІДКА"),
    "he": ("הסירו אותי בבקשה", None, "עזרה"),
    "ar": ("الغاء الاشتراك", None, "مساعدة"),
    "id": ("BERHENTI", "berlangganan", "bantuan"),
    "vi": ("TU CHOI QC", None, "tro giup"),
    "ja": ("配信停止をお願いします。", "配信再開", "ヘルプ"),
    "zh": ("请退订，谢谢", "恢复订阅", "幫助"),
    "ko": ("수신 거부", "수신동의", "도움말"),
}
MEANINGS = ("stop", "start", "help")
ENTRIES = [
    (language, meaning, entry)
    for language, words in LANGUAGES.items()
    for meaning in MEANINGS
    for entry in getattr(words, meaning)
]


def test_a_text_is_shown_for_every_language() -> None:
    assert TYPED.keys() == LANGUAGES.keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_people_may_write_it_in_their_language(language: str) -> None:
    for text, meaning in zip(TYPED[language], MEANINGS, strict=True):
        assert text is None or read(text) == meaning


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_of_a_language_means_what_the_file_says(language: str) -> None:
    wrong = [(m, e) for spoken, m, e in ENTRIES if spoken == language and read(e) != m]
    assert wrong == []


def test_what_the_law_and_the_carriers_of_the_united_states_list_is_read() -> None:
    # 47 CFR 64.1200(a)(10); CTIA; carriers.
    for text in ("stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe"):
        assert read(text) == "stop"
    for text in ("STOPALL", "STOP ALL", "OPTOUT", "OPT-OUT", "REMOVE", "ARRET", "TD"):
        assert read(text) == "stop"
    assert [read(text) for text in ("START", "UNSTOP")] == ["start", "start"]
    assert [read(text) for text in ("HELP", "INFO")] == ["help", "help"]


@pytest.mark.parametrize(
    "text",
    [
        "Stop please",
        "STOP.",
        "stop!!!",
        " \r\n\tStop\u00a0\u3000",
        "“Stop”",
        "(stop)",
        "*STOP*",
        "STOP?",
        "STOP 🛑🛑",
        "ＳＴＯＰ",
        "𝐒𝐓𝐎𝐏",
        "\ufeffS\u200bT\u200dO\u00adP\u200f",
        "s\u0336t\u0336o\u0336p\u0336",
        "\u0336".join("Please stop sending me these messages now"),
        "S.T.O.P",
        "stooooop",
        "STOP STOP STOP",
        "Stop. Unsubscribe. Cancel.",
        "Please stop sending me these messages now, thank you",
        "take me off your list please",
        "Don't text me any more!",
        "ok stop",
        "STOP por favor",
        "stop merci",
        "Arret",
        "arre\u0302t",
        "ΣTOΠ",
        "στοπ",
        "Durdurun LÜTFEN",
        "durdurun",
        "停止お願いします",
        "退订谢谢",
    ],
)
def test_a_stop_is_a_stop_however_it_is_dressed(text: str) -> None:
    assert read(text) == "stop"


@pytest.mark.parametrize(
    "text",
    [
        "Stop by tomorrow?",
        "don't stop",
        "Please don't stop",
        "do not stop",
        "never stop",
        "no stop",
        "non basta",
        "nicht stoppen",
        "n'arrêtez pas",
        "不要停",
        "停めないで",
        "не отключайте",
        "bus stop",
        "full stop",
        "nonstop",
        "Stopped",
        "Stop at the shop",
        "What does STOP do?",
        "I can't stop thinking of your shoes",
        "The End",
        "end it all",
        "Cancel my appointment",
        "Cancel order 1234",
        "annuler",
        "キャンセル",
        "取消",
        "Stop sending me the invoice, send the shoes",
        "STOP START",
        "help stop",
        "Liked “Reply STOP to opt out”",
        "STOP\n\nSent to you by mistake, sorry",
        "please",
        "sms",
        "all messages now",
        "fin",
        "fine",
        "seis",
        "tc",
        "đúng",
        "T",
        "0",
        "👍",
        "!?",
        "",
        " \n",
    ],
)
def test_what_may_mean_something_else_is_no_word_on_consent(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    "text", ["Start", "start!", "“START”", "Start please", "Un-stop", "opt in", "START START"]
)
def test_a_start_is_read_where_it_is_clear(text: str) -> None:
    assert read(text) == "start"


@pytest.mark.parametrize(
    "text",
    [
        *("Start?", "start？", "¿Alta?", "start 👎", "start 🚫", "Start now", "ok start"),
        *("start stop", "don't start", "start tomorrow", "start sms", "do not opt in", "restart"),
        *("YES", "Yes please", "Sí", "oui", "ja", "sim", "tak", "да", "はい", "好"),
        *("join", "register", "anmelden", "continue", "resume", "no"),
    ],
)
def test_consent_is_not_taken_from_what_may_mean_something_else(text: str) -> None:
    assert read(text) is None


def test_no_spelling_has_two_meanings() -> None:
    meanings = {
        meaning: {"".join(keywords._fold(e)) for _, m, e in ENTRIES if m == meaning}
        for meaning in MEANINGS
    }
    beside = {
        "".join(keywords._fold(entry))
        for words in LANGUAGES.values()
        for entry in (*words.polite, *words.about)
    }
    for meaning, spellings in meanings.items():
        others = set().union(*(meanings[m] for m in MEANINGS if m != meaning))
        assert spellings & (others | beside) == set()


def test_no_word_that_denies_is_overheard() -> None:
    denying = (
        *(
            "no",
            "not",
            "dont",
            "don't",
            "never",
            "nunca",
            "jamás",
            "não",
            "nao",
            "pas",
            "ne",
            "jamais",
        ),
        *(
            "nicht",
            "kein",
            "keine",
            "nie",
            "non",
            "mai",
            "niet",
            "geen",
            "inte",
            "ikke",
            "ei",
            "älä",
        ),
        *("ne", "nem", "nu ma", "μη", "değil", "не", "нет", "ні", "לא", "لا", "tidak", "jangan"),
        *("không", "đừng", "ない", "ないで", "不", "不要", "别", "没", "안", "마", "who", "when"),
    )
    for word in denying:
        for text in (f"{word} stop", f"{word} start", f"start {word}"):
            assert read(text) is None, text


WHITE = " \t\r\n\u00a0\u2003\u3000"
SIGNS = ".,;:!…-–—_*~#'\"`´“”‘’«»‹›„()[]{}<>/\\|。、！「」（）"
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f"
around = st.text(st.sampled_from(WHITE + SIGNS + UNSEEN), max_size=12)


@given(st.sampled_from(ENTRIES), around, around, st.booleans(), st.data())
def test_case_and_signs_around_it_change_nothing(
    entry: tuple[str, str, str], before: str, after: str, polite: bool, data: st.DataObject
) -> None:
    language, meaning, text = entry
    courtesies = LANGUAGES[language].polite
    said = f"{text} {data.draw(st.sampled_from(courtesies))}" if polite and courtesies else text
    written = "".join(
        data.draw(st.sampled_from((char.lower(), char.upper(), char))) for char in said
    )
    for each in (said, written, f"{before}{written}{after}", f"{before} {said.upper()} {after}"):
        assert read(each) == (None if meaning == "start" and ";" in each else meaning)


@given(
    st.text(max_size=400)
    | st.text(st.sampled_from("stop STOPbaja退订\u0301\ud800 !?"), max_size=60)
)
def test_any_text_is_read_and_read_the_same_again(text: str) -> None:
    meaning = read(text)
    assert meaning in (None, *MEANINGS)
    assert read(text) == meaning
    assert read(f'  "{text.strip()}"\n'[: keywords.LONGEST]) in (meaning, None)


@pytest.mark.parametrize(
    "text",
    [
        "stop" * 250_000,
        "stop " * 200_000,
        "stop" + "!" * 1_000_000,
        "s" + "\u0336" * 1_000_000 + "top",
        "\ufdfa" * 1_000_000,
        "please " * 143_000,
        "\u200b" * 1_000_000,
        " " * 1_000_000,
        "停" * 1_000_000,
        "\0" * 1_000_000,
        "\ud800" * 1_000_000,
    ],
)
def test_a_million_characters_cost_nothing(text: str) -> None:
    tracemalloc.start()
    began = time.perf_counter()
    assert read(text) is None
    took = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 0.2
    assert peak < 4 * len(text) + 100_000  # no more than one copy of it


def test_the_longest_text_that_is_read_costs_little() -> None:
    hostile = ("please stop now " * 20)[:160], "\ufdfa" * 160, "停" * 160, "a " * 80
    for text in hostile:
        began = time.perf_counter()
        read(text)
        assert time.perf_counter() - began < 0.05


def test_white_space_around_it_is_not_counted() -> None:
    assert read(" " * 500_000 + "stop" + "\n" * 500_000) == "stop"


# What it does


def reply(text: object, days: float = 2, **said: object) -> Event:
    return event("replied", days, "spring", address=SMS, text=text, **said)


def heard(*events: Event) -> list[Event]:
    """The events, and the words in them, as a ledger stores them."""
    return [each for given in events for each in (given, word_in(given)) if each is not None]


@pytest.mark.parametrize(("text", "kind"), [("STOP", "opted_out"), ("start", "opted_in")])
def test_a_reply_by_sms_is_the_persons_word(text: str, kind: str) -> None:
    given = reply(f" {text} ", key="r1", source="webhook:sms", recipient="7", topic="offers")
    word = word_in(given)
    assert word is not None
    assert (word.kind, word.occurred_at, word.address) == (kind, given.occurred_at, SMS)
    assert (word.mailing, word.recipient, word.source) == ("spring", "7", "webhook:sms")
    assert word.topic is None  # it is on everything
    assert word.detail == {
        "how": "keyword",
        "text": text,
        "reply": "r1",
        "rules": keywords.VERSION,
    }
    assert word == word_in(given)
    assert word.key != given.key
    other = word_in(reply(text, key="r2"))
    assert other is not None
    assert other.key != word.key


@pytest.mark.parametrize("text", ["HELP", "see you tomorrow", "YES", "", None, 7, ["STOP"]])
def test_other_replies_are_no_word(text: object) -> None:
    assert word_in(reply(text)) is None


def test_only_replies_by_sms_are_read() -> None:
    assert word_in(event("replied", 2, "spring", text="STOP")) is None
    assert word_in(event("auto_replied", 2, "spring", address=SMS, text="STOP")) is None
    assert word_in(event("clicked", 2, "spring", address=SMS, text="STOP")) is None


def test_a_reply_without_a_key_gives_its_word_one() -> None:
    one, other = word_in(reply("STOP")), word_in(reply("STOP", days=3))
    assert one is not None
    assert other is not None
    assert one.key != other.key


def test_a_stop_refuses_every_purpose_and_moves_the_delivery() -> None:
    said = standing(
        *heard(event("imported", 0, permission=True), sent(1, "spring"), reply("STOP")),
        channel="sms",
    )
    assert said.status == "opted_out"
    assert set(said.blocks.values()) == {"opted_out"}
    assert became(*heard(sent(1, "spring"), reply("STOP")), channel="sms") == "unsubscribed"


def test_the_latest_word_decides() -> None:
    back = heard(sent(1, "spring"), reply("STOP"), reply("START", days=3))
    said = standing(*back, channel="sms")
    assert (said.status, said.blocks["broadcast"]) == ("opted_in", None)
    # They asked for it themselves, so that they may also be asked to confirm.
    assert said.blocks["confirmation"] is None
    assert [each.name for each in said.responses] == ["unsubscribed"]
    again = standing(*back, *heard(reply("stop", days=4)), channel="sms")
    assert again.status == "opted_out"
    at_once = standing(*heard(reply("START"), reply("STOP", key="k")), channel="sms")
    assert at_once.status == "opted_out"


def test_the_manner_of_the_opt_in_is_one_by_which_people_ask() -> None:
    word = word_in(reply("START"))
    assert word is not None
    held = registers.hear(registers.EMPTY, word.kind, word.occurred_at, word.key, word.detail)
    assert registers.asks(held.person.opted_in)
