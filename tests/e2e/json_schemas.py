# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of every feature that constrained output offers, by a name that tests show."""


def obj(required=None, **properties):
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required,
            "additionalProperties": False}


STRING, INTEGER, NUMBER, BOOLEAN, NULL = ({"type": t} for t in ("string", "integer", "number", "boolean", "null"))
SMALL = {"type": "integer", "minimum": -20, "maximum": 300}

SCHEMAS = {
    "string": obj(a=STRING),
    "string at the root": STRING,
    "integer at the root": SMALL,
    "scalars": obj(s=STRING, i=SMALL, b=BOOLEAN, n=NULL),
    "enum": obj(color={"enum": ["red", "green", "blue"]}, level={"type": "integer", "enum": [1, 2, 30]}),
    "mixed enum": {"enum": ["a\"quote", "back\\slash", "tab\t", "é 中文 😀", 17, None, True, {"k": [1, "x"]}]},
    "const": obj(kind={"const": "point"}, x=SMALL),
    "optional properties": obj(required=["b"], a=SMALL, b=BOOLEAN, c={"enum": ["x"]}),
    "all optional": obj(required=[], a=SMALL, b=BOOLEAN, c=NULL),
    "empty object": obj(),
    "nested": obj(person=obj(name=STRING, address=obj(street=STRING, zip={"type": "string", "pattern": "^[0-9]{5}$"}))),
    "deep": obj(a=obj(a=obj(a=obj(a=obj(a=obj(a=SMALL)))))),
    "array": {"type": "array", "items": SMALL, "minItems": 2, "maxItems": 5},
    "empty array": {"type": "array", "maxItems": 0},
    "array of objects": {"type": "array", "items": obj(id=SMALL, tag={"enum": ["a", "b"]}), "minItems": 1, "maxItems": 3},
    "tuple": {"type": "array", "prefixItems": [SMALL, {"enum": ["x"]}, BOOLEAN], "items": False, "minItems": 3},
    "matrix": {"type": "array", "items": {"type": "array", "items": SMALL, "minItems": 2, "maxItems": 2}, "minItems": 2, "maxItems": 2},
    "anyOf": obj(v={"anyOf": [SMALL, {"enum": ["one"]}, NULL, obj(x=BOOLEAN)]}),
    "oneOf by type": obj(v={"oneOf": [BOOLEAN, {"enum": ["z"], "type": "string"}]}),
    "oneOf by constant": {"oneOf": [obj(kind={"const": "a"}, n=SMALL), obj(kind={"const": "b"}, f=BOOLEAN)]},
    "allOf of one": obj(v={"allOf": [{"$ref": "#/$defs/s"}]}) | {"$defs": {"s": SMALL}},
    "type list": obj(v={"type": ["integer", "null"], "minimum": 1, "maximum": 9}),
    "references": {"$ref": "#/$defs/pair", "$defs": {"pair": obj(l={"$ref": "#/$defs/leaf"}, r={"$ref": "#/$defs/leaf"}), "leaf": SMALL}},
    "recursion": {"$ref": "#/$defs/node", "$defs": {"node": obj(v=SMALL, next={"anyOf": [NULL, NULL, {"$ref": "#/$defs/node"}]})}},
    "root recursion": obj(v=BOOLEAN, kids={"type": "array", "items": {"$ref": "#"}, "maxItems": 1}),
    "unicode names": obj(**{"ключ": SMALL, "名前": BOOLEAN, "a \"b\" \\ c": NULL}),
    "names like annotations": obj(title=SMALL, description=BOOLEAN, default={"enum": ["d"]}),
    "same but for title": {"type": "array", "items": False, "minItems": 2, "prefixItems": [obj(title=SMALL), obj(title=BOOLEAN)]},
    "range": obj(a={"type": "integer", "minimum": 95, "maximum": 105}, b={"type": "integer", "exclusiveMinimum": -3, "exclusiveMaximum": 3}),
    "large range": {"type": "integer", "minimum": -9007199254740992, "maximum": 9007199254740992},
    "number range": obj(p={"type": "number", "minimum": 0, "maximum": 1}, q={"type": "number", "exclusiveMinimum": -2.5, "maximum": 0.25}),
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    "pattern": obj(code={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,4}(x|y)$"}),
    "pattern_escapes": obj(code={"type": "string", "pattern": "^[\\x41-\\u0043^]\\u4e2d?[^\\x00-@]$"}),
    "pattern_other_script": obj(code={"type": "string", "pattern": "^中?[!-#]{1,3}$"}),
    "formats": obj(**{f.replace("-", "_"): {"type": "string", "format": f} for f in ("ipv4", "ipv6", "uuid", "date")}),
    "additional properties": {"type": "object", "properties": {"a": BOOLEAN}, "required": ["a"], "additionalProperties": SMALL},
    "words that exclude nothing": obj(port={"type": "integer", "format": "uint16", "minimum": 0, "maximum": 65535}, share={"type": "number", "format": "double"},
                                      key={"type": "string", "format": "password", "maxLength": 8}, list={"type": "array", "items": SMALL, "maxItems": 2, "uniqueItems": False},
                                      named={"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": BOOLEAN, "minProperties": 0}),
    "lengths": obj(name={"type": "string", "minLength": 1, "maxLength": 12}, tags={"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 3},
                   note={"anyOf": [{"type": "string", "minLength": 20, "maxLength": 256}, {"type": "null"}]}),
    "lengths of patterns": obj(a={"type": "string", "pattern": "^.{1,20}$"}, b={"type": "string", "pattern": "^[a-z ]{0,100}$"},
                               c={"type": "string", "pattern": "^[a-z]+$", "minLength": 3, "maxLength": 5}),
    "lengths of formats": obj(url={"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}, mail={"type": "string", "format": "email", "maxLength": 14},
                              host={"type": "string", "format": "hostname", "minLength": 4, "maxLength": 9}),
    "fractions": obj(share={"enum": [0.1, 0.25, -2.5, 1, "all"]}, half={"const": 0.5}),
    "tuple of draft 7": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [SMALL, {"enum": ["x"]}], "additionalItems": False, "minItems": 2},
    "lengths side by side": {"anyOf": [obj(s={"type": "string", "maxLength": 4}, kind={"const": "short"}),
                                       obj(s={"type": "string", "minLength": 3, "maxLength": 9}, kind={"const": "long"})]},
    "lengths of additional properties": {"type": "object", "additionalProperties": {"type": "string", "minLength": 2, "maxLength": 5}},
    "annotations": obj(a=SMALL | {"description": "a number", "title": "A", "examples": [1], "default": 2}) | {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "T"},
}
