"""A small, strict part of SOQL: SELECT fields FROM one object WHERE … ORDER BY … LIMIT … OFFSET.

Also COUNT(), the aggregates COUNT, MIN and MAX of groups, and semi-joins (IN and NOT IN a subquery). What Salesforce
has and we do not use (other aggregates, subqueries as columns, date literals) is refused as malformed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .errors import SalesforceError
from .schema import NUMBERS, TEXTS, Field, SObject
from .soql_groups import Aggregate, Groups, Path, parent_of
from .soql_tokens import KEYWORDS, TOKEN, Token
from .store import Record, Store
from .values import DATE, DATETIME, is_id, long_id, moment, shown, stamp

ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\"}
HINT = (
    "If you are attempting to use a custom {}, be sure to append the '{}' after the {}. "
    "Please reference your WSDL or the describe call for the appropriate names."
)
AGGREGATES = ("COUNT", "MIN", "MAX")
Test = Callable[[Record], bool]


@dataclass(frozen=True)
class Result:
    """What a query found: rows as the REST API shows them; `columns` are the fields asked for."""

    sobject: str
    columns: list[str]
    rows: list[dict[str, Any]]
    total: int


def run(soql: str, store: Store, *, version: str, with_deleted: bool = False) -> Result:
    """Parse and answer. Raises MALFORMED_QUERY, INVALID_FIELD, INVALID_TYPE and their kin."""
    query = _Parser(soql, store).query()
    with store.lock:
        found = [row for row in store.table(query.sobject.name).values() if with_deleted or not row["IsDeleted"]]
        found = [row for row in found if query.where(row)]
    # Without ORDER BY the order is nobody's promise: this one is stable, and unlike the order of creation.
    found.sort(key=lambda row: row["Id"][14::-1])
    for path, descending, nulls_first in reversed(query.order):
        blank = [row for row in found if path.value(store, row) is None]
        rest = [row for row in found if path.value(store, row) is not None]
        rest.sort(key=lambda row: _order_key(path.value(store, row)), reverse=descending)
        found = blank + rest if nulls_first else rest + blank
    if query.groups is not None:
        rows = query.groups.rows(store, found)
        return Result(query.sobject.name, list(rows[0]) if rows else [], rows, len(rows))
    found = found[query.offset :]
    if query.limit is not None:
        found = found[: query.limit]
    if query.counts:
        return Result(query.sobject.name, [], [], len(found))
    rows = [_row(store, query, row, version) for row in found]
    return Result(query.sobject.name, [path.text for path in query.fields], rows, len(rows))


def reference_to(sobject: str, record_id: str, version: str) -> dict[str, str]:
    """The `attributes` of a record in an answer."""
    return {"type": sobject, "url": f"/services/data/{version}/sobjects/{sobject}/{record_id}"}


@dataclass(frozen=True)
class Query:
    sobject: SObject
    fields: list[Path]
    counts: bool
    where: Test
    order: list[tuple[Path, bool, bool]]
    limit: int | None
    offset: int
    groups: Groups | None = None


class _Parser:
    def __init__(self, soql: str, store: Store) -> None:
        self.soql = soql
        self.store = store
        self.tokens = self._tokens()
        self.at = 0
        self.sobject: SObject | None = None
        self.joins = 0

    def query(self) -> Query:
        self._expect("SELECT")
        aggregates = self._aggregates()
        names, counts = ([], False) if aggregates else self._selected()
        self._expect("FROM")
        self.sobject = self._object(self._name())
        fields = [self._path(name) for name in names]
        where: Test = lambda row: True  # noqa: E731
        if self._accept("WHERE"):
            where = self._condition()
        groups = self._groups(aggregates) if aggregates else None
        order = self._order() if self._accept("ORDER") else []
        limit = self._whole() if self._accept("LIMIT") else None
        offset = self._whole() if self._accept("OFFSET") else 0
        if offset > 2000:
            raise SalesforceError("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")
        if self._peek() is not None:
            raise self._unexpected()
        return Query(self.sobject, fields, counts, where, order, limit, offset, groups)

    # Clauses

    def _selected(self) -> tuple[list[Token], bool]:
        first = self._name()
        if first.word == "COUNT" and self._accept("("):
            self._expect(")")
            return [], True
        names = [first]
        while self._accept(","):
            names.append(self._name())
        doubled = {name.word for name in names if sum(other.word == name.word for other in names) > 1}
        if doubled:
            raise SalesforceError("INVALID_FIELD", f"duplicate field selected: {min(doubled)}")
        return names, False

    def _aggregates(self) -> list[tuple[str, Token, str]]:
        """Aggregates as they are selected: function, field and alias; COUNT() alone is another thing."""
        found: list[tuple[str, Token, str]] = []
        while (token := self._peek()) is not None and token.word in AGGREGATES and self._after(2) != ")":
            self.at += 1
            field = self._bracketed()
            alias = self._peek()
            is_named = alias is not None and alias.kind == "name" and alias.word != "FROM"
            found.append((token.word, field, self._name().text if is_named else f"expr{len(found)}"))
            if not self._accept(","):
                break
        return found

    def _bracketed(self) -> Token:
        self._expect("(")
        field = self._name()
        self._expect(")")
        return field

    def _groups(self, told: list[tuple[str, Token, str]]) -> Groups:
        self._expect("GROUP")
        self._expect("BY")
        by, having = self._path(self._name()), None
        if self._accept("HAVING"):
            self._expect("COUNT")
            counted = Aggregate("COUNT", self._path(self._bracketed()), "")
            self._expect("=")
            having = counted, self._whole()
        return Groups(by, [self._aggregate(*one) for one in told], having)

    def _aggregate(self, function: str, name: Token, alias: str) -> Aggregate:
        path = self._path(name)
        if path.field.type in ("boolean", "textarea"):
            raise self._error("MALFORMED_QUERY", f"field {path.field.name} does not support aggregate operator", name)
        return Aggregate(function, path, alias)

    def _joined(self, path: Path) -> set[Any]:
        """The values of a subquery: of another object, one field, an id or a reference as the outer one is."""
        self.joins += 1
        if self.joins > 2:
            raise self._error("MALFORMED_QUERY", "maximum 2 semi join sub-selects are allowed", self._peek())
        self._expect("SELECT")
        name = self._name()
        self._expect("FROM")
        outer, self.sobject = self.sobject, self._object(self._name())
        if self.sobject is outer:
            raise self._error(
                "MALFORMED_QUERY", "The inner and outer selects should not be on the same object type", name
            )
        field = self._path(name)
        if {field.field.type, path.field.type} - {"id", "reference"}:
            raise self._error("INVALID_FIELD", "semi join sub-selects can only query id and reference fields", name)
        where = self._condition() if self._accept("WHERE") else lambda row: True
        self._expect(")")
        rows = [row for row in self.store.table(self.sobject.name).values() if not row["IsDeleted"] and where(row)]
        self.sobject = outer
        return {_folded(field.value(self.store, row)) for row in rows}

    def _order(self) -> list[tuple[Path, bool, bool]]:
        self._expect("BY")
        order = []
        while True:
            path = self._filterable(self._name(), "sorted")
            descending = self._accept("DESC") is not None
            if not descending:
                self._accept("ASC")
            nulls_first = self._accept("NULLS") is None or self._name().word == "FIRST"
            order.append((path, descending, nulls_first))
            if not self._accept(","):
                return order

    def _condition(self) -> Test:
        """Conditions joined by AND or by OR; mixing them needs brackets, as in Salesforce."""
        tests = [self._simple()]
        joined_by = None
        while (token := self._peek()) is not None and token.word in ("AND", "OR"):
            if joined_by not in (None, token.word):
                raise self._unexpected()
            joined_by = token.word
            self.at += 1
            tests.append(self._simple())
        if joined_by == "OR":
            return lambda row: any(test(row) for test in tests)
        return lambda row: all(test(row) for test in tests)

    def _simple(self) -> Test:
        if self._accept("NOT"):
            inner = self._simple()
            return lambda row: not inner(row)
        if self._accept("("):
            inner = self._condition()
            self._expect(")")
            return inner
        path = self._filterable(self._name(), "filtered")
        if self._accept("NOT"):
            self._expect("IN")
            members = self._members(path)
            return lambda row: (
                path.value(self.store, row) is not None and _folded(path.value(self.store, row)) not in members
            )
        if self._accept("IN"):
            members = self._members(path)
            return lambda row: _folded(path.value(self.store, row)) in members
        if self._accept("LIKE"):
            return self._like(path)
        return self._comparison(path)

    def _comparison(self, path: Path) -> Test:
        operator = self._next()
        if operator.text not in ("=", "!=", "<>", "<", "<=", ">", ">="):
            raise self._unexpected(operator)
        wanted = _folded(self._literal(path))
        if operator.text == "=":
            return lambda row: _folded(path.value(self.store, row)) == wanted
        if operator.text in ("!=", "<>"):
            return lambda row: _folded(path.value(self.store, row)) != wanted
        if wanted is None or path.field.type in ("boolean", "reference", "id"):
            raise SalesforceError("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {path.field.type} field")
        compare: dict[str, Callable[[Any], bool]] = {
            "<": lambda value: value < wanted, "<=": lambda value: value <= wanted,
            ">": lambda value: value > wanted, ">=": lambda value: value >= wanted,
        }  # fmt: skip
        holds = compare[operator.text]
        return lambda row: path.value(self.store, row) is not None and holds(_folded(path.value(self.store, row)))

    def _like(self, path: Path) -> Test:
        token = self._next()
        if path.field.type not in TEXTS or token.kind != "string":
            raise SalesforceError("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {path.field.type} field")
        pattern = re.compile(self._like_pattern(token), re.IGNORECASE | re.DOTALL)
        return lambda row: pattern.fullmatch(path.value(self.store, row) or "") is not None

    def _members(self, path: Path) -> set[Any]:
        self._expect("(")
        if (token := self._peek()) is not None and token.word == "SELECT":
            return self._joined(path)
        members = {_folded(self._literal(path))}
        while self._accept(","):
            members.add(_folded(self._literal(path)))
        self._expect(")")
        return members

    # Literals

    def _literal(self, path: Path) -> Any:
        """A literal of the field's own type, as the store keeps it; anything else is refused."""
        token, field = self._next(), path.field
        if token.word == "NULL":
            return None
        if field.type in ("reference", "id"):
            return self._id(token, field)
        if field.type in TEXTS and token.kind == "string":
            return self._unescaped(token)
        if field.type in NUMBERS and token.kind == "number":
            return Decimal(token.text)
        if field.type == "boolean" and token.word in ("TRUE", "FALSE"):
            return token.word == "TRUE"
        if field.type == "date" and token.kind == "date" and DATE.fullmatch(token.text):
            return token.text
        if field.type == "datetime" and token.kind == "datetime" and DATETIME.fullmatch(token.text):
            return stamp(moment(token.text))
        kind = {"datetime": "dateTime"}.get(field.type, "string" if field.type in TEXTS else field.type)
        quotes = "should be enclosed in quotes" if field.type in TEXTS else "should not be enclosed in quotes"
        message = f"value of filter criterion for field '{field.name}' must be of type {kind} and {quotes}"
        raise self._error("INVALID_FIELD", message, token)

    def _id(self, token: Token, field: Field) -> str:
        given = self._unescaped(token) if token.kind == "string" else token.text
        if token.kind != "string" or not is_id(given):
            raise self._error("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {given}", token)
        return long_id(given, field=field.name)

    def _unescaped(self, token: Token) -> str:
        def plain(match: re.Match[str]) -> str:
            if match[1] not in ESCAPES:
                raise self._error("MALFORMED_QUERY", f"Illegal string literal, invalid escape \\{match[1]}", token)
            return ESCAPES[match[1]]

        return re.sub(r"\\(.)", plain, token.text[1:-1], flags=re.DOTALL)

    def _like_pattern(self, token: Token) -> str:
        """A regular expression: % and _ are wild unless escaped."""
        pattern, text, at = "", token.text[1:-1], 0
        while at < len(text):
            if text[at] == "\\":
                escaped = text[at + 1]
                if escaped not in ESCAPES and escaped not in "%_":
                    raise self._error("MALFORMED_QUERY", f"Illegal string literal, invalid escape \\{escaped}", token)
                pattern += re.escape(ESCAPES.get(escaped, escaped))
                at += 2
                continue
            pattern += {"%": ".*", "_": "."}.get(text[at]) or re.escape(text[at])
            at += 1
        return pattern

    # Names

    def _object(self, token: Token) -> SObject:
        try:
            return self.store.sobject(token.text)
        except SalesforceError:
            message = f"sObject type '{token.text}' is not supported. {HINT.format('object', '__c', 'entity name')}"
            raise self._error("INVALID_TYPE", message, token) from None

    def _path(self, token: Token) -> Path:
        *parent_names, name = token.text.split(".")
        assert self.sobject is not None
        sobject, parents = self.sobject, []
        if parent_names and parent_names[0].lower() == sobject.name.lower():
            parent_names = parent_names[1:]
        for parent_name in parent_names:
            parent = sobject.related(parent_name)
            if parent is None:
                hint = HINT.format("relationship", "__r", "custom relationship name")
                message = f"Didn't understand relationship '{parent_name}' in field path. {hint}"
                raise self._error("INVALID_FIELD", message, token)
            parents.append(parent)
            sobject = self.store.objects[parent.references[0]]
        field = sobject.find(name)
        if field is None:
            hint = HINT.format("field", "__c", "custom field name")
            message = f"No such column '{name}' on entity '{sobject.name}'. {hint}"
            raise self._error("INVALID_FIELD", message, token)
        return Path(sobject, tuple(parents), field, token.text)

    def _filterable(self, token: Token, verb: str) -> Path:
        path = self._path(token)
        if not path.field.filterable:
            raise self._error("INVALID_FIELD", f"field '{path.field.name}' can not be {verb} in a query call", token)
        return path

    # Tokens

    def _tokens(self) -> list[Token]:
        tokens, at, end = [], 0, len(self.soql.rstrip())
        while at < end:
            match = TOKEN.match(self.soql, at)
            if match is None:
                raise self._error("MALFORMED_QUERY", f"unexpected token: '{self.soql[at:].split()[0]}'", None)
            kind = match.lastgroup or ""
            tokens.append(Token(kind, match[kind], match.start(kind)))
            at = match.end()
        return tokens

    def _peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _after(self, steps: int) -> str:
        return self.tokens[self.at + steps].text if self.at + steps < len(self.tokens) else ""

    def _next(self) -> Token:
        token = self._peek()
        if token is None:
            raise self._unexpected()
        self.at += 1
        return token

    def _accept(self, word: str) -> Token | None:
        token = self._peek()
        if token is not None and token.word == word:
            self.at += 1
            return token
        return None

    def _expect(self, word: str) -> None:
        if self._accept(word) is None:
            raise self._unexpected()

    def _name(self) -> Token:
        token = self._next()
        if token.kind != "name" or token.word in KEYWORDS:
            raise self._unexpected(token)
        return token

    def _whole(self) -> int:
        token = self._next()
        if token.kind != "number" or not token.text.isdigit():
            raise self._unexpected(token)
        return int(token.text)

    def _unexpected(self, token: Token | None = None) -> SalesforceError:
        token = token or self._peek()
        return self._error("MALFORMED_QUERY", f"unexpected token: '{token.text if token else '<EOF>'}'", token)

    def _error(self, code: str, message: str, token: Token | None) -> SalesforceError:
        column = (token.at if token else len(self.soql)) + 1
        around = self.soql[max(0, column - 40) : column + 40]
        return SalesforceError(code, f"\n{around}\n^\nERROR at Row:1:Column:{column}\n{message}")


def _row(store: Store, query: Query, record: Record, version: str) -> dict[str, Any]:
    row: dict[str, Any] = {"attributes": reference_to(query.sobject.name, record["Id"], version)}
    for path in query.fields:
        here, place, current = row, query.sobject, record
        for parent in path.parents:
            found = parent_of(store, current.get(parent.name))
            name = parent.relationship or ""
            if found is None:
                here[name] = None
                break
            place = store.objects[parent.references[0]]
            here = here.setdefault(name, {"attributes": reference_to(place.name, found["Id"], version)})
            current = found
        else:
            here[path.field.name] = shown(current.get(path.field.name))
    return row


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) and not DATE.match(value) else value


def _order_key(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
