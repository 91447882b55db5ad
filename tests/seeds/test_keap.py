"""«Limpieza de Status de Email»: the Spanish guide to Infusionsoft by Keap."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran
from tests.seeds.scenarios import HOUR, Scenario, heard, mailed, returned

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

SYSTEM = "keap"

OPTED_IN = heard("opted_in", "ann", 100, how="form")
BECOMES: dict[str, list[Any]] = {
    "Unengaged Marketable": [heard("opted_in", "ann", 0), *mailed("ann", 1, "may", "delivered")],
    "Unconfirmed": [OPTED_IN],
    "Confirmed (Legacy)": [OPTED_IN, heard("confirmed", "ann", 101, method="custom")],
    "Confirmed": [OPTED_IN, heard("confirmed", "ann", 101, method="standard")],
    "Non-marketable": [heard("imported", "ann", 100, permission=False)],
    "Lockdown": [heard("imported", "ann", 100, permission=True), heard("locked", "ann", 101)],
    "Soft Bounce": [OPTED_IN, *returned("ann", 101, "june", "mailbox_full")],
    "Hard Bounce": [OPTED_IN, *returned("ann", 101, "june", "mailbox_disabled")],
    "Opt-Out": [OPTED_IN, heard("opted_out", "ann", 101, source="link")],
    "Opt-Out: Admin": [OPTED_IN, heard("admin_opted_out", "ann", 101)],
    "List Unsubscribe": [OPTED_IN, heard("list_unsubscribed", "ann", 101)],
    "Provided Feedback": [
        OPTED_IN,
        heard("opted_out_with_feedback", "ann", 101, reason="demasiados emails"),
    ],
    "Reported Spam": [OPTED_IN, *mailed("ann", 101, "june", "delivered", "complained")],
    "Invalid Email": [OPTED_IN, *returned("ann", 101, "june", "domain_unknown")],
}
"""The fourteen statuses in the guide's order, each with one way to come to it by day 125."""

PREVENT = {
    "Hard Bounce": "hard_bounced",
    "Opt-Out": "opted_out",
    "Opt-Out: Admin": "opted_out",
    "List Unsubscribe": "opted_out",
    "Provided Feedback": "opted_out",
    "Reported Spam": "complained",
    "Invalid Email": "hard_bounced",
}
GOOD = ("Unengaged Marketable", "Unconfirmed", "Confirmed (Legacy)", "Confirmed")
UGLY = ("Hard Bounce", "Reported Spam", "Invalid Email")


def family_of(status: str) -> str:
    return "good" if status in GOOD else "ugly" if status in UGLY else "bad"


def named(who: str, story: list[Any]) -> list[Any]:
    return [line | {"address": f"{who}@example.com"} for line in story]


@pytest.mark.parametrize("status", BECOMES)
def test_the_fourteen_statuses(scenario: Scenario, status: str) -> None:
    """«Las opciones de status de email existentes … Y sus descripciones son»."""
    scenario.tell(BECOMES[status])
    assert scenario.name("ann", 125) == status
    assert scenario.why("ann", 125)["names"]["keap.es"] == status
    assert scenario.statuses(125) == [(status, family_of(status), 1)]


def test_email_status_search(scenario: Scenario) -> None:
    """«Menú Principal -> Marketing -> Reports -> Email Status Search»: all fourteen in Spanish."""
    for place, story in enumerate(BECOMES.values()):
        scenario.tell(named(f"p{place}", story))
    counted = sorted((status, family_of(status), 1) for status in BECOMES)
    assert sorted(scenario.statuses(125, "--lang", "es")) == counted
    assert sorted(scenario.statuses(125)) == counted


@pytest.mark.parametrize("status", PREVENT)
def test_seven_statuses_prevent_the_contact_from_getting_mail(
    scenario: Scenario, status: str
) -> None:
    """«son estatus que IMPIDEN que el contacto reciba emails suyos»."""
    scenario.tell(BECOMES[status])
    for purpose in ("broadcast", "sequence", "one_off"):
        assert scenario.refusal("ann", 125, purpose) == PREVENT[status]


@pytest.mark.parametrize("status", GOOD)
def test_the_first_four_get_mail(scenario: Scenario, status: str) -> None:
    """«Contactos que pueden recibir emails suyos», and whoever opted in or confirmed."""
    scenario.tell(BECOMES[status])
    for purpose in ("broadcast", "sequence", "one_off"):
        assert scenario.refusal("ann", 125, purpose) is None


def test_filling_a_form_is_a_single_opt_in_and_the_footer_link_an_opt_out(
    scenario: Scenario,
) -> None:
    """«un contacto que completa un formulario es considerado single opt-in. Ya que hace clic en el
    link del pie de página … es considerado un opt-out»."""
    scenario.tell(heard("opted_in", "ann", 0, how="form"))
    assert scenario.name("ann", 1) == "Unconfirmed"
    scenario.tell(mailed("ann", 2, "may", "delivered", "opted_out", source="link"))
    assert scenario.name("ann", 3) == "Opt-Out"


def test_unconfirmed_by_form_import_or_a_tick(scenario: Scenario, tmp_path: Path) -> None:
    """«llenado de formulario, importación de datos y edición manual de contacto (marcando el
    checkbox)»."""
    rows = "Correo,Consent date\nbob@example.com,2020-01-06\n"
    scenario.contacts(tmp_path / "gente.csv", rows, "--permission", "feria de 2020")
    scenario.tell(heard("opted_in", "ann", 0, how="form"))
    assert scenario.act("opt-in", "cai", 0, "lo pidió en la feria").status == 0
    for who in ("ann", "bob", "cai"):
        assert scenario.name(who, 1) == "Unconfirmed"


def test_unengaged_after_four_months_and_back(scenario: Scenario) -> None:
    """«no están interactuando con ellos desde hace algún tiempo (promedio: 4 meses)»."""
    scenario.tell(
        heard("opted_in", "ann", 0, how="form"),
        mailed("ann", 1, "may", "delivered"),
        heard("opened", "ann", 10, "may"),
        mailed("ann", 100, "june", "delivered"),
    )
    assert scenario.name("ann", 129.9) == "Unconfirmed"
    assert scenario.name("ann", 130.1) == "Unengaged Marketable"
    assert scenario.refusal("ann", 400) is None


@pytest.mark.parametrize("sign", ["opened", "machine_opened", "clicked", "replied", "form"])
def test_back_on_the_next_open_click_or_form(scenario: Scenario, sign: str) -> None:
    """«La falta de interacción generalmente es contabilizada por la no apertura de los emails.»"""
    scenario.tell(heard("opted_in", "ann", 0), mailed("ann", 1, "may", "delivered"))
    assert scenario.name("ann", 130) == "Unengaged Marketable"
    if sign == "form":
        scenario.tell(heard("opted_in", "ann", 140, how="form"))
    else:
        scenario.tell(heard(sign, "ann", 140, "may"))
    assert scenario.name("ann", 141) == "Unconfirmed"
    assert scenario.name("ann", 259) == "Unconfirmed"
    assert scenario.name("ann", 261) == "Unengaged Marketable"


def test_unengaged_non_marketable_by_a_policy_of_ones_own(
    scenario: Scenario, tmp_path: Path
) -> None:
    """Keap's fifteenth status, which the guide leaves out: stopped after so long a silence."""
    own = tmp_path / "own.toml"
    own.write_text('base = "keap"\n[unengaged]\nstopped_after = "365d"\n')
    scenario.under(str(own))
    scenario.tell(heard("opted_in", "ann", 0), mailed("ann", 1, "may", "delivered"))
    assert scenario.name("ann", 300) == "Unengaged Marketable"
    assert scenario.name("ann", 367) == "Unengaged Non-Marketable"
    assert scenario.why("ann", 367)["names"]["keap.es"] == "Unengaged Non-Marketable"
    assert scenario.refusal("ann", 367) == "unengaged"
    assert scenario.name("ann", 367, "--policy", "keap") == "Unengaged Marketable"
    assert scenario.act("opt-in", "ann", 370, "todavía lo quiere").status == 0
    assert scenario.name("ann", 371) == "Unconfirmed"


@pytest.mark.parametrize(
    ("method", "status"), [("custom", "Confirmed (Legacy)"), ("standard", "Confirmed")]
)
def test_confirmed_and_confirmed_legacy(scenario: Scenario, method: str, status: str) -> None:
    """«El Legacy es la confirmación usada en Brasil, ya que el Confirmed tradicional está en inglés
    y gran parte del texto no puede ser modificado.»"""
    scenario.tell(
        heard("opted_in", "ann", 0, how="form"),
        mailed("ann", 1, "please confirm", "delivered", purpose="confirmation"),
        heard("confirmed", "ann", 2, "please confirm", source="link", method=method),
    )
    assert scenario.name("ann", 1.5) == "Unconfirmed"
    assert scenario.name("ann", 3) == status
    scenario.tell(heard("opted_out", "ann", 4))
    assert scenario.name("ann", 5) == "Opt-Out"


def test_non_marketable_never_get_mail(scenario: Scenario, tmp_path: Path) -> None:
    """«Ellos nunca reciben email suyo, independientemente de tener un email en el perfil»; and
    «una base sin email, que será contactada solamente vía telefónica»."""
    rows = "Name,Email,Phone\nAnn,ann@example.com,\nBob,,+34600000001\n"
    done = scenario.contacts(tmp_path / "crm.csv", rows)
    assert (done["contacts_new"], done["addresses"]) == (2, 2)
    assert scenario.name("ann") == "Non-marketable"
    for purpose in ("broadcast", "sequence", "one_off"):
        assert scenario.refusal("ann", None, purpose) == "never_opted_in"
        assert scenario.refusal("+34600000001", None, purpose) == "never_opted_in"


def test_lockdown_disables_setting_unconfirmed_by_hand(scenario: Scenario) -> None:
    """«deshabilita la posibilidad de colocar un contacto en unconfirmed manualmente»."""
    scenario.tell(heard("imported", "ann", 0, permission=False))
    assert scenario.act("lock", "ann", 1, "orden de la central").status == 0
    assert scenario.name("ann", 2) == "Lockdown"
    assert scenario.refusal("ann", 2) == "locked"
    refused = scenario.act("opt-in", "ann", 3)
    assert refused.status == 1
    assert "it is locked" in refused.err
    scenario.tell(heard("admin_opted_in", "ann", 4, source="import", reason="como antes"))
    scenario.act("unlock", "ann", 5, "aclarado")
    assert scenario.name("ann", 6) == "Non-marketable"
    assert scenario.act("opt-in", "ann", 7, "lo pidió").status == 0
    assert scenario.name("ann", 8) == "Unconfirmed"


def test_soft_bounces_until_the_alternatives_are_exhausted(scenario: Scenario) -> None:
    """«El servidor de Infusionsoft continúa intentando enviar hasta agotar las alternativas y el
    contacto sea considerado hard bounce.»"""
    scenario.tell(heard("opted_in", "ann", 0))
    scenario.tell(*(returned("ann", day, f"m{day}", "mailbox_full") for day in range(1, 6)))
    for day in range(1, 5):
        assert scenario.name("ann", day + 0.5) == "Soft Bounce"
        assert scenario.refusal("ann", day + 0.5) is None
    assert scenario.name("ann", 5.5) == "Hard Bounce"
    assert scenario.why("ann", 5.5)["status"] == "soft_stopped"
    assert scenario.refusal("ann", 5.5) == "soft_stopped"


def test_soft_bounce_prevents_nothing_yet(scenario: Scenario) -> None:
    """The guide says both «Contactos que no reciben el email por un motivo temporal», not among the
    seven that prevent, and that «Emails con los estatus del 6 al 14 … ya no reciben»: here they do,
    until they are stopped."""
    scenario.tell(BECOMES["Soft Bounce"])
    assert scenario.refusal("ann", 125) is None


def test_hard_bounce_is_mostly_a_closed_account(scenario: Scenario) -> None:
    """«Normalmente, el motivo es que la cuenta de email ha sido descontinuada.»"""
    said = "550 5.2.1 The account has been disabled or discontinued"
    scenario.tell(heard("opted_in", "ann", 0), returned("ann", 1, "may", said))
    assert scenario.name("ann", 2) == "Hard Bounce"
    assert said in scenario.why("ann", 2)["explanation"]


def test_opt_out_admin_is_a_users_decision(scenario: Scenario) -> None:
    """«los propios usuarios de la cuenta determinan que no deben recibir más emails», as of those
    who answer and ask to leave."""
    scenario.tell(heard("opted_in", "ann", 0), mailed("ann", 1, "may", "delivered", "replied"))
    assert scenario.act("opt-out", "ann", 2, "respondió que no quiere más").status == 0
    assert scenario.name("ann", 3) == "Opt-Out: Admin"
    assert scenario.refusal("ann", 3) == "opted_out"


def test_list_unsubscribe_comes_from_the_mail_program(scenario: Scenario) -> None:
    """«este pedido es de parte del servidor de email del contacto»."""
    scenario.tell(
        heard("opted_in", "ann", 0), mailed("ann", 1, "may", "delivered", "list_unsubscribed")
    )
    assert scenario.name("ann", 2) == "List Unsubscribe"
    assert scenario.delivery("ann", "may", 2)["response"] == "unsubscribed"


def test_provided_feedback_gives_a_reason(scenario: Scenario) -> None:
    """«no sólo piden salir de la lista, sino que además dan un motivo para salir»."""
    scenario.tell(BECOMES["Provided Feedback"])
    assert scenario.name("ann", 102) == "Provided Feedback"
    assert "demasiados emails" in scenario.why("ann", 102)["explanation"]


def test_reported_spam_told_the_servers(scenario: Scenario) -> None:
    """«dieron opt-out e informaron a los servidores que su comunicación es SPAM»."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "may", "delivered", "opted_out", "complained"),
    )
    assert scenario.name("ann", 1 + 2 * HOUR) == "Opt-Out"
    assert scenario.name("ann", 2) == "Reported Spam"
    scenario.tell(heard("opted_in", "ann", 3, how="form"))
    assert scenario.name("ann", 4) == "Reported Spam"
    scenario.tell(heard("confirmed", "ann", 5))
    assert scenario.name("ann", 6) == "Confirmed"


def test_invalid_email_a_name_in_the_field_or_no_such_server(
    scenario: Scenario, tmp_path: Path
) -> None:
    """«sucede cuando ingresa un nombre en el campo de email o el servidor ingresado no existe (por
    ejemplo, nombre@hotmail.com)»."""
    rows = "Name,Email,Consent date\nAnn,Ann García,2020-01-06\nBob,bob@example.com,2020-01-06\n"
    scenario.contacts(tmp_path / "gente.csv", rows, "--permission", "formulario")
    scenario.tell(returned("bob", 1, "may", "550 5.1.2 Host or domain name not found"))
    assert scenario.name("bob", 2) == "Invalid Email"
    assert scenario.why("bob", 2)["status"] == "hard_bounced"
    statuses = scenario.ask("report", "statuses", "--vocabulary", "keap", "--lang", "es")
    assert sorted((line["status"], line["name"]) for line in statuses) == [
        ("hard_bounced", "Invalid Email"),
        ("invalid", "Invalid Email"),
    ]


BY_HAND = {
    "Unengaged Marketable": True,
    "Unconfirmed": False,
    "Confirmed (Legacy)": False,
    "Confirmed": False,
    "Non-marketable": True,
    "Lockdown": False,
    "Opt-Out": False,
    "Opt-Out: Admin": True,
    "List Unsubscribe": False,
    "Provided Feedback": False,
    "Reported Spam": False,
}


@pytest.mark.parametrize("status", BY_HAND)
def test_who_may_be_opted_in_by_hand(scenario: Scenario, status: str) -> None:
    """«edición manual de contacto (marcando el checkbox)»: not what the person themselves undid."""
    scenario.tell(BECOMES[status])
    done = scenario.act("opt-in", "ann", 125, "llamó por teléfono")
    assert done.status == (0 if BY_HAND[status] else 1)
    assert scenario.name("ann", 126) == ("Unconfirmed" if BY_HAND[status] else status)
    assert ("cannot be opted in by an operator" in done.err) is not BY_HAND[status]


@pytest.mark.parametrize("status", [name for name, may in BY_HAND.items() if not may][3:])
def test_what_an_import_says_was_opted_in_by_hand_has_no_effect(
    scenario: Scenario, status: str
) -> None:
    """The same rule where another system let somebody tick the box: it is kept, and told."""
    scenario.tell(BECOMES[status], heard("admin_opted_in", "ann", 125, reason="marcado"))
    assert scenario.name("ann", 126) == status
    assert "has no effect" in scenario.why("ann", 126)["explanation"]


def test_send_progress(shop: Callable[..., Ran], home: Path) -> None:
    """«COMPLETED … Emails Scheduled: … 3 … Emails Skipped … 1 … Emails Sent: … 2»: sent
    for real, to a mail server that takes everything."""
    (home / "people.csv").write_text(
        "Name,Email\nAnn,ann@example.com\nBob,bob@example.com\nCai,cai@example.com\n"
    )
    keap = {"policy": "keap"}
    assert shop("import-contacts", "people.csv", "--permission", "formulario", **keap).status == 0
    assert shop("opt-out", "bob@example.com", "--reason", "llamó", **keap).status == 0
    assert shop("send", "junio", "--subject", "Hola", "--text", "body.txt", **keap).status == 0
    [report] = shop("report", "mailing", "junio", "--json", **keap).items
    assert report["state"] == "completed"
    assert (report["scheduled"], sum(report["skipped"].values()), report["sent"]) == (3, 1, 2)
    assert report["skipped"] == {"opted_out": 1}
    assert report["started_at"] <= report["ended_at"]


def test_what_is_skipped_automatically(shop: Callable[..., Ran], home: Path) -> None:
    """“Email addresses that are duplicates or that have one of the following statuses will be
    automatically skipped: opt-out, non-marketable (never opted-in), reported spam, Invalid
    (improperly formatted), hard bounce (address does not exist).”"""
    (home / "people.csv").write_text(
        "Name,Email,Consent\n"
        "Ann,ann@example.com,yes\nAnn Lee,ann@example.com,yes\nBob,bob@example.com,yes\n"
        "Cai,cai@example.com,no\nDee,dee@example.com,yes\nEve,Eve García,yes\n"
        "Fay,fay@example.com,yes\n"
    )
    (home / "history.jsonl").write_text(
        '{"kind": "opted_out", "occurred_at": "2099-01-01T00:00:00Z", "address": "bob@example.com"}'
        '\n{"kind": "complained", "occurred_at": "2099-01-01T00:00:00Z",'
        ' "address": "dee@example.com"}'
        '\n{"kind": "bounced", "occurred_at": "2099-01-01T00:00:00Z",'
        ' "address": "fay@example.com", "detail": {"text": "550 5.1.1 user unknown"}}\n'
    )
    keap = {"policy": "keap"}
    assert shop("import-contacts", "people.csv", **keap).status == 0
    assert shop("import-events", "history.jsonl", **keap).status == 0
    assert shop("send", "junio", "--subject", "Hola", "--text", "body.txt", **keap).status == 0
    [report] = shop("report", "mailing", "junio", "--json", **keap).items
    assert (report["scheduled"], report["sent"]) == (7, 1)
    assert report["skipped"] == {
        "duplicate": 1,
        "opted_out": 1,
        "never_opted_in": 1,
        "complained": 1,
        "invalid_address": 1,
        "hard_bounced": 1,
    }
    people = [f"{who}@example.com" for who in ("bob", "cai", "dee", "fay")]
    told = shop("why", *people, "--json", **keap).items
    names = [d["names"]["keap"] for why in told for d in why["deliveries"] if d["mailing"]]
    assert names == [
        "Skipped: opt-out",
        "Skipped: non-marketable (never opted-in)",
        "Skipped: reported spam",
        "Skipped: hard bounce (address does not exist)",
    ]


def test_provided_feedback_means_two_things(scenario: Scenario) -> None:
    """“An ISP has reported … that the contact has marked your message as spam” (Infusionsoft);
    «piden salir de la lista, sino que además dan un motivo» (Keap). Facts stay, words differ."""
    scenario.tell(
        *(heard("opted_in", who, 0) for who in ("ann", "bob")),
        mailed("ann", 1, "may", "delivered", "complained"),
        mailed("bob", 1, "may", "delivered", "opted_out_with_feedback", reason="demasiados"),
    )
    ann, bob = scenario.why("ann", 2)["names"], scenario.why("bob", 2)["names"]
    assert (ann["infusionsoft"], ann["keap"]) == ("Provided Feedback", "Reported Spam")
    assert (bob["infusionsoft"], bob["keap"]) == ("Opt-Out", "Provided Feedback")
    counted = {
        system: {
            (line["status"], line["name"])
            for line in scenario.ask("report", "statuses", "--vocabulary", system)
        }
        for system in ("infusionsoft", "keap")
    }
    assert counted["infusionsoft"] == {
        ("complained", "Provided Feedback"),
        ("opted_out_with_feedback", "Opt-Out"),
    }
    assert counted["keap"] == {
        ("complained", "Reported Spam"),
        ("opted_out_with_feedback", "Provided Feedback"),
    }


def test_a_whole_database_is_cleaned_alike(scenario: Scenario, on_postgresql: Any) -> None:
    """«mantener la base de datos limpia»: all fourteen statuses, heard by two processes."""
    for place, story in enumerate(BECOMES.values()):
        scenario.tell(named(f"p{place}", story))
    scenario.act("opt-in", "p4", 126, "llamó")
    scenario.act("opt-out", "p1", 126, "llamó")
    assert scenario.name("p4", 127) == "Unconfirmed"
    scenario.split(on_postgresql)
