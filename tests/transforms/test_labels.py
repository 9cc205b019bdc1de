"""Label expressions: values against plain Python, and errors that say what is wrong."""

from __future__ import annotations

import math
import operator
import pickle

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.labels import ExpressionError, parse_expression

_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "min": min,
    "max": max,
}

# Trees are tuples: (operator, operand, ...), a column name, or a number.
_number = st.recursive(
    st.sampled_from(["a", "b"]) | st.integers(0, 5) | st.floats(0, 9, width=32),
    lambda inner: (
        st.tuples(st.sampled_from(sorted(_ARITHMETIC)), inner, inner)
        | st.tuples(st.just("neg"), inner)
    ),
    max_leaves=4,
)
_comparison = st.tuples(st.sampled_from(sorted(_COMPARE)), _number, _number) | st.tuples(
    st.sampled_from(["==", "!=", "<"]), st.just("s"), st.sampled_from(['"x"', '"y"'])
)
_chained = st.tuples(
    st.just("chain"),
    _number,
    st.sampled_from(sorted(_COMPARE)),
    _number,
    st.sampled_from(sorted(_COMPARE)),
    _number,
)
_condition = st.recursive(
    _comparison | _chained,
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), inner, inner) | st.tuples(st.just("not"), inner)
    ),
    max_leaves=4,
)
_row = st.fixed_dictionaries(
    {
        "a": st.none() | st.integers(-3, 3).map(float),
        "b": st.none() | st.floats(-5, 5, width=32),
        "s": st.none() | st.sampled_from(["x", "y", ""]),
    }
)


def _render(tree) -> str:
    match tree:
        case ("neg", x):
            return f"-({_render(x)})"
        case ("not", x):
            return f"not ({_render(x)})"
        case ("min" | "max" as name, x, y):
            return f"{name}({_render(x)}, {_render(y)})"
        case ("chain", x, first, y, second, z):
            return f"({_render(x)} {first} {_render(y)} {second} {_render(z)})"
        case (op, x, y):
            return f"({_render(x)} {op} {_render(y)})"
    return str(tree) if isinstance(tree, str) else repr(tree)


def _plain(tree, row):
    """The same tree for one row, in plain Python with None for missing."""
    match tree:
        case ("and", x, y):
            values = {_plain(x, row), _plain(y, row)}
            return False if False in values else None if None in values else True
        case ("or", x, y):
            values = {_plain(x, row), _plain(y, row)}
            return True if True in values else None if None in values else False
        case ("not", x):
            value = _plain(x, row)
            return None if value is None else not value
        case ("neg", x):
            value = _plain(x, row)
            return None if value is None else -value
        case ("chain", x, first, y, second, z):
            return _plain(("and", (first, x, y), (second, y, z)), row)
        case (op, x, y):
            left, right = _plain(x, row), _plain(y, row)
            if left is None or right is None:
                return None
            if op in _COMPARE:
                return _COMPARE[op](left, right)
            try:
                value = _ARITHMETIC[op](left, right)
            except ZeroDivisionError:
                return None
            return value if math.isfinite(value) else None
        case str() as name:
            return name.strip('"') if name.startswith('"') else row[name]
    return float(tree)


def _table(rows) -> pa.Table:
    schema = pa.schema([("a", pa.float64()), ("b", pa.float64()), ("s", pa.string())])
    return pa.Table.from_pylist(rows, schema=schema)


@settings(max_examples=200, deadline=None)
@given(tree=_condition, rows=st.lists(_row, min_size=1, max_size=5))
def test_equals_plain_python(tree, rows):
    text = _render(tree)
    try:
        expression = parse_expression(text)
    except ExpressionError as error:
        assert "reads no column" in str(error)
        return
    assert expression.evaluate(_table(rows)).to_pylist() == [_plain(tree, row) for row in rows]


@settings(max_examples=100, deadline=None)
@given(tree=_number, rows=st.lists(_row, min_size=1, max_size=5))
def test_numbers_equal_plain_python(tree, rows):
    try:
        expression = parse_expression(_render(tree), "a number")
    except ExpressionError as error:
        assert "reads no column" in str(error)
        return
    assert not expression.is_condition
    assert expression.evaluate(_table(rows)).to_pylist() == [_plain(tree, row) for row in rows]


def test_a_condition_or_a_number():
    wanted = "a condition or a number"
    assert parse_expression("a > 1", wanted).is_condition
    assert not parse_expression("a + 1", wanted).is_condition


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a > 1",
            r"`a > 1` is a condition, not a number; .* `min\(play_time_ms / dur",
        ),
        ("'x'", "is a text, not a number"),
        ("1 + 2", "reads no column"),
        ("a == 'x' and 1", "is a number where a condition is expected"),
    ],
)
def test_says_what_is_no_number(text, said):
    with pytest.raises(ExpressionError, match=said):
        parse_expression(text, "a number")


def test_a_record_batch_and_a_chunked_table_give_an_array():
    table = _table([{"a": 1.0}, {"a": 2.0}])
    expression = parse_expression("a > 1")
    chunked = pa.concat_tables([table, table])
    assert expression.evaluate(table.to_batches()[0]).to_pylist() == [False, True]
    assert isinstance(expression.evaluate(chunked), pa.Array)
    assert expression.evaluate(chunked).to_pylist() == [False, True] * 2


def test_integer_columns_are_divided_as_numbers():
    table = pa.table({"n": pa.array([1, 2], pa.int64()), "flag": pa.array([True, False])})
    assert parse_expression("n / 2 == 0.5").evaluate(table).to_pylist() == [True, False]
    assert parse_expression("flag == 1").evaluate(table).to_pylist() == [True, False]


def test_knows_its_columns_and_which_are_texts():
    expression = parse_expression("tab == 'feed' and min(x, 18e3) <= y / 2\n and not z != -1")
    assert expression.columns == {"tab", "x", "y", "z"}
    assert expression.text_columns == {"tab"}


def test_survives_pickling():
    expression = parse_expression("a > 1 or s == 'x'")
    again = pickle.loads(pickle.dumps(expression))
    assert again == expression
    assert again.evaluate(_table([{"a": 0.0, "s": "x"}])).to_pylist() == [True]


def test_names_a_column_that_is_not_there():
    with pytest.raises(KeyError, match="nowhere"):
        parse_expression("nowhere > 1").evaluate(_table([{"a": 1.0}]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("is_click = 1", r"at character \d+"),
        ("a >", "cannot be read"),
        ("a ** 2 > 1", r"`a \*\* 2` at character 1 .* not allowed"),
        ("b > 1 and é.real > 1", "`é.real` at character 11"),
        ("(a > 1) & (b > 1)", "write `and`"),
        ("(a > 1) | (b > 1)", "write `or`"),
        ("a == True", "write 1 for True"),
        ("__import__('os').system('true') == 0", "not allowed"),
        ("min(a) > 1", "not allowed"),
        ("max(a, b, key=c) > 1", "not allowed"),
        ("a in b", "not allowed"),
        ("a == 1j", "not allowed"),
        ("a == 1e999", "too large"),
        ("is_click", "`is_click` is a number, not a condition.*`is_click == 1`"),
        ("'x'", "not a condition"),
        ("a + 'x' > 1", "`'x'` at character 5 .* is a text where a number is expected"),
        ("a and b > 1", "is a number where a condition is expected"),
        ("(a > 1) > 2", "is a condition where a number is expected"),
        ("a * 2 == 'x'", "compared with a text"),
        ("a == 'x' and a > 1", "`a` with a text and also uses it as a number"),
        ("1 < 2", "reads no column"),
        ("a > 1\0", "cannot be read"),
        ("not " * 5000 + "a > 1", "nested too deeply|cannot be read"),
    ],
)
def test_says_what_is_wrong(text, said):
    with pytest.raises(ExpressionError, match=said) as caught:
        parse_expression(text)
    if "not allowed" in said:
        assert "allowed are column names, numbers" in str(caught.value)
