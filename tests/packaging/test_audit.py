"""What the look-up of known weaknesses makes of pip-audit's answers."""

from scripts.audit import verdict
from tokenward.engine.types import JsonValue

CLEAN: JsonValue = {"name": "a", "version": "1", "vulns": []}
WEAK: JsonValue = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN: JsonValue = {"name": "c", "skip_reason": "not found"}


def test_nothing_is_known_against_any() -> None:
    assert verdict({"dependencies": [CLEAN]}, required=True) == (
        0,
        ["No weakness is known of the 1 packages in constraints.txt."],
    )


def test_a_weakness_is_an_error_whatever_else_is_not_known() -> None:
    code, said = verdict({"dependencies": [CLEAN, WEAK, UNKNOWN]}, required=False)
    assert (code, said) == (1, ["b 2: PYSEC-1, fixed in ['3']"])


def test_what_could_not_be_asked_is_said_loudly_and_an_error_where_it_is_required() -> None:
    answers: list[JsonValue] = [
        {"dependencies": [CLEAN, UNKNOWN]},
        {"dependencies": []},
        None,
        [],
        {"dependencies": [1]},
    ]
    for answer in answers:
        code, said = verdict(answer, required=False)
        assert code == 0
        assert said[0].startswith("!!! NOT AUDITED")
        assert verdict(answer, required=True)[0] == 1
