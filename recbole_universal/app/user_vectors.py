"""One vector for each user of a model that RecBole trained, for other tasks than ranking items."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_universal.app.arrow_tables import import_pyarrow
from recbole_universal.app.recommendation_files import output_file

_WHERE = "output (--output)"


def user_vectors(
    checkpoint: str | os.PathLike[str],
    data_path: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    pooling: str = "last",
) -> pd.DataFrame:
    """Vectors of the users of a checkpoint's dataset.

    A sequential model, such as UniversalSASRec, reads the latest items of each user, those of the test part too. A
    pre-trained model gets a checkpoint by a run with ``train_stage: zero_shot``.

    Args:
        checkpoint: a checkpoint that RecBole saved. A pickle, which runs code when it is opened.
        data_path: the folder that holds the folder of the dataset; ``None``: where it was in training.
        device: where to compute.
        pooling: ``last``: the vector after the last item, which tells the next one. ``mean``, of UniversalSASRec: the
            mean of the vectors after each item, which tells more of the user, such as the gender.

    Returns:
        float32 [n_users, dim], with the ids of the users as index.

    Raises:
        FileNotFoundError: if the checkpoint or the folder of the dataset is missing.
        ValueError: if the file is no checkpoint, the model has no vectors of users, or ``pooling`` is not valid.
    """
    from recbole_universal.plugin.trained_model import TrainedModel

    model = TrainedModel(checkpoint, data_path, device)
    return pd.DataFrame(model.user_vectors(pooling), index=model.users)


def write_user_vectors(vectors: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write vectors of users into a file: ``.npz`` with the arrays ``ids`` and ``vectors``, or ``.parquet``.

    The Parquet file has the ids in the first column and a list of numbers in the column ``vector``.

    Args:
        vectors: as :func:`user_vectors` returns them.
        path: the file; its ending says its form.

    Raises:
        ValueError: if the ending is unknown.
        ImportError: if Parquet is written without pyarrow.
        OSError: if the file cannot be written.
    """
    form = check_output(path)
    with output_file(Path(os.path.expanduser(path)), _WHERE) as opened:
        opened.write(form(vectors))


def check_output(path: str | os.PathLike[str]) -> Callable[[pd.DataFrame], bytes]:
    """What makes the file of vectors.

    Raises:
        ValueError: if the ending of the name is unknown.
    """
    file = Path(os.path.expanduser(path))
    form = _FORMS.get(file.suffix.lower())
    if form is None:
        raise ValueError(f"{_WHERE}: the name of [{file}] must end in one of {', '.join(_FORMS)}.")
    return form


def _npz(vectors: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array(vectors.index.tolist(), dtype=str), vectors=vectors.to_numpy(dtype=np.float32))
    return buffer.getvalue()


def _parquet(vectors: pd.DataFrame) -> bytes:
    pyarrow = import_pyarrow()

    rows = pyarrow.array(list(vectors.to_numpy(dtype=np.float32)), type=pyarrow.list_(pyarrow.float32()))
    name = str(vectors.index.name or "user_id")
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({name: [str(one) for one in vectors.index], "vector": rows}), buffer)
    return buffer.getvalue()


_FORMS: dict[str, Callable[[pd.DataFrame], bytes]] = {".npz": _npz, ".parquet": _parquet}
