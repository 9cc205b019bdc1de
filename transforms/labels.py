"""Expressions over whole Arrow batches: `play_time_ms >= 0.5 * duration_ms` and the like.

The syntax is a small part of Python's, read with `ast` and a white list; see
docs/reference/expressions.md.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

ALLOWED = (
    "column names, numbers, texts in quotes, == != < <= > >=, and, or, not, + - * /, "
    "parentheses, min(a, b), max(a, b)"
)

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: pc.divide,
}
_EXTREMA = {"min": pc.min_element_wise, "max": pc.max_element_wise}

_CONDITION, _NUMBER, _TEXT = "a condition", "a number", "a text"

Wanted = Literal["a condition", "a number", "a condition or a number"]


class ExpressionError(ValueError):
    """Raised for an expression that is not of the wanted kind, or not in the allowed syntax."""


@dataclass(frozen=True)
class Expression:
    """A condition over the columns of a table, or a number computed from them.

    Args:
      text: The expression as written.
      columns: Every column it reads.
      text_columns: Those of `columns` that are compared with a text; all others are numbers.
      is_condition: Whether it is a condition.
    """

    text: str
    columns: frozenset[str]
    text_columns: frozenset[str]
    _root: ast.expr = field(repr=False, compare=False)
    is_condition: bool = True

    def evaluate(self, table: pa.Table | pa.RecordBatch) -> pa.Array:
        """Evaluates the expression for every row.

        Missing values follow Kleene's logic: a comparison with a missing value is missing,
        `missing and false` is false, `missing or true` is true. Arithmetic whose result is not
        a finite number, such as a division by zero, is missing.

        Args:
          table: Holds `columns`, `text_columns` as strings and the others as numbers, [B].

        Returns:
          Booleans or float64, null where the value is missing, [B].

        Raises:
          KeyError: if a column is not there.
        """
        result = _evaluate(self._root, table)
        return result.combine_chunks() if isinstance(result, pa.ChunkedArray) else result


def parse_expression(text: str, wanted: Wanted = "a condition") -> Expression:
    """Reads a condition such as `is_click == 1 and play_time_ms > min(duration_ms, 18000)`.

    Args:
      text: The expression.
      wanted: What it should be; a number is for example `min(play_time_ms / duration_ms, 1)`.

    Returns:
      The parsed expression.

    Raises:
      ExpressionError: saying what is wrong, where, and what is allowed.
    """
    line = " ".join(text.split("\n")).strip()
    if not line:
        raise ExpressionError(f"the expression is empty; allowed are {ALLOWED}")
    try:
        root = ast.parse(line, mode="eval").body
        checker = _Checker(line)
        kind = checker.kind(root)
    except SyntaxError as error:
        place = f" at character {error.offset}" if error.offset else ""
        raise ExpressionError(
            f"`{line}` cannot be read: {error.msg}{place}; allowed are {ALLOWED}"
        ) from None
    except (RecursionError, MemoryError):
        raise ExpressionError("the expression is nested too deeply") from None
    except ExpressionError:
        raise
    except ValueError as error:  # null bytes
        raise ExpressionError(f"the expression cannot be read: {error}") from None
    if kind not in wanted:
        example = f"{line} == 1" if kind == _NUMBER else "is_click == 1"
        advice = (
            "compute it from columns, for example `min(play_time_ms / duration_ms, 1)`"
            if wanted == _NUMBER
            else f"compare it with something, for example `{example}`"
        )
        raise ExpressionError(f"`{line}` is {kind}, not {wanted}; {advice}")
    if not checker.columns:
        raise ExpressionError(f"`{line}` reads no column, so it is the same for every row")
    mixed = sorted(checker.texts & checker.numbers)
    if mixed:
        raise ExpressionError(
            f"`{line}` compares column `{mixed[0]}` with a text and also uses it as a number; "
            "use it as one of them"
        )
    columns, texts = frozenset(checker.columns), frozenset(checker.texts)
    return Expression(line, columns, texts, root, kind == _CONDITION)


class _Checker:
    """Finds the kind of every part, and the columns with theirs."""

    def __init__(self, line: str):
        self.line = line
        self.texts: set[str] = set()
        self.numbers: set[str] = set()

    @property
    def columns(self) -> set[str]:
        return self.texts | self.numbers

    def kind(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                self.numbers.add(name)
                return _NUMBER
            case ast.Constant(value=str()):
                return _TEXT
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                if abs(value) > 1.7e308:
                    raise self._error(node, "is too large a number")
                return _NUMBER
            case ast.BoolOp(values=operands):
                return self._all(operands, _CONDITION, _CONDITION)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._all([operand], _CONDITION, _CONDITION)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._all([operand], _NUMBER, _NUMBER)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                return self._all([left, right], _NUMBER, _NUMBER)
            case ast.Call(func=ast.Name(id="min" | "max"), args=arguments, keywords=[]) if (
                len(arguments) == 2
            ):
                return self._all(arguments, _NUMBER, _NUMBER)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in _COMPARISONS for op in ops
            ):
                return self._compare([left, *others])
        raise self._error(node, "is not allowed", _hint(node))

    def _compare(self, operands: list[ast.expr]) -> str:
        if not any(isinstance(o, ast.Constant) and isinstance(o.value, str) for o in operands):
            return self._all(operands, _NUMBER, _CONDITION)
        for operand in operands:
            if isinstance(operand, ast.Name):
                self.texts.add(operand.id)
            elif self.kind(operand) != _TEXT:
                raise self._error(operand, "is compared with a text but is not one")
        return _CONDITION

    def _all(self, operands: list[ast.expr], wanted: str, result: str) -> str:
        for operand in operands:
            found = self.kind(operand)
            if found != wanted:
                raise self._error(operand, f"is {found} where {wanted} is expected")
        return result

    def _error(self, node: ast.expr, what: str, hint: str = "") -> ExpressionError:
        part = ast.get_source_segment(self.line, node) or self.line
        start = len(self.line.encode()[: node.col_offset].decode()) + 1
        return ExpressionError(
            f"`{part}` at character {start} of `{self.line}` {what}; {hint}allowed are {ALLOWED}"
        )


def _hint(node: ast.expr) -> str:
    match node:
        case ast.BinOp(op=ast.BitAnd()):
            return "write `and` for `&`; "
        case ast.BinOp(op=ast.BitOr()):
            return "write `or` for `|`; "
        case ast.Constant(value=bool()):
            return "write 1 for True and 0 for False; "
    return ""


def _evaluate(node: ast.expr, table: pa.Table | pa.RecordBatch) -> Any:
    match node:
        case ast.Name(id=name):
            column = table.column(name)
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            return column if is_text else column.cast(pa.float64())
        case ast.Constant(value=str() as text):
            return pa.scalar(text)
        case ast.Constant(value=int() | float() as number):
            return pa.scalar(float(number))
        case ast.BoolOp(op=op, values=operands):
            join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
            return reduce(join, (_evaluate(o, table) for o in operands))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return pc.invert(_evaluate(operand, table))
        case ast.UnaryOp(operand=operand):
            return pc.negate(_evaluate(operand, table))
        case ast.BinOp(op=op, left=left, right=right):
            return _finite(_ARITHMETIC[type(op)](_evaluate(left, table), _evaluate(right, table)))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _EXTREMA[name](*(_evaluate(a, table) for a in arguments), skip_nulls=False)
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_evaluate(o, table) for o in [left, *others]]
            pairs = [
                _COMPARISONS[type(op)](a, b)
                for op, a, b in zip(ops, values[:-1], values[1:], strict=True)
            ]
            return reduce(pc.and_kleene, pairs)
    raise AssertionError(f"the checker let {ast.dump(node)} through")


def _finite(values: Any) -> Any:
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))
