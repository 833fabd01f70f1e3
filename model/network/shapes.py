"""Shapes in signatures, which tests check; without jaxtyping, on a machine that only trains, they are plain notes."""

try:
    from jaxtyping import Bool, Float, Int
except ModuleNotFoundError:

    class _Note:
        def __class_getitem__(cls, item: object) -> type:
            return object

    Bool = Float = Int = _Note  # type: ignore[assignment]

__all__ = ["Bool", "Float", "Int"]
