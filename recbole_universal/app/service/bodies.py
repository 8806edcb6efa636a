"""Bodies of requests, with the limits on their sizes."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

from recbole_universal.app.item_rules import MOST_CHARACTERS
from recbole_universal.io.ids import is_utf_8
from recbole_universal.io.weights import LARGEST

#: Bytes of a body, and lengths of the lists in it.
MOST_BYTES = 2**20
MOST_LISTS, MOST_K, MOST_CANDIDATES, MOST_HISTORY, MOST_ROWS = 1000, 1000, 100_000, 10_000, 10_000
_MOST_CHARACTERS = 1000


def _id(value: Any) -> int | str:
    if type(value) is int and -(2**63) <= value < 2**63:  # what a database and Parquet hold
        return value
    if type(value) is str and len(value) <= _MOST_CHARACTERS and value.strip() and is_utf_8(value):
        return value
    raise ValueError(
        f"an id is a text of 1 to {_MOST_CHARACTERS} characters, not only blanks, or a whole number of 64 bits"
    )


def _text(value: str) -> str:
    if not is_utf_8(value):
        raise ValueError("a text must be valid Unicode")
    return value


def _time(value: Any) -> int | float | str:
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    if type(value) is str and len(value) <= _MOST_CHARACTERS and is_utf_8(value):
        return value
    raise ValueError("a time is a number, which is Unix time, or a text in ISO 8601")


_ID_SCHEMA = {"anyOf": [{"type": "string", "maxLength": _MOST_CHARACTERS}, {"type": "integer"}]}
AnyId = Annotated[int | str, PlainValidator(_id), WithJsonSchema(_ID_SCHEMA)]
Time = Annotated[
    int | float | str,
    PlainValidator(_time),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "maxLength": _MOST_CHARACTERS}]}),
]
Name = Annotated[StrictStr, Field(max_length=_MOST_CHARACTERS), AfterValidator(_text)]
Rule = Annotated[StrictStr, Field(max_length=MOST_CHARACTERS), AfterValidator(_text)]
History = Annotated[list[AnyId], Field(max_length=MOST_HISTORY)]
Items = Annotated[list[AnyId], Field(max_length=MOST_CANDIDATES)]
ListLength = Annotated[StrictInt, Field(ge=1, le=MOST_K)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: Name | None = Field(None, description="name of a model; the first by default")


class RecommendBody(_Body):
    """Who is asked about, and the filters."""

    users: Annotated[list[AnyId], Field(max_length=MOST_LISTS)] | None = Field(None, description="ids of users")
    histories: Annotated[list[History], Field(max_length=MOST_LISTS)] | None = Field(
        None, description="item ids of people without a row, oldest first"
    )
    k: ListLength = 10
    candidates: Items | None = Field(None, description="only these items may be recommended")
    exclude: Items | None = Field(None, description="these items are not recommended")
    where: Rule | None = Field(None, description="condition on the columns of the item table")
    filter_seen: StrictBool | None = Field(None, description="whether to leave out items that the person has had")
    fast: StrictBool | None = Field(None, description="whether to rank by the item-item matrix")
    new_items: StrictBool | ListLength = Field(
        False, description="whether to show items that nobody has had, or in how many places of each list"
    )

    @model_validator(mode="after")
    def _places_in_a_list(self) -> RecommendBody:
        if self.new_items > self.k:
            raise ValueError(f"new_items must be true, or a number of places from 1 to k, {self.k}")
        return self

    @model_validator(mode="after")
    def _one_of_both(self) -> RecommendBody:
        if (self.users is None) == (self.histories is None):
            raise ValueError("give users or histories, and not both")
        return self


class SimilarBody(_Body):
    """Items whose related items are asked for."""

    items: Annotated[list[AnyId], Field(max_length=MOST_LISTS)]
    k: ListLength = 10


class ExplainBody(_Body):
    """The item whose place in the list of a user or a history is explained."""

    user: AnyId | None = None
    history: History | None = None
    item: AnyId

    @model_validator(mode="after")
    def _one_of_both(self) -> ExplainBody:
        if (self.user is None) == (self.history is None):
            raise ValueError("give user or history, and not both")
        return self


class Interaction(BaseModel):
    """One new interaction."""

    model_config = ConfigDict(extra="forbid")
    user: AnyId
    item: AnyId
    time: Time | None = Field(None, description="Unix time in any unit, or ISO 8601; the time of arrival by default")
    event: AnyId | None = Field(None, description="kind of event, if the fit has event_weights")
    weight: StrictInt | StrictFloat | None = Field(
        None, ge=0, le=LARGEST, allow_inf_nan=False, description="weight, if the fit has a weight column"
    )


class InteractionsBody(BaseModel):
    """New interactions."""

    model_config = ConfigDict(extra="forbid")
    interactions: Annotated[list[Interaction], Field(min_length=1, max_length=MOST_ROWS)]
