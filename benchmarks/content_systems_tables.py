"""The tables of docs/systems.md out of the results of benchmarks/content_systems.py."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from report import cell, markdown

#: Numbers of weights of the encoders that turn a text into a vector.
ENCODER_WEIGHTS = {"tfidf": "0", "distil": "2.0 M", "minilm": "22.7 M"}
ITEMS = {"id": "id", "content": "content", "id_plus_content": "id + content", "words": "words"}
TUNED = {"all": "all weights", "adapters": "adapters", "lora": "low rank", "head": "last layer of the item encoder"}
_SETTING = ["target", "items", "content", "pretrained", "tuned", "new_items"]


def tables(rows: list[dict]) -> dict[str, str]:
    """All tables by name, means over the seeds; "" for a table without results.

    The values of a target in one table are of the same seeds: those with all of its runs that any seed has.
    """
    if not rows:
        return dict.fromkeys(
            ("morec", "transrec", "transrec-modality", "adapterrec", "ninerec", "ninerec-tuned", "tcf"), ""
        )
    frame = pd.DataFrame(rows)
    is_new = frame["new_items"].astype(bool)
    plain = frame[~is_new]
    several, own = plain["pretrained"].str.contains("+", regex=False), plain["pretrained"] == ""
    whole, distil = plain["tuned"].isin(["all", "zero_shot"]), plain["content"] == "distil"
    one_source = _means(plain[~several & distil])
    return {
        "morec": _morec(_means(frame[is_new])),
        "transrec": _transrec(_means(plain[(several | own) & whole & distil])),
        "transrec-modality": _modality(_means(plain[own & (plain["items"] == "content")])),
        "adapterrec": _adapterrec(_means(plain[several & (plain["items"] == "content")])),
        "ninerec": _ninerec(one_source, "zero_shot"),
        "ninerec-tuned": _ninerec(one_source, "all"),
        "tcf": _tcf(_means(plain[own & plain["items"].isin(["id", "content"])])),
    }


def _means(frame: pd.DataFrame) -> pd.DataFrame:
    """Means of each setting over the seeds that have all settings of its target, and their number."""
    n_runs = frame.groupby(["target", "seed"])["ndcg"].transform("size")
    frame = frame[n_runs == n_runs.groupby(frame["target"]).transform("max")]
    seeds = frame.groupby(_SETTING)["seed"].nunique().rename("seeds")
    return frame.groupby(_SETTING).mean(numeric_only=True).join(seeds).reset_index()


def _one(frame: pd.DataFrame, column: str, form: str = ".4f", **wanted: str) -> str:
    """The value of the only row with these settings as a cell; "-" without one."""
    for key, value in wanted.items():
        frame = frame[frame[key] == value]
    return cell(frame[column].iloc[0], form) if len(frame) else "-"


def _order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    present = set(names)
    return [name for name in known if name in present]


def _morec(frame: pd.DataFrame) -> str:
    columns = ["warm recall", "cold recall", "among new recall", "both recall"]
    lines = []
    for target in dict.fromkeys(frame["target"]):
        for items in _order(frame["items"], ITEMS):
            own = frame[(frame["target"] == target) & (frame["items"] == items)]
            if len(own):
                values = [cell(own[column].iloc[0], ".3f") for column in columns]
                lines.append([target, ITEMS[items], str(own["seeds"].iloc[0]), *values])
    head = ["dataset", "items", "seeds", "warm", "new", "new, among new", "all targets"]
    return markdown(head, lines) if lines else ""


def _several(frame: pd.DataFrame) -> str:
    """The sources of the model that was pre-trained on several."""
    names = [name for name in frame["pretrained"].unique() if "+" in name]
    return names[0] if names else ""


def _transrec(frame: pd.DataFrame) -> str:
    sources = _several(frame)
    if not sources:
        return ""
    lines = []
    targets = frame[frame["pretrained"] == sources]["target"].unique()
    for target in sorted(targets):
        own = frame[frame["target"] == target]
        line = [target, _one(own, "seeds", ".0f", items="id"), _one(own, "ndcg", items="id")]
        for items in ("content", "words"):
            line.append(_one(own, "ndcg", items=items, pretrained="", content="distil"))
            line += [_one(own, "ndcg", items=items, pretrained=sources, tuned=tuned) for tuned in ("zero_shot", "all")]
        lines.append(line)
    kinds = [f"{kind}, {stage}" for kind in ("vectors", "words") for stage in ("new", "zero-shot", "tuned")]
    return markdown(["target", "seeds", "id", *kinds], lines) if lines else ""


def _modality(frame: pd.DataFrame) -> str:
    names = {"distil": "text", "image": "image", "distil+image": "text and image", "distil | image": "text or image"}
    own = frame[(frame["target"] == "hm-copurchase") & (frame["items"] == "content") & (frame["pretrained"] == "")]
    if not (own["content"] == "image").any():
        return ""
    found = _order(own["content"], names)
    lines = [[names[one], *(_one(own, key, content=one) for key in ("ndcg", "recall"))] for one in found]
    return markdown(["items are", "NDCG@10", "Recall@10"], lines)


def _adapterrec(frame: pd.DataFrame) -> str:
    sources = _several(frame)
    own = frame[(frame["pretrained"] == sources) & (frame["items"] == "content")]
    lines = []
    for target in sorted(own[own["tuned"] == "lora"]["target"].unique()):
        of_set = own[own["target"] == target]
        for tuned in ("zero_shot", *TUNED):
            row = of_set[of_set["tuned"] == tuned]
            if not len(row):
                continue
            trained = "0" if tuned == "zero_shot" else f"{row['trained'].iloc[0]:.0f}"
            texts = [cell(row[key].iloc[0], form) for key, form in (("ndcg", ".4f"), ("recall", ".4f"))]
            work = ["-", "-"] if tuned == "zero_shot" else [_one(row, "epochs", ".1f"), _one(row, "seconds", ".1f")]
            lines.append([target, TUNED.get(tuned, "none"), f"{row['seeds'].iloc[0]}", *texts, trained, *work])
    head = ["target", "trained", "seeds", "NDCG@10", "Recall@10", "trained weights", "epochs", "CPU seconds"]
    return markdown(head, lines) if lines else ""


def _ninerec(frame: pd.DataFrame, tuned: str) -> str:
    transferred = frame[(frame["pretrained"] != "") & ~frame["pretrained"].str.contains("+", regex=False)]
    names = sorted(transferred["pretrained"].unique())
    if not (transferred["tuned"] == tuned).any():
        return ""
    lines = []
    for source in names:
        line = [f"from {source}"]
        for target in names:
            given = {"pretrained": "", "tuned": "all"} if source == target else {"pretrained": source, "tuned": tuned}
            shown = _one(frame, "ndcg", target=target, items="content", content="distil", **given)
            line.append(f"({shown})" if source == target else shown)
        lines.append(line)
    lines.append(["by ids, no transfer", *(_one(frame, "ndcg", target=one, items="id") for one in names)])
    return markdown(["NDCG@10", *names], lines)


def _tcf(frame: pd.DataFrame) -> str:
    own = frame[(frame["items"] == "content") & (frame["pretrained"] == "")]
    names = [one for one in sorted(own["target"].unique()) if (own[own["target"] == one]["content"] == "minilm").any()]
    lines = []
    for target in names:
        for encoder, size in ENCODER_WEIGHTS.items():
            row = own[(own["target"] == target) & (own["content"] == encoder)]
            if len(row):
                values = [cell(row[key].iloc[0]) for key in ("ndcg", "recall")]
                lines.append([target, encoder, size, f"{row['seeds'].iloc[0]}", *values])
        lines.append(
            [target, "by ids", "-", _one(frame, "seeds", ".0f", target=target, items="id")]
            + [_one(frame, key, target=target, items="id") for key in ("ndcg", "recall")]
        )
    return markdown(["dataset", "encoder", "its weights", "seeds", "NDCG@10", "Recall@10"], lines) if lines else ""
