"""Steps that look at other rows and keep all of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from firesteel.errors import ConfigError
from firesteel.tables.expressions import Cast, Expression, Over, call
from firesteel.tables.plans import Operation, changed
from firesteel.tables.reductions import Reduction
from firesteel.tables.schema import Schema
from firesteel.tables.steps.base import Names, NamesOrNone, Step, made, new_name, order_of, typed


class Moving(Step):
    """Reduce the last rows of the same key, this one and those before it, into new columns.

    At the beginning of a key there are fewer rows. Rows that are equal in ``order_by`` come in any order.

    Attributes:
        by: columns of the key; none given means that the whole table is one, in one task.
        order_by: of the rows; ``-time`` falls.
        rows: how many, with this one.
        values: name of a new column -> ``{reduce: mean, column: price}``.
    """

    positional: ClassVar[str | None] = "by"

    do: Literal["moving"] = "moving"
    by: NamesOrNone = ()
    order_by: Names
    rows: int
    values: dict[str, Reduction]

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if not 1 <= self.rows < 1 << 31:
            raise ConfigError(f"rows must be at least 1, got {self.rows}.")
        if not self.values:
            raise ConfigError(
                "values must name at least one new column, as in values: {mean_3: {reduce: mean, column: price}}."
            )
        by = tuple(typed(schema, name).name for name in self.by)
        order = order_of(schema, self.order_by)

        def over(value: Expression) -> Expression:
            return Over(value, by, order, self.rows)

        outputs = [
            each.output(new_name(schema, name), schema, order, window=over) for name, each in self.values.items()
        ]
        return (changed(schema, *outputs),)


class SortedRank(Step):
    """The position of each row in an order, from 0, into a new column; rows that are equal come in any order.

    Attributes:
        order_by: of the rows; ``-score`` falls.
        into: the new column (long).
        by: count anew for each key; none given ranks the whole table, in one task.
    """

    positional: ClassVar[str | None] = "order_by"

    do: Literal["sorted_rank"] = "sorted_rank"
    order_by: Names
    into: str
    by: NamesOrNone = ()

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        by = tuple(typed(schema, name).name for name in self.by)
        position = Over(call("row_number"), by, order_of(schema, self.order_by))
        rank = call("-", Cast(position, "bigint"), 1)
        return (changed(schema, made(new_name(schema, self.into), "long", rank, min=0)),)


__all__ = ["Moving", "SortedRank"]
