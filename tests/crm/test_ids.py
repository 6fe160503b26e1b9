import pytest

from crm.ids import MalformedId, long_id, written_id


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


@pytest.mark.parametrize(
    "text",
    [
        "0015g00000AbCdE",
        " '0015g00000AbCdEAAV' ",
        "https://acme.lightning.force.com/lightning/r/Account/0015g00000AbCdEAAV/view",
        "https://acme.my.salesforce.com/0015g00000AbCdE?srPos=0",
    ],
)
def test_an_id_as_people_write_it_down(text):
    if "AAV" in text:
        text = text.replace("0015g00000AbCdEAAV", long_id("0015g00000AbCdE"))

    assert written_id(text, prefix="001")[0] == long_id("0015g00000AbCdE")


@pytest.mark.parametrize("text", ["", " ", "n/a", "None", "-", "null", "TBD", "0"])
def test_words_that_say_that_there_is_none(text):
    assert written_id(text, prefix="001") == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        "ACC-1029",
        "0035g00000AbCdE",
        "' OR Id != '0015g00000AbCdE",
        "https://acme.my.salesforce.com/0015g00000AbCdE/0015g00000ZzZzZ",
        "https://acme.my.salesforce.com/0035g00000AbCdE",
        "see /0015g00000AbCdE/",
    ],
)
def test_what_is_no_id_is_said_to_stand_there(text):
    found, said = written_id(text, prefix="001")

    assert found == "" and said
