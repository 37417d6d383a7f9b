"""The transform process: a list of steps for tables of one schema, checked before anything runs.

::

    storms = TransformProcess(Schema.parse("storms.yaml")).select("lat", "lon", "type").categorical_to_integer("type")
    storms.final_schema                  # lat double, lon double, type integer
    storms.write("process.yaml")

    # process.yaml
    schema: {lat: double, lon: double, type: {type: categorical, values: [TOR, WIND, HAIL]}}
    steps:
    - {do: select, columns: [lat, lon, type]}
    - {do: categorical_to_integer, columns: [type]}

Each step of :mod:`firesteel.tables.steps.registry` is a method that returns a new process. A process holds no data and no
Spark: :func:`firesteel.spark.transform.transformed` applies it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from firesteel.documents import dump_yaml, read_document, shortened
from firesteel.errors import ConfigError
from firesteel.storage import Place
from firesteel.tables.plans import Operation
from firesteel.tables.schema import Schema
from firesteel.tables.steps.base import Step
from firesteel.tables.steps.registry import STEPS, step_from_call, step_of

_EXAMPLE = "steps: [{do: drop, columns: [a]}]"


class TransformProcess(BaseModel):
    """Steps for tables of one schema. Immutable.

    Attributes:
        initial_schema: of the tables that it is for.
        steps: in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_schema: Schema
    steps: tuple[Step, ...] = ()

    def __init__(self, initial_schema: Schema | str | os.PathLike[str], steps: tuple[Step, ...] = ()):
        """Check the steps.

        Raises:
            ConfigError: naming the step that does not fit, and why.
        """
        BaseModel.__init__(self, initial_schema=Schema.parse(initial_schema), steps=tuple(steps))
        self.schemas  # noqa: B018  # looks at each step

    # -- building ----------------------------------------------------------------------------------------------------

    def then(self, *steps: Step | Mapping[str, Any]) -> TransformProcess:
        """With further steps, as objects or as they stand in files.

        Raises:
            ConfigError: naming the step that does not fit, and why.
        """
        read, schemas = list(self.steps), list(self.schemas)
        for number, step in enumerate(steps, start=len(read) + 1):
            with _naming(number, step.get("do") if isinstance(step, Mapping) else None):
                read.append(step_of(step))
            with _naming(number, read[-1].do):
                schemas.append(read[-1].schema_after(schemas[-1]))
        # What has been checked is not checked again: a process of hundreds of steps is built step by step.
        process = TransformProcess.model_construct(initial_schema=self.initial_schema, steps=tuple(read))
        process.__dict__["schemas"] = tuple(schemas)
        return process

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., TransformProcess]: ...

    def with_analysis(self, analysis: Mapping[str, Any]) -> TransformProcess:
        """With the statistics that steps want, taken from an analysis of the table that the process begins with.

        Args:
            analysis: ``{"columns": {name: {"min":, "max":, "mean":, "stdev":}}}``, as ``firesteel analyze --json`` prints.

        Raises:
            ConfigError: if a column or figure is not there, or steps before have changed the column, so that figures of the
                source say nothing about it; :func:`firesteel.spark.transform.filled` computes them where they are wanted.
        """
        columns = analysis.get("columns") if isinstance(analysis, Mapping) else None
        if not isinstance(columns, Mapping):
            raise ConfigError(
                f"an analysis looks like {{'columns': {{'lat': {{'mean': 37.0}}}}}}, got {shortened(analysis)}."
            )
        process = self
        for position in self.unfilled():
            process = process.with_statistics(position, _statistics_of(process, position, columns))
        return process

    def with_statistics(self, position: int, statistics: Mapping[str, Mapping[str, float]]) -> TransformProcess:
        """With the statistics of one step.

        Args:
            position: of the step, from 0.
            statistics: column -> ``min``, ``max``, ``mean``, ``stdev``.
        """
        steps = list(self.steps)
        steps[position] = steps[position].with_statistics(statistics)
        return TransformProcess(self.initial_schema).then(*steps)

    # -- asking ------------------------------------------------------------------------------------------------------

    @cached_property
    def schemas(self) -> tuple[Schema, ...]:
        """The schema before the first step, and after each one."""
        found = [self.initial_schema]
        for number, step in enumerate(self.steps, start=1):
            with _naming(number, step.do):
                found.append(step.schema_after(found[-1]))
        return tuple(found)

    @property
    def final_schema(self) -> Schema:
        """Of the tables that come out."""
        return self.schemas[-1]

    def plan(self) -> tuple[Operation, ...]:
        """All that happens to a table, one after the other."""
        return tuple(each for step, schema in zip(self.steps, self.schemas) for each in step.plan(schema))

    def unfilled(self) -> dict[int, Mapping[str, tuple[str, ...]]]:
        """Positions of steps, from 0, whose statistics are not filled in -> column -> which."""
        found = {i: step.unfilled(schema) for i, (step, schema) in enumerate(zip(self.steps, self.schemas))}
        return {position: which for position, which in found.items() if which}

    def check_filled(self) -> None:
        """Raise ConfigError if a step lacks statistics; it says how to fill them in."""
        for position, which in self.unfilled().items():
            column, names = next(iter(which.items()))
            raise ConfigError(
                f"step {position + 1} ({self.steps[position].do}) needs the {' and '.join(names)} of column {column!r}.\n"
                "Compute them with firesteel.spark.filled(frame, process), take them from an analysis with"
                " process.with_analysis(...), or write them into the step's statistics."
            )

    @property
    def is_row_wise(self) -> bool:
        """Whether each row is computed from that row alone, so that the process can be applied to single rows later on.

        Filters are row-wise, too: they drop rows. Groups, windows over rows, ranks and sequences are not.
        """
        return all(operation.is_row_wise for operation in self.plan())

    def describe(self) -> str:
        """The steps with the schema after each, as text."""
        schemas = self.schemas
        lines = [f"{'':>3}  schema, {_count(schemas[0])}", f"       {schemas[0]}"]
        for number, (step, schema) in enumerate(zip(self.steps, schemas[1:]), start=1):
            fields = step.to_mapping()
            options = ", ".join(f"{key}={_shown(value)}" for key, value in fields.items() if key != "do")
            lines += [f"{number:>3}  {step.do}{': ' if options else ''}{options}", f"       {schema}"]
        return "\n".join(lines)

    # -- reading and writing -----------------------------------------------------------------------------------------

    @classmethod
    def of(cls, value: Any, *, schema: Schema | None = None) -> TransformProcess:
        """From the form of files: ``{"schema": ..., "steps": [...]}``.

        Args:
            value: the mapping; its schema may be a text such as ``lat double``.
            schema: stands in where the mapping has none.

        Raises:
            ConfigError: saying what is wrong.
        """
        if not isinstance(value, dict) or not set(value) <= {"schema", "steps"}:
            raise ConfigError(f"a transform process has a schema and steps, got {shortened(value)}.")
        given = value.get("schema")
        if given is not None:
            schema = Schema.of(given) if isinstance(given, dict) else Schema.parse(_text(given))
        if schema is None:
            raise ConfigError("the process names no schema. Add one, as in schema: {lat: double}, or give --schema.")
        steps = value.get("steps") or []
        if not isinstance(steps, list | tuple):
            raise ConfigError(f"steps must be a list, as in - {{do: drop, columns: [a]}}, got {shortened(steps)}.")
        return TransformProcess(schema).then(*steps)

    @classmethod
    def read(cls, where: str | os.PathLike[str] | Place, *, schema: Schema | None = None) -> TransformProcess:
        """From a ``.yaml`` or ``.json`` file.

        Args:
            where: path or URI.
            schema: stands in where the file has none.

        Raises:
            ConfigError: saying what is wrong, and in which file.
        """
        place = Place.of(where)
        document = read_document(place, "a transform process", example=_EXAMPLE)
        try:
            return cls.of(document, schema=schema)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None

    @staticmethod
    def has_schema(where: str | os.PathLike[str] | Place) -> bool:
        """Whether a file names the schema of its tables."""
        return read_document(where, "a transform process", example=_EXAMPLE).get("schema") is not None

    def to_mapping(self) -> dict[str, Any]:
        """What :meth:`of` reads: JSON values."""
        return {"schema": self.initial_schema.to_mapping(), "steps": [step.to_mapping() for step in self.steps]}

    def to_yaml(self) -> str:
        """What :meth:`read` reads from a file."""
        return dump_yaml(self.to_mapping())

    def write(self, where: str | os.PathLike[str] | Place) -> None:
        """Write a ``.yaml`` file that :meth:`read` reads."""
        Place.of(where).write_text(self.to_yaml())

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, handler: Any) -> TransformProcess:
        """Take the form of files, too, where a process is part of another model."""
        return cls.of(value) if isinstance(value, dict) and "initial_schema" not in value else handler(value)

    @model_serializer
    def _write(self) -> dict[str, Any]:
        return self.to_mapping()


class _naming:  # noqa: N801
    """Puts the number and the name of a step before what is wrong with it."""

    def __init__(self, number: int, name: Any):
        self._where = f"step {number} ({name})" if isinstance(name, str) else f"step {number}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ConfigError):
            raise ConfigError(f"{self._where}: {error}") from None


def _statistics_of(process: TransformProcess, position: int, columns: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    step = process.steps[position]
    sources = _sources_before(process, position)
    found: dict[str, dict[str, float]] = {}
    for name, wanted in process.unfilled()[position].items():
        source = sources.get(name)
        if source is None:
            raise ConfigError(
                f"step {position + 1} ({step.do}): earlier steps have computed column {name!r}, so an analysis of the source says"
                " nothing about it.\nUse firesteel.spark.filled(frame, process), which computes what each step needs."
            )
        given = columns.get(source)
        figures = given if isinstance(given, Mapping) else {}
        for each in wanted:
            if not isinstance(figures.get(each), int | float):
                raise ConfigError(f"step {position + 1} ({step.do}): the analysis has no {each} of column {source!r}.")
        found[name] = {each: float(figures[each]) for each in wanted}
    return found


def _sources_before(process: TransformProcess, position: int) -> dict[str, str]:
    """Columns before a step that hold what a column of the source held -> name of that column."""
    sources = {name: name for name in process.initial_schema.names}
    for step, schema in zip(process.steps[:position], process.schemas):
        for operation in step.plan(schema):
            outputs = getattr(operation, "outputs", None)
            if outputs is not None:
                sources = {
                    output.column.name: sources[output.value.name]
                    for output in outputs
                    if output.is_kept and output.value.name in sources
                }
            elif not operation.is_row_wise:
                sources = {}
    return sources


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"schema: expected columns and their types, as in {{lat: double}}, got {shortened(value)}.")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return f"[{', '.join(value)}]"
    return str(value)


def _count(schema: Schema) -> str:
    return f"{len(schema)} column{'s' * (len(schema) != 1)}"


def _method(name: str, kind: type[Step]) -> Callable[..., TransformProcess]:
    """The method that adds a step of that name: a step is declared in one place only."""

    def add(self: TransformProcess, *columns: Any, **options: Any) -> TransformProcess:
        with _naming(len(self.steps) + 1, name):
            step = step_from_call(name, columns, options)
        return self.then(step)

    add.__name__, add.__qualname__ = name, f"TransformProcess.{name}"
    add.__doc__ = f"{inspect.getdoc(kind)}\n\nReturns:\n    a new process with this step at the end."
    return add


for _name, _kind in STEPS.items():
    setattr(TransformProcess, _name, _method(_name, _kind))


__all__ = ["TransformProcess"]
