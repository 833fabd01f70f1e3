"""A language model of lilm-search for transformers: the network's own code, and transformers' interface to it.

Loaded by `AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)`; it needs torch and transformers alone.
`lilm-search export` writes this file from the code that the network was trained by, and leaves out what it doesn't use.

Shapes: B sequences, T tokens, S of those in the cache and these, D = d_model, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from model.config import ModelConfig
from model.network.part import Compact
from model.network.positions import Positions
from model.network.transformer import Transformer, softcap


class LilmConfig(PreTrainedConfig):
    """Sizes by transformers' names, and the network's own settings in `settings`."""

    model_type = "lilm"


class LilmForCausalLM(PreTrainedModel, GenerationMixin):
    """Logits of the next token at every position, in float32 or within `torch.autocast`.

    Tokens that `attention_mask` hides are left out before the network sees a sequence, so that padding changes nothing
    on either side. `generate` beyond the context reads the last of the text anew for each token, as `sample` of
    lilm-search does.
    """

    config_class = LilmConfig
    _no_split_modules = ("Transformer",)

    def __init__(self, config):
        super().__init__(config)
        # Heads that predict further on are for training alone, and not in the folder's weights.
        self.network = Transformer(ModelConfig(**{**config.settings, "mtp_heads": 0}), config.vocab_size)
        for module in self.network.modules():
            if isinstance(module, Compact):
                module.expect_packed()
        # Norms and states are in float32, whatever products are in; packed levels are bytes.
        names = [name for name, tensor in self.state_dict().items() if tensor.is_floating_point()]
        self._keep_in_fp32_modules_strict = names
        self.post_init()

    def _init_weights(self, module):
        """Compute what no file holds: transformers leaves such tensors as they happen to be in memory."""
        if isinstance(module, Positions):
            for name, tensor in Positions(self.network.config).named_buffers():
                setattr(module, name, tensor.to(getattr(module, name).device))
        for name in ("load", "tally"):  # of experts: counted in training
            if name in module._buffers:
                module._buffers[name].zero_()

    def get_input_embeddings(self):
        """Return the embedding."""
        return self.network.embedding

    def set_input_embeddings(self, value):
        """Replace the embedding."""
        self.network.embedding = value

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        cache=None,
        past_key_values=None,
        labels=None,
        use_cache=None,
        logits_to_keep=0,
        return_dict=None,
        **kwargs,
    ):
        """Return transformers' output for a causal language model.

        Raises `ValueError` for what there is no answer to, such as more logits than one beyond the context.
        """
        if asked := [name for name in REFUSED if kwargs.get(name) is not None and kwargs[name] is not False]:
            raise ValueError(f"{', '.join(asked)}: a network of lilm-search takes token ids, and gives logits alone")
        cache = past_key_values if cache is None else cache  # renamed in transformers 5
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        if cache is not None and type(cache) is not DynamicCache:
            raise ValueError(f"the cache is a {type(cache).__name__}, but must be a DynamicCache, as by default")
        last = logits_to_keep if isinstance(logits_to_keep, int) else 0  # or the places of those that are asked for
        states = self._states(input_ids, _real(input_ids, attention_mask), cache, last)
        states = states[:, logits_to_keep] if torch.is_tensor(logits_to_keep) else states[:, -last:]
        logits = softcap(F.linear(states, self.network.output_weight), self.network.config.logit_softcap)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        output = CausalLMOutputWithPast(loss, logits, cache)
        return output if return_dict in (None, True) else output.to_tuple()

    def _states(self, tokens, real, cache, wanted):
        """Return the normalised last states (B T D) of these tokens, zeros for those that are hidden.

        The last `wanted` of them are needed; 0: all.
        """
        length, before = tokens.shape[1], []
        if cache is not None:
            tokens, real, before = _remembered(cache, tokens, real)
        causal = cache is None and not (real[:, 1:] & ~real[:, :-1]).any()  # hidden ones are last: no other sees them
        rows = [slice(None)] if causal or real.all() else range(len(tokens))
        after, states = [], torch.zeros(len(tokens), length, self.network.config.d_model, device=tokens.device)
        for number, row in enumerate(rows):
            if isinstance(row, slice):
                text, new = tokens, length
            else:
                text, new = tokens[row][real[row]][None], int(real[row, -length:].sum())
            state = before[number] if len(before) == len(rows) else None
            read, state = self._read(text, new, state, cache is not None, wanted)
            states = states.to(read.dtype)
            if isinstance(row, slice):
                states = read
            elif new:
                states[row, real[row, -length:]] = read[0]
            after.append(state)
        if cache is not None:
            cache.lilm_states = after
        return states

    def _read(self, text, new, state, keeps, wanted):
        """Return the states of the last `new` tokens of sequences, and what to go on from."""
        context = self.network.config.context
        if not new:
            return torch.zeros(len(text), 0, self.network.config.d_model, device=text.device), state
        if text.shape[1] > context:
            if min(new, wanted or new) > 1:
                raise ValueError(
                    f"a sequence has {text.shape[1]} tokens, but this network sees {context} at once: give it windows "
                    f"of {context} tokens at most, or ask for the last position's logits alone (logits_to_keep=1)"
                )
            last = self.network.states(text[:, -context:])[0][:, -1:]
            return F.pad(last, (0, 0, new - 1, 0)), None
        if not keeps:
            return self.network.states(text)[0][:, text.shape[1] - new :], None
        if state is None or not torch.equal(state.tokens, text[:, : text.shape[1] - new]):
            kind = text.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
            state = self.network.initial_state(len(text), context, dtype)
        read = self.network.read(text[:, state.length :], state)
        return read[:, read.shape[1] - new :], state


REFUSED = ("inputs_embeds", "output_hidden_states", "output_attentions")
"""What other models of transformers take, or give."""


def _real(tokens, mask):
    """Return which of these tokens (B T) are text, by the mask of them or of all so far."""
    if mask is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    if mask.ndim != 2:
        raise ValueError(f"attention_mask has {mask.ndim} dimensions, but must have two: sequences and tokens")
    return mask[:, -tokens.shape[1] :].bool().to(tokens.device)


def _remembered(cache: DynamicCache, tokens: Tensor, real: Tensor):
    """Add tokens to a cache; return all in it, which of them are text, and what the network kept of those before.

    The cache's first layer holds tokens in place of keys, and whether they are text in place of values, so that what
    transformers does to a cache, reordering beams or cropping, is done to them. The network's own state is beside them,
    and good for as long as its tokens are those.
    """
    held = cache.update(tokens[:, None, :, None], real[:, None, :, None], 0)
    return *(t[:, 0, :, 0] for t in held), getattr(cache, "lilm_states", [])
