"""Results of a run: the recorded tables in its folder."""

import json
from pathlib import Path


class Results:
    """Results of a run. Each recorded table is an attribute: `sideline.open("runs/x").motion`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: there is no folder of a run")

    @property
    def tables(self):
        """Names of the recorded tables."""
        found = {path.name.removesuffix(".parquet") for path in self.folder.glob("*.parquet")}
        return sorted(name for name in found - {"timing"} if not name.endswith(".skipped"))

    @property
    def configuration(self):
        """Contents of `run.json`: flow, nodes, keys with their values, models."""
        return json.loads((self.folder / "run.json").read_text())

    def __getitem__(self, name):
        if name not in self.tables:
            known = ", ".join(self.tables) or "none"
            raise KeyError(f"the run has no table `{name}`; it has {known}")
        return RecordedTable(self.folder, name)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __dir__(self):
        return [*super().__dir__(), *self.tables]

    def __repr__(self):
        return f"<Results of {self.folder}: {', '.join(self.tables)}>"


class RecordedTable:
    """Recorded table."""

    def __init__(self, folder, name):
        self.name = name
        self.path = folder / f"{name}.parquet"
        self._skipped = folder / f"{name}.skipped.parquet"

    def arrow(self):
        """Returns the rows as a table of PyArrow. Of a run that is active, these are the row groups written so far."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.path)

    def pandas(self, flat=False):
        """Returns a dataframe of pandas.

        flat: lists of a fixed length and structures become columns of their own, named by index and field: `velocity_16_0`, `box_x`.
        Whole numbers are signed, so that differences do not wrap, and NaN stands for what was not seen.
        """
        table = self.arrow()
        return (_flat(table) if flat else table).to_pandas()

    def polars(self):
        """Returns a dataframe of Polars."""
        import polars

        return polars.from_arrow(self.arrow())

    def skipped(self):
        """Returns the frames that were skipped with their reasons, as a table of PyArrow; `None` if there are none."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self._skipped) if self._skipped.exists() else None

    def __repr__(self):
        return f"<RecordedTable {self.path}>"


def _flat(table):
    import pyarrow as pa

    names, columns = [], []

    def add(name, column):
        kind = column.type
        if pa.types.is_fixed_size_list(kind):
            values = pa.chunked_array([chunk.flatten() for chunk in column.chunks], kind.value_type)
            for at in range(kind.list_size):
                add(f"{name}_{at}", values.take(pa.array(range(at, len(values), kind.list_size), pa.int64())))
        elif pa.types.is_struct(kind):
            for field in kind:
                flat = [chunk.field(field.name) for chunk in column.chunks]
                add(f"{name}_{field.name}", pa.chunked_array(flat, field.type))
        else:
            if pa.types.is_unsigned_integer(kind):
                column = column.cast(pa.int64())
            names.append(name)
            columns.append(column)

    for name in table.column_names:
        add(name, table[name])
    return pa.table(dict(zip(names, columns)))


def open(folder):
    """Opens the results of a run by its folder."""
    return Results(folder)
