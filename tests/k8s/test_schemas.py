# SPDX-License-Identifier: Apache-2.0
"""Every folder of k8s/ renders, and each object is valid for the oldest and the newest supported Kubernetes: fields of core objects and
of custom resources are all known."""
import pathlib

import jsonschema
import kubernetes_validate
import pytest
import yaml

from rendering import TARGETS, of_kind, render

VERSIONS = ["1.29", "1.37"]  # oldest and newest supported


def closed(schema):
    """The schema with additionalProperties: false where it does not say."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict) and (schema.get("type") == "object"):
        result.setdefault("additionalProperties", False)
    return result


def schema_of(spec):
    metadata = {"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "namespace": {"type": "string"}, "labels": {"type": "object"}, "annotations": {"type": "object"}}}
    return closed({"type": "object", "required": ["metadata", "spec"], "properties": {
        "apiVersion": {}, "kind": {}, "metadata": metadata, "spec": {"type": "object", **spec}}})


CUSTOM = {name: schema_of(spec) for name, spec in
          yaml.safe_load((pathlib.Path(__file__).parent / "custom_resources.yml").read_text(encoding="utf-8")).items()}


def validate(document, version):
    custom = CUSTOM.get(f"{document['apiVersion']} {document['kind']}")
    if custom is None:
        kubernetes_validate.validate(document, version, strict=True)  # raises for an unknown kind or field too
    else:
        jsonschema.Draft202012Validator(custom).validate(document)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("version", VERSIONS)
def test_rendered_objects_are_valid(target, version):
    documents = render(target)
    assert documents
    for document in documents:
        validate(document, version)
    specs = [{"containers": runtime["spec"]["containers"]} for runtime in of_kind(documents, "ServingRuntime")]
    specs += [service["spec"]["template"] for service in of_kind(documents, "LLMInferenceService")]
    specs += [group["spec"]["leaderWorkerTemplate"][f"{role}Template"]["spec"] for group in of_kind(documents, "LeaderWorkerSet")
              for role in ("leader", "worker")]
    for spec in specs:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(pod, version, strict=True)


def test_every_custom_schema_is_used_and_notices_a_misspelt_field():
    documents = [document for target in TARGETS for document in render(target)]
    for name, schema in CUSTOM.items():
        used = [document for document in documents if f"{document['apiVersion']} {document['kind']}" == name]
        assert used, f"nothing uses the schema of {name}"
        misspelt = {**used[0], "spec": {**used[0]["spec"], "seletor": {}}}
        with pytest.raises(jsonschema.ValidationError, match="seletor"):
            jsonschema.Draft202012Validator(schema).validate(misspelt)
        if "selector" in used[0]["spec"]:
            deeper = {**used[0], "spec": {**used[0]["spec"], "selector": {**used[0]["spec"]["selector"], "matchLabel": {}}}}
            with pytest.raises(jsonschema.ValidationError, match="matchLabel"):
                jsonschema.Draft202012Validator(schema).validate(deeper)


def test_an_unknown_kind_is_no_valid_object():
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        validate({"apiVersion": "example.com/v1", "kind": "Nothing", "metadata": {"name": "x"}}, VERSIONS[0])
