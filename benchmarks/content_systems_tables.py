"""The tables of docs/systems.md out of the results of benchmarks/content_systems.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from content_systems_ranks import difference, gains
from report import cell, markdown

#: Numbers of weights of the encoders that turn a text into a vector.
ENCODER_WEIGHTS = {"tfidf": "0", "distil": "2.0 M", "minilm": "22.7 M"}
ITEMS = {"id": "id", "content": "content", "id_plus_content": "id + content", "words": "words"}
TUNED = {"all": "all weights", "adapters": "adapters", "lora": "low rank", "head": "last layer of the item encoder"}
_SETTING = ["target", "items", "content", "pretrained", "tuned", "new_items", "n_users"]
_NAMES = ("morec", "transrec", "transrec-words", "transrec-modality", "adapterrec", "ninerec", "ninerec-tuned", "tcf")


def tables(rows: list[dict]) -> dict[str, str]:
    """All tables by name, means over the seeds; "" for a table without results.

    The values of a target in one table are of the same seeds: those with all of its runs that any seed has.
    """
    if not rows:
        return dict.fromkeys(_NAMES, "")
    frame = pd.DataFrame(rows)
    is_new, small = frame["new_items"].astype(bool), frame["n_users"] > 0
    plain, targets = frame[~is_new & ~small], frame[small]
    new, content = targets["pretrained"] == "", targets["items"] == "content"
    whole, words = targets["tuned"].isin(["all", "zero_shot"]), targets["items"] == "words"
    large = targets["n_users"] == targets["n_users"].max()
    adapted = targets["pretrained"].isin(targets[targets["tuned"] == "lora"]["pretrained"])
    of_one = ~plain["pretrained"].str.contains("+", regex=False) & (plain["content"] == "distil")
    one_source = _means(plain[of_one])
    on_sample = _means(plain[plain["pretrained"] == ""])
    return {
        "morec": _morec(_means(frame[is_new])),
        "transrec": _of_users(targets[~words & whole], _transrec),
        "transrec-words": _of_users(targets[words | large & (targets["items"] == "id")], _transrec),
        "transrec-modality": _modality(on_sample),
        "adapterrec": _of_users(targets[(adapted | new) & content & large], _adapterrec),
        "ninerec": _ninerec(one_source, "zero_shot"),
        "ninerec-tuned": _ninerec(one_source, "all"),
        "tcf": _tcf(on_sample),
    }


def _common(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the seeds that have all settings of their target."""
    sample = ["target", "n_users"]
    n_runs = frame.groupby([*sample, "seed"])["ndcg"].transform("size")
    return frame[n_runs == n_runs.groupby([frame[key] for key in sample]).transform("max")]


def _means(frame: pd.DataFrame) -> pd.DataFrame:
    """Means of each setting over the seeds, and their number."""
    frame = _common(frame)
    seeds = frame.groupby(_SETTING)["seed"].nunique().rename("seeds")
    means = frame.groupby(_SETTING).mean(numeric_only=True).join(seeds).reset_index()
    return means.assign(users=means["users n"] * means["seeds"]) if "users n" in means else means


def _of_users(frame: pd.DataFrame, make: Callable[[pd.DataFrame], str]) -> str:
    """A table of :func:`_means` that has NDCG@10 of each test user of all seeds, too, in the column ``gains``."""
    if not len(frame):
        return ""
    frame = _common(frame).sort_values("seed")
    frame = frame.assign(gains=[gains(found, int(n)) for found, n in zip(frame["hits"], frame["users n"], strict=True)])
    each = frame.groupby(_SETTING)["gains"].agg(lambda parts: np.concatenate(list(parts)))
    return make(_means(frame).merge(each.reset_index(), on=_SETTING))


def _against(frame: pd.DataFrame, ours: dict[str, str], theirs: dict[str, str]) -> str:
    """Difference in NDCG@10 of two settings on the same users, with its standard error, as a cell."""
    pairs = []
    for target in sorted(frame["target"].unique()):
        found = [_rows(frame, target=target, **one)["gains"] for one in (ours, theirs)]
        if not all(len(one) for one in found):
            return "-"
        pairs.append([one.iloc[0] for one in found])
    mean, error = difference(*(np.concatenate(parts) for parts in zip(*pairs, strict=True)))
    return f"{mean:+.4f} ± {error:.4f}"


def _rows(frame: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    for key, value in wanted.items():
        frame = frame[frame[key] == value]
    return frame


def _one(frame: pd.DataFrame, column: str, form: str = ".4f", **wanted: str) -> str:
    """The value of the only row with these settings as a cell; "-" without one."""
    frame = _rows(frame, **wanted)
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


def _transrec(frame: pd.DataFrame) -> str:
    lines = []
    new, items = {"pretrained": "", "tuned": "all"}, _order(frame["items"], ("content", "words"))[0]

    def changes(own: pd.DataFrame, mix: str) -> list[str]:
        tuned = {"items": items, "pretrained": mix}
        by_ids, own_weights = {"items": "id"}, {"items": items, **new}
        pairs = (({**tuned, "tuned": "zero_shot"}, by_ids), ({**tuned, "tuned": "all"}, own_weights))
        return [_against(own, *pair) for pair in pairs]

    for n_users, mix in sorted(set(zip(frame["n_users"], frame["pretrained"], strict=True)), key=lambda one: one[::-1]):
        if not mix:
            continue
        of_mix = frame[(frame["n_users"] == n_users) & (frame["pretrained"].isin([mix, ""]))]
        tuned = {"pretrained": mix, "tuned": "all"}
        start = [f"{mix.count('+') + 1}", f"{n_users}"]
        for target in sorted(of_mix["target"].unique()):
            own = of_mix[(of_mix["target"] == target) & (of_mix["items"] == items)]
            line = [*start, target, _one(own, "users", ".0f", **new), _one(of_mix, "ndcg", target=target, items="id")]
            line += [_one(own, "ndcg", **stage) for stage in (new, {**tuned, "tuned": "zero_shot"}, tuned)]
            lines.append([*line, *changes(of_mix[of_mix["target"] == target], mix)])
        lines.append([*start, "all", *[""] * 5, *changes(of_mix, mix)])
    head = ["sources", "users", "target", "test users", "by ids", "new weights", "zero-shot", "tuned"]
    return markdown([*head, "zero-shot - ids", "tuned - new weights"], lines) if lines else ""


def _modality(frame: pd.DataFrame) -> str:
    names = {"distil": "text", "image": "image", "distil+image": "text and image", "distil | image": "text or image"}
    own = frame[(frame["target"] == "hm-copurchase") & (frame["items"] == "content") & (frame["pretrained"] == "")]
    if not (own["content"] == "image").any():
        return ""
    found = _order(own["content"], names)
    lines = [[names[one], *(_one(own, key, content=one) for key in ("ndcg", "recall"))] for one in found]
    return markdown(["items are", "NDCG@10", "Recall@10"], lines)


def _adapterrec(frame: pd.DataFrame) -> str:
    if not (frame["tuned"] == "lora").any():
        return ""
    sources = frame[frame["tuned"] == "lora"]["pretrained"].iloc[0]
    targets = sorted(frame[frame["tuned"] == "lora"]["target"].unique())
    frame = frame[frame["target"].isin(targets)]
    whole = {"pretrained": sources, "tuned": "all"}
    ways = {"new weights, all": {"pretrained": "", "tuned": "all"}}
    ways |= {"none": {"pretrained": sources, "tuned": "zero_shot"}}
    ways |= {name: {"pretrained": sources, "tuned": tuned} for tuned, name in TUNED.items()}
    lines = []
    for target in [*targets, "all"]:
        own = frame if target == "all" else frame[frame["target"] == target]
        for name, way in ways.items():
            row = _rows(own, **way)
            share = row["ndcg"].mean() / _rows(own, **whole)["ndcg"].mean()
            texts = [cell(row["ndcg"].mean()), f"{share:.0%}", "" if way == whole else _against(own, way, whole)]
            trained = "0" if name == "none" else cell(row["trained"].mean(), ".0f")
            work = ["-", "-"] if name == "none" else [cell(row[key].mean(), ".0f") for key in ("epochs", "seconds")]
            lines.append([target, name, *texts, trained, *work])
    head = ["target", "trained", "NDCG@10", "of all weights", "difference", "trained weights", "epochs", "CPU seconds"]
    return markdown(head, lines)


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
