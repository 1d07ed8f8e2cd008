"""The parameters of each model family: typed, with defaults and bounds.

Here belongs what a person may set of a model. How a family is fitted is the models' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

Positive = Annotated[float, Field(gt=0)]
OWN_WORDS = "own_words"
"""Type of the errors whose message says everything."""


class Section(BaseModel):
    # An infinite limit would be none, and comparisons with NaN are never true.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def refusal(title: str, errors: Mapping[tuple[str | int, ...], str]) -> ValidationError:
    """An error that names the settings it is about: by path, what is wrong there."""
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(
                # The text goes in as a value: it may hold braces of its own.
                type=PydanticCustomError(OWN_WORDS, "{text}", {"text": text}),
                loc=path,
                input=None,
            )
            for path, text in errors.items()
        ],
    )


class FamilyParameters(Section):
    """Base of all families; unknown names are refused with a list of those there are."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        takes = ", ".join(cls.model_fields) or "no parameters"
        strange = [name for name in given if name not in cls.model_fields]
        if strange:
            family = next(name for name, kind in FAMILIES.items() if kind is cls)
            raise refusal(cls.__name__, {(n,): f"{family} takes {takes}" for n in strange})
        return given


class FittedParameters(FamilyParameters):
    """Of families that learn from labels."""

    window_sessions: Annotated[int, Field(ge=252)] | None = None
    """Learn from the last so many sessions only; all of them where not given."""
    half_life_sessions: Positive | None = None
    """A session so much older weighs half as much; all weigh the same where not given."""


class RidgeParameters(FittedParameters):
    """Linear least squares on standardised features, coefficients shrunk."""

    alpha: Positive = 1000.0
    """Strength of the penalty on the squared coefficients."""


class BoostingParameters(FittedParameters):
    """Histogram gradient boosting of regression trees, by scikit-learn's names."""

    max_iter: Annotated[int, Field(ge=1, le=2000)] = 100
    """Number of trees."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of each tree that is added."""
    max_leaf_nodes: Annotated[int, Field(ge=2, le=64)] = 8
    """Leaves of a tree at most."""
    min_samples_leaf: Annotated[int, Field(ge=1)] = 500
    """Rows in a leaf at least."""
    l2_regularization: Annotated[float, Field(ge=0)] = 10.0
    """Penalty on the leaves' values."""
    max_features: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the features that each split may choose from, drawn anew each time."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of those draws."""


class MomentumParameters(FamilyParameters):
    """A rule of thumb: expected return = IC x volatility x score."""

    ic: Annotated[float, Field(gt=0, le=1)] = 0.03
    """The skill one believes the score to have."""


class EqualWeightParameters(FamilyParameters):
    """The yardstick: the same for every member. Nothing to set."""


FAMILIES: Mapping[str, type[FamilyParameters]] = {
    "ridge": RidgeParameters,
    "hist_gradient_boosting": BoostingParameters,
    "momentum": MomentumParameters,
    "equal_weight": EqualWeightParameters,
}
