"""Settings that do nothing beside others, which a new study file is refused for; it imports no torch.

A record refuses what can't be trained. What can, but as if a setting weren't there, is refused here: a search over
such a setting spends runs on copies of one network. Files of earlier versions may hold it: they train and load as ever.

Values of an option that is off (`bond` without rings) are no matter of this, nor sizes beyond what there is (a window
longer than the context): these are searched together, and a space would need a condition for each value.
"""

from model.config import ModelConfig, TrainConfig
from model.errors import SettingsError
from model.options.together import require

QUERIES_AND_KEYS = ("attention.qkv", "attention.q", "attention.kv_up")
"""Linear layers whose rows QK-Clip scales."""


def require_effects(model: ModelConfig, train: TrainConfig) -> None:
    """Raise `SettingsError` for a setting that does nothing beside the others."""
    _require_used_mixers(model)
    if not _attends(model):
        where = f'mixer = "{model.mixer}" in every block, attention_every and mtp_heads being 0'
        rows = (
            ("attention", ("full",)),
            ("positions", ("rope",)),
            ("window", (0,)),
            ("qk_norm", (False,)),
            ("segment", (0,)),
            *([("linear_in", ("all", "mlp"))] if model.linear != "dense" else []),
        )
        require(model, where, ((key, allowed, "no block has attention") for key, allowed in rows))
        require(train, where, [("qk_clip", (0,), "no block has attention, whose scores it limits")])
    if model.qk_norm:
        reason = "scores have a bound already, and normalised queries and keys don't shrink with their weights"
        require(train, "qk_norm = true", [("qk_clip", (0,), reason)])
    require_clippable(model, train.qk_clip)
    if model.mtp_heads and not train.mtp_weight:
        require(model, "mtp_weight = 0", [("mtp_heads", (0,), "heads whose loss weighs nothing learn nothing")])
    if model.linear == "ring" and model.linear_in == "all" and model.mixer == "attention" and not model.depth_capacity:
        reason = "no block has a matrix for Muon, which leaves tensors to AdamW"
        require(train, 'linear = "ring" and linear_in = "all"', [("optimizer", ("adamw",), reason)])


def require_clippable(model: ModelConfig, limit: float) -> None:
    """Raise `SettingsError` where scores shall be limited, and queries and keys have no rows of one head's alone."""
    kinds = {model.linear_kind(place) for place in QUERIES_AND_KEYS} - {"dense"}
    if limit and kinds:
        raise SettingsError(
            f'`qk_clip` is {limit}, but must be 0 where linear = "{kinds.pop()}" in attention: no part of '
            'the weights is one head\'s alone; set linear_in = "mlp", or qk_norm = true instead'
        )


def _require_used_mixers(model: ModelConfig) -> None:
    if model.mixer != "attention" and model.attention_every == 1:
        raise SettingsError(
            f'`attention_every` is 1, but must be 0 or at least 2 where mixer = "{model.mixer}": every block would '
            'have attention, which mixer = "attention" says'
        )
    if model.global_every == 1 and not model.mtp_heads:
        raise SettingsError(
            "`global_every` is 1, but must be 0 or at least 2: every block would look at the whole context, which "
            "window = 0 says"
        )


def _attends(model: ModelConfig) -> bool:
    """Return whether attention is anywhere: heads that look further on always have it."""
    return model.mixer == "attention" or model.attention_every > 0 or model.mtp_heads > 0
