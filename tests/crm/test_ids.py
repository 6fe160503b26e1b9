import pytest

from crm.ids import MalformedId, long_id


@pytest.mark.parametrize("short", ["0015g00000AbCdE", "001000000000001"])
def test_fifteen_characters_become_eighteen(short):
    found = long_id(short)

    assert len(found) == 18
    assert long_id(found) == found
    assert long_id(f" {found[:15]}{found[15:].lower()}\n") == found


def test_ids_that_differ_in_case_alone_stay_different():
    assert long_id("0015g00000AbCdE")[15:] != long_id("0015g00000aBcDe")[15:]


@pytest.mark.parametrize(
    "text",
    ["", "001", "0015g00000AbCd/", "../../services/oauth2", "0015g00000AbCdE' OR Name != '", "0015g00000AbCdEZZZ",
     "//evil.example/x", "0015g00000AbC\nE", "Ⅷ15g00000AbCdE"],
)  # fmt: skip
def test_what_is_no_id_is_refused(text):
    with pytest.raises(MalformedId):
        long_id(text)


def test_an_id_of_another_object_is_refused():
    with pytest.raises(MalformedId):
        long_id("0035g00000AbCdE", prefix="001")
