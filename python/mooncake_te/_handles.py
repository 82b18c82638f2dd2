"""What the objects that stand for things of an engine are not: sequences of elements, and values that can be copied."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, SupportsIndex

from ._errors import InvalidType


class NotIterable:
    """Can be indexed, but has no elements to look at: iterating would run through metadata, element by element."""

    __slots__ = ()

    __iter__: ClassVar[None] = None
    __contains__: ClassVar[None] = None

    def __array__(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        raise InvalidType(
            f"array: a {type(self).__name__} names memory and is no array", hint="use the tensor or array itself (.obj)"
        )


class NotCopied:
    """Belongs to an engine of this process; a copy, here or in another process, would be nobody's."""

    __slots__ = ()

    _instead: ClassVar[str] = ""
    """What to do where somebody wants a copy."""

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        # pickle, copy.copy and copy.deepcopy all come here.
        raise InvalidType(f"{type(self).__name__} cannot be pickled or copied", hint=self._instead)
