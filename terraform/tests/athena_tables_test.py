#!/usr/bin/env python3
"""Compares the columns of the tables of Athena, in athena.tf and in the statements of docs/results.md, with the schemas of the
results."""

import json
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = {"faces": "face", "tracks": "track"}

# Rekognition does not report these members for a video, so that they are not in the tables.
NOT_IN_A_VIDEO = {"faceoccluded", "eyedirection"}


def parsed(text):
    """A type of Hive as nested values: a name, ["array", element] or {"field": type}."""
    tokens = re.findall(r"[\w`]+|[<>,:]", text)

    def one():
        name = tokens.pop(0)
        if not tokens or tokens[0] != "<":
            return name
        tokens.pop(0)
        if name == "array":
            value = ["array", one()]
        else:
            assert name == "struct", name
            value = {}
            while tokens[0] != ">":
                field = tokens.pop(0).strip("`")
                assert tokens.pop(0) == ":" and field not in value, field
                value[field] = one()
                if tokens[0] == ",":
                    tokens.pop(0)
        assert tokens.pop(0) == ">"
        return value

    value = one()
    assert not tokens, tokens
    return value


def differences(kind, schema, root, path, partial):
    """Where a type differs from a JSON Schema. With `partial`, members of the schema can be missing in a struct."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        [schema] = [choice for choice in schema["anyOf"] if choice["type"] != "null"]
    wanted = schema["type"]
    if wanted == "object" and isinstance(kind, dict):
        members = {name.lower(): member for name, member in schema["properties"].items()}
        missing = set() if partial else members.keys() - kind.keys() - NOT_IN_A_VIDEO
        for name in sorted(missing):
            yield f"{path}.{name} is missing"
        for name, member in kind.items():
            if name in members:
                yield from differences(member, members[name], root, f"{path}.{name}", partial)
            else:
                yield f"{path}.{name} is not in the schema"
    elif wanted == "array" and isinstance(kind, list):
        yield from differences(kind[1], schema["items"], root, f"{path}[]", partial)
    elif kind not in {"integer": ["int", "bigint"], "number": ["double"], "string": ["string"], "boolean": ["boolean"]}.get(wanted, []):
        yield f"{path} is {kind}, and the schema has {wanted}"


def of_table(name, columns, partial=False):
    schema = json.loads((ROOT / "docs" / "schema" / f"{SCHEMAS[name]}.schema.json").read_text())
    return list(differences(columns, schema, schema, name, partial))


def deployed():
    """The columns of each table in athena.tf, as `terraform fmt` formats them."""
    text = (ROOT / "terraform" / "athena.tf").read_text()
    value = re.search(r'^  athena_value = "(.*)"$', text, re.M)[1]
    tables = {}
    for name, body in re.findall(r"^    (\w+) = {\n(.*?)^    }$", text, re.M | re.S):
        # The members of a struct are the arguments of join().
        body = re.sub(r'join\("", \["struct<", join\(",", \[(.*?)\]\), ">"\]\)', lambda found: f'"struct<{",".join(re.findall(chr(34) + "(.*)" + chr(34), found[1]))}>"', body, flags=re.S)
        body = body.replace("${local.athena_value}", value)
        tables[name] = {column: parsed(kind) for column, kind in re.findall(r'\["(\w+)", "(.*)"\]', body)}
    return tables


def documented():
    """The columns of each table in the statements of docs/results.md."""
    text = (ROOT / "docs" / "results.md").read_text()
    statements = re.findall(r"CREATE EXTERNAL TABLE (\w+) \((.*?)\n\)\nPARTITIONED BY \((.*?)\)", text, re.S)
    # The columns of a table are written like the members of a struct, but with a space instead of a colon.
    column = re.compile(r"(?:^|(?<=,))\s*(`?\w+`?)\s+(?=\w)")
    tables = {}
    for name, columns, partitions in statements:
        depth, text = 0, ""
        for character in columns:
            depth += {"<": 1, ">": -1}.get(character, 0)
            text += "\n" if character == "," and depth == 0 else " " if character == "\n" else character
        pairs = [column.sub(r"\1:", line.strip(), count=1) for line in text.split("\n")]
        tables[name] = parsed(f"struct<{','.join(pairs)}>")
        assert partitions == "video string, idempotency_key string", partitions
    return tables


class Columns(unittest.TestCase):
    def test_the_deployed_tables_have_every_member_of_the_schemas(self):
        tables = deployed()
        self.assertEqual(tables.keys(), SCHEMAS.keys())
        self.assertEqual([of_table(name, columns) for name, columns in tables.items()], [[], []])

    def test_the_documented_tables_have_the_types_of_the_schemas(self):
        tables = documented()
        self.assertEqual(tables.keys(), SCHEMAS.keys())
        self.assertEqual(of_table("tracks", tables["tracks"]), [])
        self.assertEqual(of_table("faces", tables["faces"], partial=True), [])

    def test_a_difference_is_found(self):
        tables = deployed()
        tables["faces"]["face"]["confidence"] = "string"
        del tables["faces"]["face"]["pose"]
        tables["tracks"]["boxes"] = ["array", "double"]
        tables["tracks"]["person"] = "string"
        self.assertEqual(of_table("faces", tables["faces"]), ["faces.face.pose is missing", "faces.face.confidence is string, and the schema has number"])
        self.assertEqual(of_table("tracks", tables["tracks"]), ["tracks.boxes[] is double, and the schema has array", "tracks.person is not in the schema"])


if __name__ == "__main__":
    sys.exit(unittest.main())
