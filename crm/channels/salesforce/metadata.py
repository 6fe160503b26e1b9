"""Writes our object, fields and permission set as Salesforce's metadata: source for its CLI, and a zip to deploy.

`python -m crm.channels.salesforce.metadata` writes the source in `package/` anew.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from crm.channels.salesforce.fields import (
    ACCOUNT,
    ACTIVITY,
    MRR_SCHEDULE,
    NEEDED,
    OPPORTUNITY,
    TASK,
    Needed,
)

PERMISSION_SET = "MRR_Ledger_writer"
PERMISSION_SET_LABEL = "MRR Ledger writer"
SOURCE_VERSION = "60.0"
PACKAGE = Path(__file__).parent / "package"
_SPACE = "http://soap.sforce.com/2006/04/metadata"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'

# What matching and the choice of an Opportunity read beside what we write.
READ = (
    (ACCOUNT, "BillingAddress"),
    (ACCOUNT, "ParentId"),
    (ACCOUNT, "Phone"),
    (ACCOUNT, "Type"),
    (ACCOUNT, "Website"),
    ("Contact", "AccountId"),
    ("Contact", "Email"),
    (OPPORTUNITY, "AccountId"),
)
# Object: create, edit, delete. Entries are deleted where a match was undone.
# Salesforce wants Account readable before what hangs on it.
OBJECT_RIGHTS = (
    (ACCOUNT, False, True, False),
    ("Contact", False, False, False),
    (MRR_SCHEDULE, True, True, True),
    (OPPORTUNITY, True, True, False),
)
USER_RIGHTS = ("ApiEnabled", "EditTask")

Names = Mapping[
    tuple[str, str], str
]  # (object, our field) to the API name there, where it is another; "" = not written
Node = tuple[str, "str | Sequence[Node]"]


def source() -> dict[str, str]:
    """Return the package as source for Salesforce's CLI: the text of each file by its path."""
    root = "force-app/main/default"
    files = {
        "sfdx-project.json": json.dumps(
            {"packageDirectories": [{"path": "force-app", "default": True}], "sourceApiVersion": SOURCE_VERSION},
            indent=2,
        )
        + "\n",
        f"{root}/objects/{MRR_SCHEDULE}/{MRR_SCHEDULE}.object-meta.xml": _document("CustomObject", _object()),
        f"{root}/permissionsets/{PERMISSION_SET}.permissionset-meta.xml": _document(
            "PermissionSet", _permission_set({})
        ),
    }
    for one in _made():
        path = f"{root}/objects/{_home(one)}/fields/{one.name}.field-meta.xml"
        files[path] = _document("CustomField", _field(one))
    return dict(sorted(files.items()))


def package(*, version: str, names: Names, there: Collection[tuple[str, str]] = ()) -> bytes:
    """Return the zip to deploy: our object, the fields an org lacks, and the permission set that grants them all.

    `there` are fields of Account, Opportunity and Activity (object, API name) that the org has: they stay as they are,
    because somebody may have changed them. A mapped field is theirs and is never made.
    """
    known = {(sobject, name.lower()) for sobject, name in there}
    fields = [
        one
        for one in _made()
        if (one.sobject, one.name) not in names
        and (one.sobject == MRR_SCHEDULE or (_home(one), one.name.lower()) not in known)
    ]
    files = {f"permissionsets/{PERMISSION_SET}.permissionset": _document("PermissionSet", _permission_set(names))}
    members: dict[str, list[str]] = {
        "CustomField": [],
        "CustomObject": [MRR_SCHEDULE],
        "PermissionSet": [PERMISSION_SET],
    }
    for home in sorted({_home(one) for one in fields} | {MRR_SCHEDULE}):
        nodes = [("fields", _field(one)) for one in fields if _home(one) == home]
        own = _object() if home == MRR_SCHEDULE else []
        files[f"objects/{home}.object"] = _document("CustomObject", sorted([*own, *nodes], key=lambda node: node[0]))
        if home != MRR_SCHEDULE:
            members["CustomField"] += [f"{home}.{one.name}" for one in fields if _home(one) == home]
    files["package.xml"] = _document("Package", _manifest(members, version))
    return _zipped(files)


def written(one: Needed, names: Names) -> str:
    """Return the API name a field has there; empty when it is not written."""
    return names.get((one.sobject, one.name), one.name)


def write_source(folder: Path = PACKAGE) -> None:
    """Write the source for the CLI into a folder, in place of what lay there."""
    import shutil

    shutil.rmtree(folder / "force-app", ignore_errors=True)
    for path, text in source().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")


# ---- the parts ----


def _made() -> list[Needed]:
    return [one for one in NEEDED if one.is_ours]


def _home(one: Needed) -> str:
    return ACTIVITY if one.sobject == TASK else one.sobject


def _object() -> list[Node]:
    return [
        ("deploymentStatus", "Deployed"),
        ("description", "One ledger entry: how a customer's MRR moved, when and why. Written by the MRR ledger alone."),
        ("enableActivities", "false"),
        ("enableBulkApi", "true"),
        ("enableReports", "true"),
        ("enableSearch", "true"),
        ("enableSharing", "true"),
        ("enableStreamingApi", "true"),
        ("label", "MRR Schedule"),
        ("nameField", [("displayFormat", "MRR-{000000}"), ("label", "MRR Schedule Number"), ("type", "AutoNumber")]),
        ("pluralLabel", "MRR Schedule"),
        ("sharingModel", "Read"),
    ]


def _field(one: Needed) -> list[Node]:
    nodes: list[Node] = [
        ("fullName", one.name),
        ("description", one.about),
        ("label", one.label),
        ("type", one.made_as),
    ]
    if one.made_as in ("Text", "LongTextArea"):
        nodes.append(("length", str(one.made_length)))
    if one.made_as == "LongTextArea":
        nodes.append(("visibleLines", "3"))
    elif one.made_as == "Checkbox":
        nodes.append(("defaultValue", "false"))
    else:
        nodes.append(("required", "true" if one.is_required else "false"))
    if one.made_as == "Number":
        nodes += [("precision", str(one.made_precision)), ("scale", str(one.scale))]
    if one.is_key:
        nodes += [("caseSensitive", "false"), ("externalId", "true"), ("unique", "true")]
    if one.made_as == "Lookup":
        nodes += [
            ("deleteConstraint", "SetNull"),
            ("referenceTo", one.to),
            ("relationshipLabel", "MRR Schedule"),
            ("relationshipName", "MRR_Schedules"),
        ]
    if one.made_as == "Picklist":
        values: list[Node] = [
            ("value", [("fullName", value), ("default", "false"), ("label", value)]) for value in one.values
        ]
        definition: list[Node] = [("sorted", "false"), *values]
        nodes.append(("valueSet", [("restricted", "true"), ("valueSetDefinition", definition)]))
    return [nodes[0], *sorted(nodes[1:], key=lambda node: node[0])]


def _permission_set(names: Names) -> list[Node]:
    """Rights to edit what we write and to read what we match by. A required field must not be listed."""
    editable: set[tuple[str, str]] = set()
    for one in NEEDED:
        name = written(one, names)
        if name and not one.is_required and (one.is_ours or one.name == "Amount"):
            # A field made on Activity is granted on Task and on Event, or Salesforce takes it from both.
            homes = (TASK, "Event") if one.sobject == TASK else (one.sobject,)
            editable |= {(home, name) for home in homes}
    rights = dict.fromkeys(editable, True) | {key: False for key in READ if key not in editable}
    nodes: list[Node] = [
        ("description", "What the MRR ledger's user needs: edit the fields it writes, read those it matches by.")
    ]
    for (sobject, name), may_edit in sorted(rights.items()):
        right = [("editable", _yes(may_edit)), ("field", f"{sobject}.{name}"), ("readable", "true")]
        nodes.append(("fieldPermissions", right))
    nodes += [("hasActivationRequired", "false"), ("label", PERMISSION_SET_LABEL)]
    for sobject, may_create, may_edit, may_delete in sorted(OBJECT_RIGHTS):
        nodes.append(
            (
                "objectPermissions",
                [
                    ("allowCreate", _yes(may_create)),
                    ("allowDelete", _yes(may_delete)),
                    ("allowEdit", _yes(may_edit)),
                    ("allowRead", "true"),
                    ("modifyAllRecords", "false"),
                    ("object", sobject),
                    ("viewAllRecords", "false"),
                ],
            )
        )
    nodes += [("userPermissions", [("enabled", "true"), ("name", right)]) for right in USER_RIGHTS]
    return nodes


def _yes(is_so: bool) -> str:
    return "true" if is_so else "false"


def _manifest(members: Mapping[str, Iterable[str]], version: str) -> list[Node]:
    types: list[Node] = []
    for name, found in sorted(members.items()):
        listed: list[Node] = [("members", member) for member in sorted(found)]
        if listed:
            types.append(("types", [*listed, ("name", name)]))
    return [*types, ("version", version)]


# ---- writing ----


def _document(root: str, nodes: Sequence[Node]) -> str:
    return f'{_HEAD}<{root} xmlns="{_SPACE}">\n{_lines(nodes, 1)}</{root}>\n'


def _lines(nodes: Sequence[Node], depth: int) -> str:
    indent = "    " * depth
    text = ""
    for name, value in nodes:
        if isinstance(value, str):
            text += f"{indent}<{name}>{escape(value)}</{name}>\n"
        else:
            text += f"{indent}<{name}>\n{_lines(value, depth + 1)}{indent}</{name}>\n"
    return text


def _zipped(files: Mapping[str, str]) -> bytes:
    """Return a zip that is the same for the same files, whenever it is made."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(path, date_time=(2026, 1, 1, 0, 0, 0)), text)
    return packed.getvalue()


if __name__ == "__main__":
    write_source()
