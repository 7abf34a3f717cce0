"""One file of training rows, as a recipe names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from core.columns import PARTS
from core.settings import kind_of

ASSET = re.compile(r"azureml:(?P<name>[\w.-]+):(?P<version>[\w.-]+)")
"""A data asset of the Azure project, as recipes and Azure's own files name it."""


def is_asset(text: str) -> bool:
    """Whether a recipe's word for a file names a data asset in Azure instead."""
    return text.startswith("azureml:")


class Plain(BaseModel):
    """What a recipe and its parts share: no key but the known ones, and no value that only looks like another."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_looks(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic would take: true for 1; and empty or unprintable text."""
        kind, _ = kind_of(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and kind in ("int", "float"):
            raise PydanticCustomError("wrong_kind", "a number")
        if isinstance(value, str) and not value.strip():
            raise PydanticCustomError("empty", "text")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("it holds a zero byte")
        return value


class Source(Plain):
    """One file of training rows, on this machine, in a hub data set, or a data asset in Azure."""

    path: str | None = None
    """File with the rows: JSON Lines, JSON, CSV, Parquet or text; gzip or Zstandard of these."""
    hub: str | None = None
    """Hub data set, e.g. `name/dataset`; `file` says which of its files."""
    file: str | None = None
    """File inside the hub data set."""
    revision: str | None = None
    """Commit of the hub data set; frozen in the run when unset."""
    asset: str | None = None
    """Data asset of the Azure project, `azureml:NAME:VERSION`: a job in Azure reads it where it lies."""
    weight: float = Field(default=1.0, gt=0, le=100)
    """How often each row is used per epoch: 2 is twice, 0.5 a seeded half of the rows."""
    max_rows: int | None = Field(default=None, ge=1)
    """Use at most this many rows, chosen by the seed."""
    columns: dict[str, str] | None = None
    """Which key or column of this file holds which part of a row, where they are not the usual names."""

    @field_validator("columns")
    @classmethod
    def _known_parts(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        unknown = next((name for name in value or {} if name not in PARTS), None)
        if unknown is not None:
            raise ValueError(f"`columns` names the unknown part {unknown!r}; parts are {', '.join(PARTS)}")
        return value

    @field_validator("asset")
    @classmethod
    def _named_asset(cls, value: str | None) -> str | None:
        if value is not None and not ASSET.fullmatch(value):
            raise ValueError(f"{value!r} names no data asset: write `azureml:NAME:VERSION`")
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if self.asset is not None:
            if self.path or self.hub or self.file:
                raise ValueError("a data asset takes no `path`, `hub` or `file`")
            return self
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either `path` (a file) or `hub` (a data set)")
        if self.hub is not None and self.file is None:
            raise ValueError("a hub data set needs `file`, the name of one of its files")
        return self

    @property
    def title(self) -> str:
        """How the source is named on screens."""
        if self.asset:
            return self.asset
        return Path(self.path).name if self.path else f"{self.hub}/{self.file}"

    @classmethod
    def of(cls, text: str, columns: dict[str, str] | None = None) -> Source:
        """The source that one word names: a file, or a data asset.

        Args:
            text: `azureml:NAME:VERSION`, or a path.
            columns: of a file, see `Source.columns`.
        """
        return cls(asset=text) if is_asset(text) else cls(path=text, columns=columns)
