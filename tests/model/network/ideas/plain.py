"""The plain network and the options that came with it."""

from tests.model.network.case import Case

CASES = {
    "plain": Case(),
    "grouped": Case(options={"attention": "grouped", "n_kv_head": 2}),
    "one key head": Case(options={"attention": "grouped", "n_kv_head": 1}),
    "latent": Case(options={"attention": "latent", "projection_dim": 12}),
    "window": Case(options={"window": 5}),
    "alibi": Case(options={"positions": "alibi"}),
    "alibi in a window, grouped": Case(
        options={"positions": "alibi", "window": 7, "attention": "grouped", "n_kv_head": 2}
    ),
    "relu2": Case(options={"mlp": "relu2"}),
    "swiglu": Case(options={"mlp": "swiglu", "mlp_ratio": 3.0}),
    "qk_norm": Case(options={"qk_norm": True}),
    "softcap": Case(options={"logit_softcap": 3.0}),
    "untied": Case(options={"tied": False}),
    "two heads further on": Case(options={"mtp_heads": 2}),
    "all at once": Case(
        options={
            "attention": "latent",
            "projection_dim": 12,
            "window": 6,
            "mlp": "swiglu",
            "qk_norm": True,
            "logit_softcap": 5.0,
            "tied": False,
            "mtp_heads": 1,
        }
    ),
}
