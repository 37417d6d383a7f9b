"""Which values a schema allows."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firesteel.tables.schema import Column


def invalid_values(column: Column, values: pa.Array) -> np.ndarray:
    """Which values of a column, already of its type, its schema forbids.

    Args:
        column: of the schema.
        values: none of them null.

    Returns:
        bool of shape (n,).
    """
    if column.is_numeric:
        return _invalid_numbers(column, values)
    if column.type == "categorical":
        return ~pc.is_in(values, value_set=pa.array(column.values, values.type)).to_numpy(zero_copy_only=False)
    if column.type == "string" and column.pattern is not None:
        matches = re.compile(column.pattern).fullmatch
        encoded = values.dictionary_encode()
        fits = np.array([matches(text) is not None for text in encoded.dictionary.to_pylist()], bool)
        return ~fits[encoded.indices.to_numpy()] if len(values) else np.zeros(0, bool)
    return np.zeros(len(values), bool)


def _invalid_numbers(column: Column, values: pa.Array) -> np.ndarray:
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    numbers = values.to_numpy(zero_copy_only=False)
    invalid = np.zeros(len(numbers), bool)
    if numbers.dtype.kind == "f":
        invalid |= np.isnan(numbers) if not column.nan else invalid
        invalid |= np.isinf(numbers) if not column.infinite else invalid
    with np.errstate(invalid="ignore"):
        if column.min is not None:
            invalid |= numbers < column.min
        if column.max is not None:
            invalid |= numbers > column.max
    return invalid
