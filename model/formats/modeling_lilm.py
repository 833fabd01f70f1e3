"""A language model of lilm-search for transformers: Llama with other attention, another MLP, a cap on the logits.

Loaded by `AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)`; it needs torch and transformers alone.
Only configurations that no architecture of transformers computes exactly come with this file.

Shapes: B sequences, T tokens, S of those in the cache and these, D = H · K, H heads, K = head_dim.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb


class LilmConfig(LlamaConfig):
    """Llama's, with the network's own settings in `settings`."""

    model_type = "lilm"


class LilmAttention(nn.Module):
    """Full, grouped or latent keys and values, rotary or linear positions, a sliding window, normalised heads."""

    def __init__(self, config, layer):
        super().__init__()
        self.settings, self.layer, self.head_dim = config.settings, layer, config.head_dim
        self.n_head, kv_width = config.num_attention_heads, config.num_key_value_heads * config.head_dim
        width = config.hidden_size
        self.q_proj = nn.Linear(width, width, bias=False)
        self.latent = self.settings["attention"] == "latent"
        if self.latent:
            self.kv_down_proj = nn.Linear(width, self.settings["projection_dim"], bias=False)
            self.kv_up_proj = nn.Linear(self.settings["projection_dim"], 2 * kv_width, bias=False)
        else:
            self.k_proj = nn.Linear(width, kv_width, bias=False)
            self.v_proj = nn.Linear(width, kv_width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        if self.settings["qk_norm"]:
            self.q_norm, self.k_norm = (LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps) for _ in range(2))

    def forward(self, hidden_states, position_embeddings, attention_mask=None, **kwargs):
        """Return what each position gathers (B T D), and no scores; `attention_mask` (B 1 T S) is added to these."""
        x = hidden_states
        k, v = self.kv_up_proj(self.kv_down_proj(x)).chunk(2, -1) if self.latent else (self.k_proj(x), self.v_proj(x))
        q, k, v = (t.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for t in (self.q_proj(x), k, v))
        if self.settings["qk_norm"]:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.settings["positions"] == "rope":
            q, k = apply_rotary_pos_emb(q, k, *position_embeddings)
        cache = kwargs.get("cache", kwargs.get("past_key_values"))  # renamed in transformers 5
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        k, v = (t.repeat_interleave(self.n_head // t.shape[1], dim=1) for t in (k, v))
        scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(self.head_dim)
        scores = scores + self._bias(q.shape[2], k.shape[2], q.device)
        if attention_mask is not None:
            scores = scores + attention_mask[..., : k.shape[2]].float()
        gathered = scores.softmax(dim=-1).to(v.dtype) @ v
        return self.o_proj(gathered.transpose(1, 2).flatten(2)), None

    def _bias(self, length, seen, device):
        """Return what is added to the scores for their distance (1 or H, T, S): ALiBi, and -inf beyond the window."""
        place = torch.arange(seen, device=device)
        distance = place[seen - length :, None] - place[None, :]
        hidden = (distance < 0) | (distance >= (self.settings["window"] or seen))
        bias = torch.zeros(1, length, seen, device=device)
        if self.settings["positions"] == "alibi":
            slopes = 2.0 ** (-8 * torch.arange(1, self.n_head + 1, device=device) / self.n_head)
            bias = -slopes[:, None, None] * distance
        return bias.masked_fill(hidden, torch.finfo(torch.float32).min)


class LilmMLP(nn.Module):
    """Each position by itself: GELU, squared ReLU or SwiGLU."""

    def __init__(self, config):
        super().__init__()
        self.kind, width, hidden = config.settings["mlp"], config.hidden_size, config.intermediate_size
        if self.kind == "swiglu":
            self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        """Return the map of each position."""
        h = self.up_proj(x)
        if self.kind == "swiglu":
            h = F.silu(self.gate_proj(x)) * h
        else:
            h = F.gelu(h, approximate="tanh") if self.kind == "gelu" else F.relu(h).square()
        return self.down_proj(h)


class LilmForCausalLM(LlamaForCausalLM):
    """Logits of the next token at every position."""

    config_class = LilmConfig
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = False  # masks are always explicit then

    def __init__(self, config):
        super().__init__(config)
        for number, layer in enumerate(self.model.layers):
            layer.self_attn, layer.mlp = LilmAttention(config, number), LilmMLP(config)
        self.post_init()

    def forward(self, *args, labels=None, **kwargs):
        """Return transformers' output for a causal language model; the loss is that of the capped logits."""
        output = super().forward(*args, **kwargs)
        if cap := self.config.settings["logit_softcap"]:
            output.logits = cap * torch.tanh(output.logits / cap)
        if labels is not None:
            output.loss = self.loss_function(logits=output.logits, labels=labels, vocab_size=self.config.vocab_size)
        return output
