import pytest
from django.contrib.auth import authenticate

from goodstanding.console import operators

pytestmark = pytest.mark.django_db


def test_who_was_created_may_sign_in() -> None:
    operators.create("Zoë", "correct horse battery")
    assert authenticate(username="Zoë", password="correct horse battery") is not None
    assert authenticate(username="Zoë", password="correct horse") is None


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("ann", "short", "the password is refused"),
        ("ann", "", "the password is refused"),
        ("ann", "password123", "the password is refused"),
        ("", "correct horse battery", "the name is refused"),
        ("a b;c", "correct horse battery", "the name is refused"),
        ("a" * 151, "correct horse battery", "the name is refused"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(name: str, password: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}: [a-z][^\n]+$") as raised:
        operators.create(name, password)
    assert ". " not in str(raised.value)
    assert authenticate(username=name, password=password) is None


def test_a_name_is_given_once_whatever_its_case() -> None:
    operators.create("ann", "correct horse battery")
    with pytest.raises(ValueError, match="there is an operator 'ANN' already"):
        operators.create("ANN", "another horse battery")
