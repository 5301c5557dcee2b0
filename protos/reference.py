"""Writes docs/api.md from the proto's comments: `reference.py DESCRIPTOR_SET > docs/api.md`."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

# Where the parts of a file are in it: numbers of fields in descriptor.proto.
_MESSAGE, _ENUM, _SERVICE, _SYNTAX = 4, 5, 6, 12
_FIELD = _VALUE = _METHOD = 2
_LABEL_REPEATED = FieldDescriptorProto.LABEL_REPEATED

_TYPES = {
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_DOUBLE: "double",
    FieldDescriptorProto.TYPE_INT32: "int32",
    FieldDescriptorProto.TYPE_INT64: "int64",
    FieldDescriptorProto.TYPE_STRING: "string",
}
_HEAD = """\
# The API

Written by `make generate` from [`{file}`](../protos/{file}); change it there.
"""

Comments = Mapping[tuple[int, ...], str]


def main() -> None:
    """Print the page of each file in the set, which needs its source info."""
    described = FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes())
    for file in described.file:
        print(_page(file))


def _page(file: FileDescriptorProto) -> str:
    comments = {tuple(each.path): _comment(each) for each in file.source_code_info.location}
    return "\n".join(
        [
            _HEAD.format(file=file.name),
            _prose(comments[_SYNTAX,]),
            *(_service(each, comments, (_SERVICE, n)) for n, each in enumerate(file.service)),
            *(_message(each, comments, (_MESSAGE, n)) for n, each in enumerate(file.message_type)),
            *(_enum(each, comments, (_ENUM, n)) for n, each in enumerate(file.enum_type)),
        ]
    ).rstrip()


def _comment(location: object) -> str:
    """Give the comment before a thing, or behind it on its line, without words to linters."""
    text = location.leading_comments or location.trailing_comments  # type: ignore[attr-defined]
    lines = [line.removeprefix(" ") for line in text.splitlines()]
    return "\n".join(line for line in lines if not line.startswith("buf:")).strip()


def _prose(text: str) -> str:
    """Give paragraphs as they are, headed by what they begin with; tables as code."""
    parts = []
    for part in text.split("\n\n"):
        if part.startswith("  "):
            parts.append(f"```\n{part}\n```\n")
        else:
            parts.append(re.sub(r"^([A-Z][a-z]+)\. ", r"**\1.** ", part) + "\n")
    return "\n".join(parts)


def _service(service: ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]) -> str:
    def told() -> Iterator[str]:
        for n, method in enumerate(service.method):
            streams = "stream of " if method.server_streaming else ""
            given, taken = _link(method.output_type), _link(method.input_type)
            yield f"### {method.name}\n"
            yield f"{taken} → {streams}{given}\n"
            yield _prose(comments[(*path, _METHOD, n)])

    return "\n".join([f"## {service.name}\n", _prose(comments[path]), *told()])


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...]) -> str:
    head = [f"## {message.name}\n", _prose(comments[path])]
    if not message.field:
        return "\n".join([*head, "It has no fields.\n"])
    rows = [
        f"| {field.number} | `{field.name}` | {_type(field)} "
        f"| {_cell(comments.get((*path, _FIELD, n), ''))} |"
        for n, field in enumerate(message.field)
    ]
    return "\n".join([*head, "| | field | type | |\n| ---: | --- | --- | --- |", *rows, ""])


def _type(field: FieldDescriptorProto) -> str:
    name = _TYPES.get(field.type) or _link(field.type_name)
    if field.label == _LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _enum(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> str:
    rows = [
        f"| {value.number} | `{value.name}` | {_cell(comments.get((*path, _VALUE, n), ''))} |"
        for n, value in enumerate(enum.value)
    ]
    table = ["| | value | |\n| ---: | --- | --- |", *rows, ""]
    return "\n".join([f"## {enum.name}\n", _prose(comments[path]), *table])


def _link(name: str) -> str:
    short = name.rpartition(".")[2]
    return f"[{short}](#{short.lower()})"


def _cell(text: str) -> str:
    return text.replace("\n\n", "<br>").replace("\n", " ").replace("|", "\\|")


if __name__ == "__main__":
    main()
