"""Guards the localiser against networks that other packages run: their faults become one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np

from vpr_ros.base.errors import ConfigError, ModelError
from vpr_ros.base.registry import guarding
from vpr_ros.inference.describer import Describer, Description, check_description
from vpr_ros.inference.vocabulary import Vocabulary

_PARTS = ("manifest", "backend", "batch_sizes", "describe")  # of a Describer


class GuardedDescriber:
    """A describer whose output is checked. All else is the describer's own."""

    def __init__(self, describer: Describer, kind: str, name: str) -> None:
        """kind, name: what made it, for errors: backend and its name. Raises ConfigError if it is no describer."""
        lacking = [part for part in _PARTS if not hasattr(describer, part)]
        if lacking:
            raise ConfigError(f"{kind} '{name}' opens {type(describer).__name__}, which lacks {', '.join(lacking)}")
        self._describer, self._kind, self._name = describer, kind, name

    def __getattr__(self, name: str) -> Any:
        if name == "_describer" or name.startswith("__"):  # asked for by pickle, before there is a describer
            raise AttributeError(name)
        return getattr(self._describer, name)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary in use; see ``VocabularyDescriber``."""
        found: Vocabulary = self._describer.vocabulary  # type: ignore[attr-defined]
        return found

    @vocabulary.setter
    def vocabulary(self, vocabulary: Vocabulary) -> None:
        self._describer.vocabulary = vocabulary  # type: ignore[attr-defined]

    def describe(self, images: np.ndarray) -> Description:
        """See ``Describer``. Raises ConfigError if it fails or gives other output, ImageError for NaN."""
        with guarding(self._kind, self._name):
            description = self._describer.describe(images)
            try:
                check_description(description, self._describer.manifest, len(images))
            except ModelError as error:  # not the model's fault
                raise ConfigError(f"{self._kind} '{self._name}': {error}") from error
        return description
