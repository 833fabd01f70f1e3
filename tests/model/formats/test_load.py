"""Models as plain files: nothing is lost on the way, and nothing is believed that a stranger may have changed."""

import hashlib
import json
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.data.corpus import Corpus
from model.errors import CheckpointError
from model.evaluate import val_bpb
from model.formats import checkpoint
from model.formats import zip_bundle as archive
from model.formats.checkpoint import Checkpoint
from model.formats.load import LFS_POINTER, load, write_folder
from model.formats.safetensors_folder import CONFIG, WEIGHTS, files_of
from model.network.flops import count_parameters
from model.network.transformer import Transformer
from tests.model.network.case import Case
from tests.model.network.menu import costly_cases

CPU = torch.device("cpu")
INFO = {"val_bpb": 1.2345678901234567, "seed": 7, "provenance": {"precision": "float32"}}

shapes = st.builds(
    ModelConfig,
    n_layer=st.integers(1, 2),
    n_head=st.just(2),
    head_dim=st.sampled_from([4, 8]),
    context=st.just(16),
    attention=st.sampled_from(["full", "grouped", "latent"]),
    projection_dim=st.just(8),
    positions=st.sampled_from(["rope", "alibi"]),
    mlp=st.sampled_from(["gelu", "relu2", "swiglu"]),
    qk_norm=st.booleans(),
    tied=st.booleans(),
    mtp_heads=st.integers(0, 1),
    logit_softcap=st.sampled_from([0.0, 15.0]),
)


def trained(corpus: Corpus, config: ModelConfig, seed: int = 0) -> Checkpoint:
    network = Transformer(config, corpus.tokenizer.vocab_size, torch.Generator().manual_seed(seed))
    return Checkpoint(network, corpus.tokenizer, dict(INFO))


@pytest.fixture
def model(corpus: Corpus) -> Checkpoint:
    return trained(corpus, ModelConfig(n_layer=1, n_head=2, head_dim=8, context=16))


@pytest.fixture
def bundle(model: Checkpoint, tmp_path: Path) -> Path:
    archive.pack(tmp_path / "best.zip", {**files_of(model), "README.md": b"a card"})
    return tmp_path / "best.zip"


@costly_cases
@torch.no_grad()  # as networks are used: one that is trained may choose otherwise
def test_every_idea_comes_back_from_every_form(corpus: Corpus, tmp_path: Path, case: Case) -> None:
    """Bit for bit, with its settings."""
    before = trained(corpus, case.config())
    checkpoint.save(tmp_path / "best.pt", before.network, before.tokenizer, before.info)
    archive.pack(tmp_path / "best.zip", files_of(before))
    write_folder(tmp_path / "folder", files_of(before))
    ids = torch.arange(32).reshape(2, 16)
    for name in ("best.pt", "best.zip", "folder"):
        after = load(tmp_path / name, CPU)
        assert after.network.config == before.network.config
        assert torch.equal(after.network(ids), before.network(ids))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=shapes, seed=st.integers(0, 2**32))
def test_every_form_gives_the_same_model_back(
    corpus: Corpus, tmp_path_factory: pytest.TempPathFactory, config: ModelConfig, seed: int
) -> None:
    """Bit for bit, whatever the shape, and so to the same BPB."""
    before, place = trained(corpus, config, seed), tmp_path_factory.mktemp("forms")
    checkpoint.save(place / "best.pt", before.network, before.tokenizer, before.info)
    archive.pack(place / "best.zip", files_of(before))
    write_folder(place / "folder", files_of(before))
    tokens = corpus.validation.subset(1)
    wanted = val_bpb(before.network, tokens, before.tokenizer.separator)
    for name in ("best.pt", "best.zip", "folder"):
        after = load(place / name, CPU)
        assert after.info == before.info
        assert after.tokenizer.proto == before.tokenizer.proto
        assert after.network.config == config
        weights, own = after.network.state_dict(), before.network.state_dict()
        assert weights.keys() == own.keys()
        assert all(torch.equal(weights[key].view(torch.int32), own[key].view(torch.int32)) for key in own)
        assert val_bpb(after.network, tokens, after.tokenizer.separator) == wanted


def named_by_hand(model: Checkpoint) -> dict[str, torch.Tensor]:
    """Return the weights of one layer of width 16 by Llama's names."""
    own, layer = model.network.state_dict(), "model.layers.0."
    q, k, v = own["blocks.0.attention.qkv.weight"].split(16)
    return {
        "model.embed_tokens.weight": own["embedding.weight"],
        layer + "input_layernorm.weight": own["blocks.0.attention_norm.weight"],
        **{f"{layer}self_attn.{n}_proj.weight": w for n, w in {"q": q, "k": k, "v": v}.items()},
        layer + "self_attn.o_proj.weight": own["blocks.0.attention.out.weight"],
        layer + "post_attention_layernorm.weight": own["blocks.0.mlp_norm.weight"],
        layer + "mlp.up_proj.weight": own["blocks.0.mlp.up.weight"],
        layer + "mlp.down_proj.weight": own["blocks.0.mlp.down.weight"],
        "model.norm.weight": own["norm.weight"],
    }


def test_the_weights_are_where_the_safetensors_format_says(model: Checkpoint) -> None:
    """Read by hand: eight bytes of length, a JSON header, the tensors."""
    content = files_of(model)[WEIGHTS]
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    assert header.pop("__metadata__") == {"format": "pt"}
    for name, tensor in named_by_hand(model).items():
        entry = header.pop(name)
        first, last = entry["data_offsets"]
        there = np.frombuffer(body[first:last], dtype="<f4").reshape(entry["shape"])
        assert entry["dtype"] == "F32"
        assert np.array_equal(there, tensor.numpy())
    assert header == {}


def test_a_bundle_is_the_same_bytes_at_another_time(model: Checkpoint, bundle: Path, tmp_path: Path) -> None:
    backwards = dict(reversed({**files_of(model), "README.md": b"a card"}.items()))
    archive.pack(tmp_path / "again.zip", backwards)
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.zip", "best.zip"]


def test_the_checksums_are_those_of_sha256sum_and_the_card_may_be_edited(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(bundle) as opened:
        opened.extractall(folder)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", archive.SUMS], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{WEIGHTS}: OK" in done.stdout
    (folder / "README.md").write_text("a card with a licence")
    assert load(folder, CPU).info == INFO
    (folder / "tokenizer.model").write_bytes(b"another")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model differs from its checksum"):
        load(folder, CPU)


def repacked(path: Path, change: Callable[[dict[str, bytes]], object], kind: int = zipfile.ZIP_STORED) -> Path:
    """A stranger's version of a bundle: a sound zip with other content."""
    with zipfile.ZipFile(path) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as written:
        for name, content in files.items():
            written.writestr(zipfile.ZipInfo(name), content, kind)
    return path


def flipped(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        content = bytearray(files[name])
        content[-1] ^= 1
        files[name] = bytes(content)

    return change


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "tokenizer.model", "provenance.json"])
def test_a_changed_file_is_refused(bundle: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} differs from its checksum"):
        load(repacked(bundle, flipped(name)), CPU)


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/b", "..", "c:\\evil", "", "-x"])
def test_a_name_that_is_a_path_is_refused(bundle: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="an entry is called"):
        load(repacked(bundle, lambda files: files.update({name: b"evil"})), CPU)
    assert [p.name for p in bundle.parent.iterdir()] == ["best.zip"]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (lambda files: files.update({"extra.bin": b"?"}), zipfile.ZIP_STORED, r"extra\.bin has no checksum"),
        (lambda files: files.pop(WEIGHTS), zipfile.ZIP_STORED, f"it has no {WEIGHTS}"),
        (lambda files: None, zipfile.ZIP_DEFLATED, "is compressed"),
        (lambda files: files.update({f"f{i}": b"" for i in range(200)}), zipfile.ZIP_STORED, "209 entries"),
        (lambda files: files.pop(archive.SUMS), zipfile.ZIP_STORED, "not a checkpoint"),
    ],
    ids=["extra", "without weights", "compressed", "many", "without checksums"],
)
def test_what_no_bundle_of_ours_holds_is_refused(
    bundle: Path, change: Callable[[dict[str, bytes]], object], kind: int, said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        load(repacked(bundle, change, kind), CPU)


def test_damage_and_two_files_of_one_name_are_refused(bundle: Path, tmp_path: Path) -> None:
    broken = bytearray(bundle.read_bytes())
    broken[broken.index(b"tokenizer.model") + 40] ^= 1  # a stored byte, whose CRC no longer fits
    (tmp_path / "broken.zip").write_bytes(broken)
    with pytest.raises(CheckpointError, match="damaged"):
        load(tmp_path / "broken.zip", CPU)
    with zipfile.ZipFile(bundle, "a") as opened, pytest.warns(UserWarning, match="Duplicate"):
        opened.writestr(CONFIG, b"{}")
    with pytest.raises(CheckpointError, match="an entry is called"):
        load(bundle, CPU)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="it has no"):
        load(tmp_path / "empty", CPU)


def test_a_zip_cant_claim_more_than_it_holds(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that lie over one another would be a small file of many gigabytes."""
    real = zipfile.ZipFile.infolist

    def claims(self: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        for entry in (found := real(self)):
            entry.file_size = entry.compress_size = 2**30
        return found

    monkeypatch.setattr(zipfile.ZipFile, "infolist", claims)
    with pytest.raises(CheckpointError, match="more bytes than the file has"):
        load(bundle, CPU)


def with_settings(model: Checkpoint, **changes: object) -> dict[str, bytes]:
    files = files_of(model)
    config = json.loads(files[CONFIG])
    config["settings"] |= changes
    return {**files, CONFIG: json.dumps(config).encode()}


def test_settings_that_dont_fit_the_weights_are_refused_before_memory_is_taken(
    model: Checkpoint, tmp_path: Path
) -> None:
    huge = with_settings(model, n_layer=256, n_head=128, head_dim=512, mlp_ratio=16.0)  # 10^13 weights
    for number, files in enumerate(
        (huge, with_settings(model, colour="red"), {**files_of(model), CONFIG: b"[" * 9999})
    ):
        write_folder(tmp_path / str(number), files)
        with pytest.raises(CheckpointError, match=str(tmp_path / str(number))):
            load(tmp_path / str(number), CPU)


@pytest.mark.parametrize("meta", [True, False])
def test_weights_that_are_only_claimed_are_refused(model: Checkpoint, tmp_path: Path, meta: bool) -> None:
    """A tensor of any size fits into a few bytes, by its strides or with no storage."""
    path = tmp_path / "small.pt"
    config = ModelConfig(n_layer=200, n_head=64, head_dim=128, context=16)
    claimed = count_parameters(config, model.tokenizer.vocab_size)
    weights = torch.empty(claimed, device="meta") if meta else torch.zeros(1).expand(claimed)
    content = {"config": config.table(), "weights": {"w": weights}, "tokenizer": model.tokenizer.proto, "info": {}}
    torch.save({"format": checkpoint.FORMAT, **content}, path)
    with pytest.raises(CheckpointError, match="but its settings need"):
        load(path, CPU)


def test_what_is_known_of_a_model_is_a_table(model: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "listed.pt"
    checkpoint.save(path, model.network, model.tokenizer, ["val_bpb"])  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="must be a table"):
        load(path, CPU)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil",)


@pytest.mark.parametrize("as_torch", [True, False])
def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_torch: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    if as_torch:
        torch.save({"format": checkpoint.FORMAT, "config": Evil()}, path)
    else:
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load(path, CPU)
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pt"]


def test_a_folder_with_something_in_it_is_left_alone(model: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not an empty folder"):
        write_folder(tmp_path / "full", files_of(model))
    with pytest.raises(CheckpointError, match="can't be written"):
        archive.pack(tmp_path / "no" / "best.zip", files_of(model))
    assert [p.name for p in tmp_path.rglob("*")] == ["full", "mine.txt"]


def test_what_tools_read_in_config_json_is_true(model: Checkpoint, corpus: Corpus) -> None:
    config = json.loads(files_of(model)[CONFIG])
    assert (config["architectures"], config["model_type"]) == (["ArceeForCausalLM"], "arcee")
    assert (config["hidden_size"], config["num_hidden_layers"], config["head_dim"]) == (16, 1, 8)
    assert model.network.embedding.weight.shape == (config["vocab_size"], config["hidden_size"])
    assert config["eos_token_id"] == corpus.tokenizer.separator
    assert config["tie_word_embeddings"]
    assert hashlib.sha256(files_of(model)["tokenizer.model"]).hexdigest() == corpus.tokenizer.sha256


def test_folders_of_the_first_format_go_on_loading(model: Checkpoint, tmp_path: Path) -> None:
    """They had the weights by their own names, and an architecture that nobody else knew."""
    import safetensors.torch

    files = files_of(model)
    config = json.loads(files[CONFIG]) | {"architectures": ["LilmTransformer"], "format": "lilm-search model 1"}
    weights = {name: w.detach() for name, w in model.network.state_dict().items()}
    old = {CONFIG: json.dumps(config).encode(), WEIGHTS: safetensors.torch.save(weights)}
    write_folder(tmp_path / "old", {**files, **old})
    again = load(tmp_path / "old", CPU)
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), again.network.state_dict().values(), strict=True))


def test_a_folder_that_lacks_a_weight_says_which(model: Checkpoint, tmp_path: Path) -> None:
    import safetensors.torch

    files = files_of(model)
    weights = safetensors.torch.load(files[WEIGHTS])
    del weights["model.layers.0.self_attn.k_proj.weight"]
    write_folder(tmp_path / "less", {**files, WEIGHTS: safetensors.torch.save(weights)})
    with pytest.raises(CheckpointError, match=r"it has no 'model.layers.0.self_attn.k_proj.weight'"):
        load(tmp_path / "less", CPU)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("best.gguf", b"GGUF\x03\0\0\0" + bytes(90), "a GGUF file, which llama.cpp runs"),
        ("model.safetensors", bytes(90), "weights alone; give the folder"),
        ("best.zip", LFS_POINTER + b"v1\noid sha256:00\nsize 9\n", "a pointer of Git LFS"),
        ("best.pt", b"", "not a checkpoint"),
    ],
)
def test_what_a_person_takes_for_a_model_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: {said}"):
        load(tmp_path / name, CPU)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_half_of_a_download_is_said_to_be_half(model: Checkpoint, bundle: Path, tmp_path: Path, share: float) -> None:
    checkpoint.save(tmp_path / "best.pt", model.network, model.tokenizer, model.info)
    for path in (bundle, tmp_path / "best.pt"):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match=r"cut off: .* has no end; fetch it again"):
            load(path, CPU)


@pytest.mark.parametrize("sums", [True, False])
def test_half_of_a_folders_file_is_found(model: Checkpoint, tmp_path: Path, sums: bool) -> None:
    """Also without checksums, and where Git LFS has left a pointer."""
    write_folder(tmp_path / "folder", files_of(model))
    if not sums:
        (tmp_path / "folder" / archive.SUMS).unlink()
    whole = (tmp_path / "folder" / WEIGHTS).read_bytes()
    for content, said in (
        (whole[: len(whole) // 2], "differs from its checksum" if sums else "is damaged"),
        (LFS_POINTER + b"v1\noid sha256:00\nsize 9\n", "is a pointer of Git LFS"),
    ):
        (tmp_path / "folder" / WEIGHTS).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"folder: {WEIGHTS} {said}"):
            load(tmp_path / "folder", CPU)


def test_weights_that_are_no_numbers_are_refused(model: Checkpoint, tmp_path: Path) -> None:
    with torch.no_grad():
        model.network.norm.weight[3] = float("nan")
    archive.pack(tmp_path / "best.zip", files_of(model))
    with pytest.raises(CheckpointError, match=r"norm\.weight hold what is no finite number"):
        load(tmp_path / "best.zip", CPU)
