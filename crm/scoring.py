"""Evidence that a customer is an Account, and what it weighs. Pure: values in, values out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

WEIGHTS = {"metadata_id": 100, "contact_email": 90, "website_domain": 45, "company_name": 35, "postal_code": 10}
AUTOMATIC = frozenset({"metadata_id", "contact_email"})

# Providers of mailboxes for people: an address there says nothing about the company.
FREE_MAIL = frozenset(
    "gmail.com googlemail.com outlook.com outlook.de outlook.fr hotmail.com hotmail.co.uk hotmail.de hotmail.fr "
    "hotmail.it live.com live.co.uk live.nl msn.com yahoo.com yahoo.co.uk yahoo.co.jp yahoo.de yahoo.fr yahoo.es "
    "yahoo.it yahoo.ca yahoo.com.br yahoo.co.in ymail.com rocketmail.com aol.com icloud.com me.com mac.com "
    "proton.me protonmail.com pm.me tutanota.com tuta.io fastmail.com hey.com zoho.com mail.com email.com gmx.com "
    "gmx.de gmx.net gmx.at gmx.ch web.de t-online.de freenet.de posteo.de mailbox.org orange.fr wanadoo.fr free.fr "
    "sfr.fr laposte.net libero.it virgilio.it alice.it tiscali.it mail.ru bk.ru list.ru inbox.ru yandex.ru "
    "yandex.com qq.com 163.com 126.com sina.com foxmail.com naver.com daum.net hanmail.net rediffmail.com "
    "btinternet.com sky.com virginmedia.com ntlworld.com comcast.net verizon.net att.net sbcglobal.net "
    "bellsouth.net cox.net charter.net earthlink.net shaw.ca rogers.com telus.net bigpond.com optusnet.com.au "
    "uol.com.br bol.com.br terra.com.br seznam.cz wp.pl o2.pl interia.pl onet.pl ziggo.nl kpnmail.nl planet.nl "
    "telenet.be skynet.be bluewin.ch".split()
)

_LEGAL_FORMS = frozenset(
    "inc incorporated corp corporation co company llc llp lp ltd limited plc gmbh mbh ag kg ohg ug se sa sas sarl srl "
    "spa bv nv ab as asa oy oyj aps pty pte kk kft zrt sro doo group holding holdings the".split()
)
_NOT_WORD = re.compile(r"[^\w]+")
_HOST = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?(?:[^/@]*@)?([^/:?#]+)")


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence: what it is, what it weighs, and how to say it."""

    kind: str
    weight: int
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An Account that may be the customer, with all evidence for it. The score is the sum, at most 100."""

    account_id: str
    name: str
    reasons: tuple[Reason, ...]

    @property
    def score(self) -> int:
        return min(100, sum(reason.weight for reason in self.reasons))

    def as_json(self) -> dict[str, object]:
        reasons = [{"kind": reason.kind, "weight": reason.weight, "text": reason.text} for reason in self.reasons]
        return {"account_id": self.account_id, "name": self.name, "score": self.score, "reasons": reasons}


def evidence(kind: str, text: str) -> Reason:
    """Return a piece of evidence with its weight."""
    return Reason(kind, WEIGHTS[kind], text)


def candidates(found: Iterable[tuple[str, str, Reason]]) -> list[Candidate]:
    """Gather (account id, account name, evidence) into one candidate an Account, the best first."""
    names: dict[str, str] = {}
    reasons: dict[str, dict[str, Reason]] = {}
    for account_id, name, reason in found:
        names[account_id] = name
        reasons.setdefault(account_id, {}).setdefault(reason.kind, reason)
    ranked = [Candidate(account_id, names[account_id], tuple(kinds.values())) for account_id, kinds in reasons.items()]
    return sorted(ranked, key=lambda one: (-one.score, one.name, one.account_id))


def address_key(email: str) -> str:
    """Return an e-mail address as it is compared: trimmed and in lower case; empty when it is none."""
    email = email.strip().lower()
    local, at, domain = email.rpartition("@")
    return email if at and local and "." in domain and " " not in email else ""


def company_domain(email: str) -> str:
    """Return the domain of an address, or empty when its provider gives mailboxes to everybody."""
    domain = address_key(email).rpartition("@")[2]
    return "" if domain in FREE_MAIL else domain


def website_domain(website: str) -> str:
    """Return the host of a website without `www.`; empty when there is none."""
    found = _HOST.match(website.strip().lower())
    host = found.group(1).removeprefix("www.").strip(".") if found else ""
    return host if "." in host and host not in FREE_MAIL else ""


def name_key(name: str) -> str:
    """Return a company's name without case, accents, punctuation and legal form; empty when nothing is left."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter)).replace("&", " and ")
    words = [word for word in _NOT_WORD.split(plain.replace(".", "").replace("'", "")) if word]
    kept = [word for word in words if word not in _LEGAL_FORMS]
    return " ".join(kept)[:255]
