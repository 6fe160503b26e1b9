"""Legal forms of companies under all their spellings: taken off a name, and told apart where two differ. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from crm.spelling import in_latin

# As they read once dots, spaces and accents are gone; one line is one form under all its spellings.
_FAMILIES = """
inc incorporated corp corporation incpbc pbc
co company
llc lc limitedliabilitycompany
llp lp lllp limitedpartnership
pllc pc
ltd limited ltdco coltd colimited
plc publiclimitedcompany
ptyltd pty ptylimited proprietarylimited
pteltd pte
pvtltd privatelimited pvtlimited pltd
sdnbhd bhd
cic communityinterestcompany
gmbh mbh gesmbh ggmbh
gmbhcokg gmbhandcokg gmbhundcokg gmbhcokgaa
ug ughaftungsbeschrankt ughaftungsbeschraenkt
ag aktiengesellschaft
kg ohg gbr ek eku efr og
kgaa
eg eingetragenegenossenschaft
ev eingetragenerverein
partg partgmbb partgmbh
se
sa societeanonyme
sas sasu
sarl sarlau eurl
snc sci scop scp selarl
asbl vzw
spa
srl srls spolsro sro
bv bvba nv vof beslotenvennootschap
ab publ abpubl aktiebolag
as asa
aps anpartsselskab
oy oyj oyab
ehf hf
sl slu slne
slp
ltda lda eireli unipessoallda cialtda
sadecv sabdecv sapidecv srldecv sderldecv sderl
spzoo spzoospk spolkazoo spzook spk
kft zrt nyrt bt
doo dd ood eood jdoo
uab sia ou
ooo oao zao pao ao
tov
ae epe ike oe
kk gk yk kabushikikaisha yugenkaisha
sprl scrl srlbe
as sanvetic sanvetica sanveticas ticas ticltdsti ltdsti
fzllc fze fzco dmcc
wll
bm
"""
FORMS: Final = {form: family.split()[0] for family in _FAMILIES.strip().splitlines() for form in family.split()}
_IN_FRONT = frozenset("ab oy ooo oao zao pao tov uab sia spolkazoo societe firma ditta".split())
_GLUED = re.compile(
    "株式会社|有限会社|合同会社|\\(株\\)|\\(有\\)|股份有限公司|有限责任公司|有限公司|주식회사|\\(주\\)|유한회사"
    "|בע[\"'״׳”]{1,2}מ"  # quotation marks as they stand in Hebrew
)
_LONGEST = 6  # words: "gmbh und co kg auf aktien"


def without_glued(text: str) -> str:
    """Take off the forms that some scripts write without a space beside the name."""
    return _GLUED.sub(" ", text)


def without_form(words: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Take legal forms off the end, again and again, else one off the front; returns what is left and the family."""
    form = ""
    while (length := _at_end(words)) > 0 and not (form and length == len(words)):  # EE Limited is called EE
        form = form or _family(words[-length:])
        words = words[:-length]
    if not form and len(words) > 1 and in_latin(words[0]) in _IN_FRONT:
        return words[1:], _family(words[:1])
    return words, form


def _at_end(words: Sequence[str]) -> int:
    """Return how many words at the end are a legal form, of the longest that fits."""
    return next((n for n in range(min(_LONGEST, len(words)), 0, -1) if _family(words[-n:])), 0)


def _family(words: Sequence[str]) -> str:
    """Return the family of a form, in whatever letters it is written: ООО is ooo; empty when it is none."""
    joined = "".join(words)
    return FORMS.get(joined) or FORMS.get(in_latin(joined), "")
