"""What set-up talks to: deployments by zip, permission sets, the Tooling API's queries, picklists by record type."""

from __future__ import annotations

import email.parser
import email.policy
import io
import itertools
import json
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from . import soql
from .errors import SalesforceError, not_found
from .schema import Field, SObject, new_object, tooling_objects
from .store import Record, Store

if TYPE_CHECKING:
    from .org import FakeSalesforce
    from .rest import Call, Reply

FOLDERS = {"objects": ".object", "permissionsets": ".permissionset"}
TYPES = {
    "Text": "string", "Number": "double", "LongTextArea": "textarea", "Checkbox": "boolean", "Date": "date",
    "DateTime": "datetime", "Picklist": "picklist", "Lookup": "reference", "Url": "url",
}  # fmt: skip
Node = dict[str, Any]


class Refused(Exception):
    """One component cannot be deployed."""


@dataclass
class Deployment:
    """One deployment: its components are worked through when it is asked about often enough."""

    id: str
    files: dict[str, bytes]
    rolls_back: bool
    polls_left: int
    status: str = "Pending"
    successes: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return self.status in ("Succeeded", "Failed")

    def described(self, *, with_details: bool) -> dict[str, Any]:
        result: dict[str, Any] = {
            "id": self.id, "done": self.is_done, "status": self.status, "success": self.status == "Succeeded",
            "checkOnly": False, "numberComponentsTotal": len(self.successes) + len(self.failures),
            "numberComponentsDeployed": len(self.successes) if self.is_done else 0,
            "numberComponentErrors": len(self.failures), "rollbackOnError": self.rolls_back,
        }  # fmt: skip
        if with_details:
            result["details"] = {"componentSuccesses": self.successes, "componentFailures": self.failures}
        return result


@dataclass
class PermissionSet:
    """What a permission set grants: by field whether it may be edited, and the objects."""

    id: str
    nodes: Node
    fields: dict[str, bool]
    objects: set[str]


class SetUp:
    """The set-up side of one org. `polls` is how often a deployment says that it still runs."""

    def __init__(self, org: FakeSalesforce) -> None:
        self.org = org
        self.polls = 1
        self.may_deploy = True
        self.may_read = True
        self.may_assign = True
        self.deployments: dict[str, Deployment] = {}
        self.permission_sets: dict[str, PermissionSet] = {}
        self.tooling = Store(tooling_objects(), lambda: org.clock(), org.lock)
        org.store.watchers.append(self._on_insert)

    # Rights

    def _on_insert(self, sobject: str, record: Record) -> None:
        if sobject == "PermissionSetAssignment":
            if not self.may_assign:
                raise SalesforceError("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
            others = self.org.store.table(sobject).values()
            same = [
                one for one in others
                if one["Id"] != record["Id"] and not one["IsDeleted"]
                and (one["AssigneeId"], one["PermissionSetId"]) == (record["AssigneeId"], record["PermissionSetId"])
            ]  # fmt: skip
            if same:
                raise SalesforceError("DUPLICATE_VALUE", "duplicate value found: <unknown> duplicates value on record")
            self._grant(assigned_too=record)

    def _grant(self, *, assigned_too: Record | None = None) -> None:
        """Show the integration user what its assigned permission sets grant."""
        rows = [*self.org.store.table("PermissionSetAssignment").values(), *([assigned_too] if assigned_too else [])]
        held = {row["PermissionSetId"] for row in rows if row["AssigneeId"] == self.org.user_id}
        for found in self.permission_sets.values():
            if found.id not in held:
                continue
            for name in found.objects & set(self.org.store.objects):
                self.org.store.objects[name].hidden = False
            for name, may_edit in found.fields.items():
                one = self._field(name)
                if one is not None and one.name.endswith("__c"):
                    one.hidden, one.createable, one.updateable = False, may_edit, may_edit

    def takes_away(self, sobject: str, name: str, *, reading: bool) -> None:
        """Somebody edits the permission sets: a field is no longer granted, or no longer to be edited."""
        for found in self.permission_sets.values():
            key = f"{sobject}.{name}"
            if key in found.fields:
                found.nodes = {}
                if reading:
                    del found.fields[key]
                else:
                    found.fields[key] = False

    def _field(self, name: str) -> Field | None:
        sobject, _, field_name = name.partition(".")
        return self.org.store.objects[sobject].fields.get(field_name) if sobject in self.org.store.objects else None

    # Deploying

    def start(self, call: Call) -> Deployment:
        if not self.may_deploy:
            raise SalesforceError("INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS: use of the Metadata API requires a user "
                                  "with the ModifyAllData or ModifyMetadata permissions")  # fmt: skip
        options, packed = _form(call)
        given = options.get("deployOptions")
        if not isinstance(given, dict) or not given.get("singlePackage"):
            raise SalesforceError(
                "INVALID_FIELD", "deployOptions with singlePackage is required for a package.xml at the root"
            )
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
        except zipfile.BadZipFile:
            raise SalesforceError("INVALID_FIELD", "The file is not a zip") from None
        number = len(self.deployments) + 1
        made = Deployment(f"0Af5g{number:010d}AAA", files, bool(given.get("rollbackOnError")), self.polls)
        self.deployments[made.id] = made
        return made

    def ask(self, deployment_id: str) -> Deployment:
        found = self.deployments.get(deployment_id)
        if found is None:
            raise not_found()
        if not found.is_done:
            found.status = "InProgress"
            found.polls_left -= 1
            if found.polls_left < 0:
                self._work(found)
        return found

    def _work(self, deployment: Deployment) -> None:
        with self.org.lock:
            if "package.xml" not in deployment.files:
                deployment.failures.append(_failure("", "package.xml", "No package.xml found"))
                deployment.status = "Failed"
                return
            listed = _listed(deployment.files["package.xml"])
            kept = {name: dict(one.fields) for name, one in self.org.store.objects.items()}
            known_sets = dict(self.permission_sets)
            seen: set[tuple[str, str]] = set()
            for path in sorted(deployment.files, key=lambda name: (name.startswith("permissionsets"), name)):
                if path != "package.xml":
                    self._file(deployment, path, deployment.files[path], listed, seen)
            for kind, name in sorted(listed - seen):
                deployment.failures.append(_failure(kind, name, f"In package.xml but not in the zip: {name}"))
            if deployment.failures and deployment.rolls_back:
                for name in list(self.org.store.objects):
                    if name not in kept:
                        del self.org.store.objects[name]
                    else:
                        self.org.store.objects[name].fields = kept[name]
                self.permission_sets = known_sets
            self.org.store.fields_added()
            deployment.status = "Failed" if deployment.failures else "Succeeded"
            self._grant()

    def _file(
        self, deployment: Deployment, path: str, raw: bytes, listed: set[tuple[str, str]], seen: set[tuple[str, str]]
    ) -> None:
        folder, _, name = path.partition("/")
        ending = FOLDERS.get(folder, "?")
        name = name.removesuffix(ending)
        _, nodes = _parsed(raw)
        try:
            if not path.endswith(ending):
                raise Refused(f"Unknown file {path}")
            if folder == "permissionsets":
                seen.add(("PermissionSet", name))
                _must_be_listed(listed, "PermissionSet", name)
                deployment.successes.append(self._permission_set(name, nodes))
                return
        except Refused as refusal:
            deployment.failures.append(_failure("PermissionSet", name, str(refusal)))
            return
        is_whole = ("CustomObject", name) in listed
        if is_whole:
            seen.add(("CustomObject", name))
            try:
                deployment.successes.append(self._object(name, nodes))
            except Refused as refusal:
                deployment.failures.append(_failure("CustomObject", name, str(refusal)))
                return
        for one in nodes.get("fields", []):
            full = f"{name}.{_one(one, 'fullName')}"
            seen.add(("CustomField", full))
            try:
                if not is_whole:
                    _must_be_listed(listed, "CustomField", full)
                deployment.successes.append(self._deploy_field(name, one))
            except Refused as refusal:
                deployment.failures.append(_failure("CustomField", full, str(refusal)))

    def _object(self, name: str, nodes: Node) -> dict[str, Any]:
        for needed in ("label", "pluralLabel", "nameField", "deploymentStatus", "sharingModel"):
            if needed not in nodes:
                raise Refused(f"Must specify {needed} for a custom object")
        together = {_one(nodes, part) for part in ("enableBulkApi", "enableSharing", "enableStreamingApi")}
        if len(together) > 1:
            raise Refused("Sharing, Bulk API and Streaming API have to be enabled together")
        own = {key: value for key, value in nodes.items() if key != "fields"}
        known = self.org.store.objects.get(name)
        changed = known is None or known.definition != own
        if known is None:
            known = self.org.store.objects[name] = new_object(name)
            known.hidden = True
        is_new = not known.definition
        known.definition = own
        return _success("CustomObject", name, created=is_new, changed=changed)

    def _deploy_field(self, sobject_name: str, nodes: Node) -> dict[str, Any]:
        home = "Task" if sobject_name == "Activity" else sobject_name
        sobject = self.org.store.objects.get(home)
        if sobject is None:
            raise Refused(f"Entity of type CustomObject named '{sobject_name}' cannot be found")
        made = _field(nodes)
        full = f"{sobject_name}.{made.name}"
        known = sobject.fields.get(made.name)
        if made.references and made.references[0] not in self.org.store.objects:
            raise Refused(f"referenceTo value of '{made.references[0]}' does not resolve to a valid sObject type")
        if known is None:
            made.hidden = not made.required  # a required field is everybody's; others wait for a right
            made.definition = nodes
            sobject.fields[made.name] = made
            return _success("CustomField", full, created=True, changed=True)
        if known.type != made.type:
            raise Refused(f"Cannot change field type from {known.type} to {made.type}")
        if (known.length, known.scale) > (made.length, made.scale):
            raise Refused("Cannot shorten a field that holds data")
        changed = known.definition != nodes
        made.hidden, made.createable, made.updateable = known.hidden, known.createable, known.updateable
        made.definition = nodes
        sobject.fields[made.name] = made
        return _success("CustomField", full, created=False, changed=changed)

    def _permission_set(self, name: str, nodes: Node) -> dict[str, Any]:
        if "label" not in nodes:
            raise Refused("Required field is missing: label")
        rights: dict[str, bool] = {}
        for one in nodes.get("fieldPermissions", []):
            full, may_edit = _one(one, "field"), _one(one, "editable") == "true"
            sobject, _, field_name = full.partition(".")
            if sobject == "Event":
                rights[full] = may_edit
                continue
            found = self._field(full)
            if sobject == "Activity" or (found is None and not field_name.endswith("Address")):
                raise Refused(f"In field: field - no CustomField named {full} found")
            if found is not None and found.required:
                raise Refused(f"You cannot deploy to a required field: {full}")
            if may_edit and _one(one, "readable") != "true":
                raise Refused(f"{full}: editable needs readable")
            rights[full] = may_edit
        objects: set[str] = set()
        for one in nodes.get("objectPermissions", []):
            may = {part for part in one if part.startswith("allow") and _one(one, part) == "true"}
            if "allowRead" not in may and may:
                raise Refused("Permission Edit depends on permission: Read")
            if _one(one, "object") not in self.org.store.objects:
                raise Refused(f"In field: object - no CustomObject named {_one(one, 'object')} found")
            objects |= {_one(one, "object")} if may else set()
        if objects & {"Contact", "Opportunity"} and "Account" not in objects:
            raise Refused("Permission Read Opportunity depends on permission(s): Read Account")
        known = self.permission_sets.get(name)
        if known is None:
            made_id = self.org.add_record("PermissionSet", Name=name, Label=_one(nodes, "label"))
            self.permission_sets[name] = PermissionSet(made_id, nodes, rights, objects)
            return _success("PermissionSet", name, created=True, changed=True)
        changed = known.nodes != nodes
        self.permission_sets[name] = PermissionSet(known.id, nodes, rights, objects)
        return _success("PermissionSet", name, created=False, changed=changed)

    # Tooling

    def query(self, text: str, version: str) -> soql.Result:
        if not self.may_read:
            raise SalesforceError("INVALID_TYPE", "sObject type is not supported.")
        with self.org.lock:
            self._list_fields()
            return soql.run(text, self.tooling, version=version, with_deleted=False)

    def entity(self, name: str) -> str:
        """The id of an object's definition, made when it is first asked for."""
        table = self.tooling.table("EntityDefinition")
        known = next((row["Id"] for row in table.values() if row["QualifiedApiName"] == name), None)
        sobject = self.tooling.objects["EntityDefinition"]
        return known or str(self.tooling.insert(sobject, {"QualifiedApiName": name}, as_system=True)["Id"])

    def add_rule(self, sobject: str, name: str, message: str, *, active: bool = True) -> None:
        values = {
            "ValidationName": name,
            "Active": active,
            "ErrorMessage": message,
            "EntityDefinitionId": self.entity(sobject),
        }
        self.tooling.insert(self.tooling.objects["ValidationRule"], values, as_system=True)

    def _list_fields(self) -> None:
        table = self.tooling.table("CustomField")
        known = {(row["EntityDefinitionId"], row["DeveloperName"]) for row in table.values()}
        for sobject in self.org.store.objects.values():
            home = self.entity("Activity" if sobject.name == "Task" else sobject.name)
            for name in sobject.fields:
                if name.endswith("__c") and (home, name.removesuffix("__c")) not in known:
                    values = {"DeveloperName": name.removesuffix("__c"), "EntityDefinitionId": home}
                    self.tooling.insert(self.tooling.objects["CustomField"], values, as_system=True)


def answer(org: FakeSalesforce, call: Call, parts: list[str]) -> Reply:
    """Answer below /metadata/, /tooling/ and /ui-api/; the first part says which."""
    from .rest import Reply

    match call.method, parts:
        case "POST", ["metadata", "deployRequest"]:
            made = org.set_up.start(call)
            return Reply(201, {"id": made.id, "deployResult": made.described(with_details=False)})
        case "GET", ["metadata", "deployRequest", deployment_id]:
            found = org.set_up.ask(deployment_id)
            with_details = call.query.get("includeDetails") == "true"
            return Reply(body={"id": found.id, "deployResult": found.described(with_details=with_details)})
        case "GET", ["tooling", "query"]:
            result = org.set_up.query(call.query.get("q", ""), call.version)
            return Reply(
                body={"size": len(result.rows), "totalSize": result.total, "done": True, "records": result.rows}
            )
        case "GET", ["ui-api", "object-info", name, "picklist-values", record_type_id, field_name]:
            return Reply(body=_picklist(org.store.sobject(name), record_type_id, field_name))
    raise not_found()


def _picklist(sobject: SObject, record_type_id: str, field_name: str) -> dict[str, Any]:
    record_type = next((one for one in sobject.record_types if one.id == record_type_id), None)
    found = sobject.find(field_name)
    if record_type is None or found is None:
        raise not_found()
    values = found.values if record_type.values is None else record_type.values
    return {"controllerValues": {}, "defaultValue": None, "values": [{"label": v, "value": v} for v in values]}


# Reading what was uploaded


def _form(call: Call) -> tuple[dict[str, Any], bytes]:
    kind = call.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data") or "boundary=" not in kind:
        raise SalesforceError("UNSUPPORTED_MEDIA_TYPE", "deployRequest takes multipart/form-data")
    raw = b"Content-Type: " + kind.encode() + b"\r\n\r\n" + call.raw
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(raw)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
    if set(parts) != {"json", "file"}:
        raise SalesforceError("INVALID_FIELD", f"The parts json and file are needed, not {sorted(map(str, parts))}")
    if parts["json"].get_content_type() != "application/json" or parts["file"].get_content_type() != "application/zip":
        raise SalesforceError("UNSUPPORTED_MEDIA_TYPE", "json is application/json and file application/zip")
    return json.loads(parts["json"].get_payload(decode=True)), bytes(parts["file"].get_payload(decode=True))


def _parsed(raw: bytes) -> tuple[str, Node]:
    root = ElementTree.fromstring(raw)
    return root.tag.rpartition("}")[2], _nodes(root)


def _nodes(element: ElementTree.Element) -> Node:
    """Children by name: a list of nodes where they have children, of texts where they have none."""
    found: Node = {}
    for child in element:
        value = _nodes(child) if len(child) else (child.text or "")
        found.setdefault(child.tag.rpartition("}")[2], []).append(value)
    return found


def _one(nodes: Node, name: str) -> str:
    value = nodes.get(name, [""])[0]
    return value if isinstance(value, str) else ""


def _listed(raw: bytes) -> set[tuple[str, str]]:
    _, nodes = _parsed(raw)
    return set(itertools.chain.from_iterable(
        ((_one(kind, "name"), member) for member in kind.get("members", [])) for kind in nodes.get("types", [])
    ))  # fmt: skip


def _must_be_listed(listed: set[tuple[str, str]], kind: str, name: str) -> None:
    if (kind, name) not in listed:
        raise Refused(f"An object '{name}' of type {kind} was found in the zip but not in package.xml")


def _field(nodes: Node) -> Field:
    name, kind = _one(nodes, "fullName"), _one(nodes, "type")
    if kind not in TYPES:
        raise Refused(f"'{kind}' is not a valid value for the enum 'FieldType'")
    if not name.endswith("__c") or not _one(nodes, "label"):
        raise Refused("A custom field needs a label and a name that ends in __c")
    length = int(_one(nodes, "length") or 0)
    precision, scale = int(_one(nodes, "precision") or 0), int(_one(nodes, "scale") or 0)
    is_required, is_unique = _one(nodes, "required") == "true", _one(nodes, "unique") == "true"
    external_id = _one(nodes, "externalId") == "true"
    if kind == "Text" and not 1 <= length <= 255:
        raise Refused("Text needs a length of 1 to 255")
    if kind == "LongTextArea" and not (256 <= length <= 131_072 and _one(nodes, "visibleLines")):
        raise Refused("Must specify 'length' and 'visibleLines' for a LongTextArea")
    if kind == "Number" and not (1 <= precision <= 18 and 0 <= scale <= precision and "scale" in nodes):
        raise Refused("Precision must be 18 or less, and scale is needed")
    if kind == "Checkbox" and (_one(nodes, "defaultValue") not in ("true", "false") or "required" in nodes):
        raise Refused("Must specify a defaultValue for a Checkbox, and it cannot be required")
    if kind == "LongTextArea" and "required" in nodes:
        raise Refused("Can not specify 'required' for a LongTextArea")
    if kind == "Lookup" and not (_one(nodes, "referenceTo") and _one(nodes, "relationshipName")):
        raise Refused("Must specify 'referenceTo' and 'relationshipName' for a Lookup")
    if (is_unique or external_id) and kind not in ("Text", "Number", "Email"):
        raise Refused(f"Cannot be unique or an External ID: {kind}")
    value_set = (nodes.get("valueSet") or [{}])[0]
    definition = (value_set.get("valueSetDefinition") or [{}])[0] if isinstance(value_set, dict) else {}
    values = tuple(_one(one, "fullName") for one in definition.get("value", []))
    if kind == "Picklist" and not values:
        raise Refused("A picklist needs a valueSet")
    return Field(
        name, TYPES[kind], length=255 if kind in ("Picklist", "Url") else 18 if kind == "Lookup" else length,
        precision=precision, scale=scale, required=is_required, unique=is_unique, external_id=external_id,
        filterable=kind != "LongTextArea", values=values, references=tuple(nodes.get("referenceTo", ())),
        restricted=isinstance(value_set, dict) and _one(value_set, "restricted") == "true",
    )  # fmt: skip


def _success(kind: str, name: str, *, created: bool, changed: bool) -> dict[str, Any]:
    return {"componentType": kind, "fullName": name, "success": True, "created": created, "changed": changed,
            "deleted": False}  # fmt: skip


def _failure(kind: str, name: str, problem: str) -> dict[str, Any]:
    return {"componentType": kind, "fullName": name, "success": False, "problem": problem, "problemType": "Error",
            "created": False, "changed": False}  # fmt: skip
