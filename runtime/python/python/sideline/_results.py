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

    def duckdb(self):
        """Returns a connection of DuckDB with a view of each recorded table, and `TABLE_skipped` for frames that were skipped."""
        import duckdb

        connection = duckdb.connect()
        for name in self.tables:
            for view, path in ((name, self[name].path), (f"{name}_skipped", self[name].skipped_path)):
                if path.exists():
                    name_of_view, file = view.replace('"', '""'), str(path.absolute()).replace("'", "''")
                    connection.execute(f"""create view "{name_of_view}" as select * from read_parquet('{file}')""")
        return connection

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


class _Dataframes:
    """Dataframes of a class with `arrow()`."""

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


class RecordedTable(_Dataframes):
    """Recorded table."""

    def __init__(self, folder, name):
        self.name = name
        self.path = folder / f"{name}.parquet"
        self.skipped_path = folder / f"{name}.skipped.parquet"

    def arrow(self):
        """Returns the rows as a table of PyArrow. Of a run that is active, these are the row groups written so far."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.path)

    def skipped(self):
        """Returns the frames that were skipped with their reasons, as a table of PyArrow; `None` if there are none."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.skipped_path) if self.skipped_path.exists() else None

    def at_peak(self, other):
        """Returns each row with the row of another table at the frame of its peak and of its track: `moves.at_peak(poses)`.

        The columns of the other table begin with its name: `poses_joints`. They are null where it has no such row.
        """
        return PeakTable(self, other)

    def __repr__(self):
        return f"<RecordedTable {self.path}>"


class PeakTable(_Dataframes):
    """Rows of a table with the rows of another one at their peaks."""

    def __init__(self, table, other):
        self._table = table
        self._other = other

    def arrow(self):
        """Returns the rows as a table of PyArrow."""
        import pyarrow

        table, other = self._table.arrow(), self._other.arrow()
        for name, found, needed in ((self._table.name, table, ("peak", "track")), (self._other.name, other, ("track",))):
            for column in needed:
                if column not in found.column_names:
                    raise ValueError(f"table `{name}` has no column `{column}`, which `at_peak` needs")
        keys = zip(*(other[column].to_pylist() for column in ("stream", "frame", "track")))
        rows = {key: row for row, key in enumerate(keys)}
        wanted = zip(*(table[column].to_pylist() for column in ("stream", "peak", "track")))
        found = other.take(pyarrow.array([rows.get(key) for key in wanted], pyarrow.int64()))
        for column in found.column_names:
            if column not in ("stream", "session", "frame", "pts", "track"):
                table = table.append_column(f"{self._other.name}_{column}", found[column])
        return table

    def __repr__(self):
        return f"<PeakTable: {self._table.name} with {self._other.name}>"


def _flat(table):
    import pyarrow as pa
    import pyarrow.compute as pc

    names, columns = [], []

    def add(name, column):
        kind = column.type
        # By functions of PyArrow, which keep the nulls of lists and structures.
        if pa.types.is_fixed_size_list(kind):
            for at in range(kind.list_size):
                add(f"{name}_{at}", pc.list_element(column, at))
        elif pa.types.is_struct(kind):
            for field in kind:
                add(f"{name}_{field.name}", pc.struct_field(column, field.name))
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
