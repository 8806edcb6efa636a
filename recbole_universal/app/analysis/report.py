"""The analysis of one or more datasets as one HTML file that needs no network, and a CSV of every figure in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import scipy.sparse as sp

from recbole_universal import arguments
from recbole_universal.app.analysis.page import Section, begins, check_plotly, is_report, render
from recbole_universal.app.analysis.study import Study, similarity_of_datasets
from recbole_universal.app.content_check import join_table
from recbole_universal.checkpoint import Pretrained, load_pretrained
from recbole_universal.content.join_test import JoinTest
from recbole_universal.features import UniversalFeatures
from recbole_universal.files import atomic_write
from recbole_universal.graph.histories import Histories

__all__ = ["analyze", "is_report"]

_COLUMNS = ["dataset", "section", "table", "row", "metric", "value"]
_TOGETHER = "All datasets"
_JOIN = (
    "Two items of one user should be more alike than any two items. z is the difference of their mean cosines in units "
    "of its standard deviation after the content is shuffled among the items. Below 3 the content may belong to other "
    "items. The same holds if z of a shift is above 3: the items of one user are then more alike with the content of a "
    "neighbour in the order of ids."
)


def analyze(
    matrices: Mapping[str, sp.csr_matrix],
    output: str | os.PathLike[str],
    *,
    pretrained: str | os.PathLike[str] | Pretrained = "universal-base",
    histories: Mapping[str, Histories] | None = None,
    content: Mapping[str, Sequence[JoinTest]] | None = None,
    n_users: int = 1000,
    in_domain: bool = False,
    seed: int = 2020,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Analyse datasets and write a report (HTML) and a CSV.

    Args:
        matrices: interactions by name of the dataset, csr [n_users, n_items]; any value but 0 counts as one.
        output: the HTML file, which is replaced. The CSV has the same name with the ending ``.csv``. If another file
            has that name, the function raises an error and keeps the file.
        pretrained: model that ranks by candidates: name of a shipped one, folder of one, or a loaded one.
        histories: the same interactions in the order of time, of datasets whose order is known.
        content: results of the join test of datasets with a table of items.
        n_users: number of evaluated users in each dataset at most.
        in_domain: whether to train models of each family, and of all families, on each dataset, too.
        seed: seed of everything random.
        show_progress: whether to draw progress bars on stderr.

    Returns:
        The table of the CSV: ``dataset``, ``section``, ``table``, ``row``, ``metric``, ``value``.

    Raises:
        ValueError: if a dataset is too small (no user with two interactions) or an argument is not valid.
        OSError: if a file cannot be written.
        ImportError: if plotly is not installed.
    """
    check_plotly()
    if not matrices or _TOGETHER in matrices:
        raise ValueError(f"analyze: there is no dataset, or one named [{_TOGETHER}], which is a part of the report.")
    arguments.integer("analyze", "n_users (--users)", n_users, 1, below=2**31)
    path = Path(os.path.expanduser(output))
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"output (--output): [{path}] must end in .html.")
    if not path.parent.is_dir():
        raise ValueError(f"output (--output): there is no folder [{path.parent}].")
    table = path.with_suffix(".csv")
    if table.exists() and not begins(table, ",".join(_COLUMNS)):
        raise ValueError(
            f"output (--output): [{table}], the table of [{path}], exists and is no table of analyze; name another "
            "file."
        )
    model = pretrained if isinstance(pretrained, Pretrained) else load_pretrained(pretrained)
    if "proximity" not in model.families:
        raise ValueError("pretrained (--pretrained): only a model with the family [proximity] can be analysed.")
    with ExitStack() as stack:
        try:  # before the work, which takes minutes
            page_file, table_file = (stack.enter_context(atomic_write(file)) for file in (path, table))
        except OSError as error:
            raise OSError(f"output (--output): cannot write [{path}] and [{table}]: {error.strerror}.") from error
        sections = _sections(matrices, histories or {}, model, n_users, in_domain, seed, show_progress)
        for name, tests in (content or {}).items():
            sections[name].append(Section("Does the content belong to the items?", _JOIN, {"Join": join_table(tests)}))
        figures = _long_table(sections)
        page_file.write(render(sections).encode())
        table_file.write(figures.to_csv(index=False).encode())
    return figures


def _sections(
    matrices: Mapping[str, sp.csr_matrix],
    histories: Mapping[str, Histories],
    model: Pretrained,
    n_users: int,
    in_domain: bool,
    seed: int,
    show: bool,
) -> dict[str, list[Section]]:
    """The sections of each dataset, and of all together."""
    sections: dict[str, list[Section]] = {}
    features: dict[str, UniversalFeatures] = {}
    for name, matrix in matrices.items():
        try:
            study = Study(name, matrix, model, n_users, in_domain, seed, show, histories.get(name))
        except ValueError as error:
            if len(matrices) == 1:
                raise
            sections[name] = [Section("Not analysed", str(error))]  # the report on the others is not lost
            continue
        sections[name] = study.sections()
        features[name] = study.features
    if not features:
        raise ValueError("analyze: none of the datasets has a user with two interactions.")
    if len(features) > 1:
        sections[_TOGETHER] = [similarity_of_datasets(features, seed)]
    return sections


def _long_table(sections_of: Mapping[str, list[Section]]) -> pd.DataFrame:
    """One row per figure. The first columns of text name the row of a table."""
    rows = []
    for name, sections in sections_of.items():
        for section in sections:
            for caption, table in {**section.tables, **section.plotted}.items():
                texts = [bool(table[column].map(lambda value: isinstance(value, str)).all()) for column in table]
                n_names = texts.index(False) if False in texts else 1
                for record in table.itertuples(index=False):
                    row = {"dataset": name, "section": section.title, "table": caption}
                    row["row"] = ", ".join(record[:n_names])
                    values = zip(table.columns[n_names:], record[n_names:], strict=True)
                    rows += [row | {"metric": metric, "value": value} for metric, value in values]
    return pd.DataFrame(rows, columns=_COLUMNS)
