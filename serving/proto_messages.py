"""Builds protobuf classes from a table of fields, where no generated ones can be imported.

The classes live in a pool of their own, so that they do not meet the official ones in a
process that has both. On the wire an enum is an int32, and a map is a list of entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

Fields = Mapping[str, tuple[int, str]]
"""By a field's name, its number and type, such as "int64" or another message; `*` repeats it."""


def message_classes(package: str, messages: Mapping[str, Fields]) -> dict[str, Any]:
    """One class a message.

    Args:
      package: Their package; no two calls share one.
      messages: By a message's name, its fields.

    Returns:
      The classes by their names.
    """
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated, kind = kind.endswith("*"), kind.rstrip("*")
            described = message.field.add(
                name=field,
                number=number,
                label=FieldDescriptorProto.LABEL_REPEATED
                if repeated
                else FieldDescriptorProto.LABEL_OPTIONAL,
            )
            if kind in messages:
                described.type = FieldDescriptorProto.TYPE_MESSAGE
                described.type_name = f".{package}.{kind}"
            else:
                described.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    built = message_factory.GetMessages([file])
    return {name: built[f"{package}.{name}"] for name in messages}
