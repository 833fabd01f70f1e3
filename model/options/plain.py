"""Settings of the plain transformer, which every option adds to."""

from dataclasses import dataclass

from model.errors import SettingsError
from model.options.layer import Layer
from model.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class PlainConfig(Settings):
    """A decoder-only transformer; `d_model` is n_head × head_dim."""

    n_layer: int = setting(12, "transformer blocks", at_least=1, at_most=256)
    n_head: int = setting(4, "attention heads", at_least=1, at_most=128)
    head_dim: int = setting(64, "width of one head; even, for rotary positions", at_least=2, at_most=512)
    mlp_ratio: float = setting(4.0, "hidden width of the MLP ÷ d_model; swiglu takes 2/3 of it", above=0, at_most=16)
    context: int = setting(512, "tokens that a prediction may look back on", at_least=8, at_most=65_536)
    attention: str = setting(
        "full",
        "every head its own keys and values, heads sharing them in groups, or both made from one projection",
        choices=("full", "grouped", "latent"),
    )
    n_kv_head: int = setting(
        1, "key and value heads of grouped attention: n_head's largest divisor up to this", at_least=1, at_most=128
    )
    projection_dim: int = setting(64, "width of latent attention's shared projection", at_least=1, at_most=8192)
    window: int = setting(0, "tokens that attention looks back on, its own included; 0: the whole context", at_least=0)
    positions: str = setting("rope", "rotary embeddings, or a bias linear in the distance", choices=("rope", "alibi"))
    rope_base: float = setting(10_000.0, "base of the rotary positions' wavelengths", above=1)
    mlp: str = setting("gelu", "the MLP's nonlinearity", choices=("gelu", "relu2", "swiglu"))
    qk_norm: bool = setting(False, "normalise queries and keys of each head")
    logit_softcap: float = setting(0.0, "c of c · tanh(logits / c); 0: no cap", at_least=0)
    tied: bool = setting(True, "one matrix for embedding tokens and for predicting them")
    mtp_heads: int = setting(
        0, "extra heads, in training only, each predicting one token further on", at_least=0, at_most=7
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim % 2:
            raise SettingsError(f"`head_dim` is {self.head_dim}, but must be even (rotary positions turn pairs)")
        if self.mtp_heads >= self.context:
            raise SettingsError(f"`mtp_heads` is {self.mtp_heads}, but must be < context ({self.context})")

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.n_head * self.head_dim

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        if self.attention != "grouped":
            return self.n_head
        return max(n for n in range(1, self.n_head + 1) if self.n_head % n == 0 and n <= self.n_kv_head)

    @property
    def kv_width(self) -> int:
        """Joint width of keys and values."""
        return 2 * self.kv_heads * self.head_dim

    @property
    def hidden_width(self) -> int:
        """Hidden width of the MLP, a multiple of 16; swiglu's third matrix costs it a third of the width."""
        share = 2 / 3 if self.mlp == "swiglu" else 1
        return max(16, round(share * self.mlp_ratio * self.d_model / 16) * 16)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The blocks of the trunk, the first of them first."""
        return tuple(self.layer(index) for index in range(self.n_layer))

    def layer(self, index: int) -> Layer:
        """Return what a block of the trunk is made of; an option that changes some blocks changes it here."""
        return self.further_layer

    @property
    def further_layer(self) -> Layer:
        """The block of a head that looks further on: on its own, whatever pattern the trunk's blocks follow."""
        return Layer(mixer=self.attention, mlp=self.mlp, window=self.window)

    @property
    def penalised(self) -> bool:
        """Whether blocks add to the loss that is learned from."""
        return False

    def linear_kind(self, place: str) -> str:
        """Return the kind of the linear layer at this place in blocks, such as "attention.out" or "mlp.up"."""
        return "dense"
