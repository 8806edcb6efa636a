"""A stock run of RecBole with the frozen model on yelp2018's published split, timed from outside of its process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_RUN = """
import json, sys
import recbole_universal
from recbole.quick_start import run_recbole
print("RESULT", json.dumps(run_recbole("UniversalMLP", "yelp2018", config_dict=json.loads(sys.argv[1]), saved=False)))
"""


def stock(data_path: str) -> dict:
    """Seconds from the start of the process to the results of validation and test.

    RecBole wants a validation part, and the published split has none. So the test part is both.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data" / "yelp2018"
        data.mkdir(parents=True)
        for part, source in (("train", "train"), ("valid", "test"), ("test", "test")):
            given = Path(data_path) / "yelp2018" / f"yelp2018.{source}.inter"
            shutil.copyfile(given, data / f"yelp2018.{part}.inter")
        keys = {
            "data_path": str(data.parent),
            "benchmark_filename": ["train", "valid", "test"],
            "train_stage": "zero_shot",
            "load_col": {"inter": ["user_id", "item_id"]},
            "metrics": ["NDCG", "Recall"],
            "topk": [20],
            "valid_metric": "NDCG@20",
            "show_progress": False,
            "universal_cache_dir": None,
            "gpu_id": "",
        }
        start = time.perf_counter()
        command = [sys.executable, "-c", _RUN, json.dumps(keys)]
        printed = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds = time.perf_counter() - start
    result = json.loads(printed.rsplit("RESULT ", 1)[1])["test_result"]
    return {"seconds": seconds, "ndcg@20": result["ndcg@20"], "recall@20": result["recall@20"]}
